"""Models of people: learnt from features as of a cut-off, judged, kept, and served to rules as attributes."""
