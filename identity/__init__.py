"""Identity resolution: which records are the same person, for good."""
