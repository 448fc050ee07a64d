"""Work out a frozen plan for a job, explain it, run it."""
