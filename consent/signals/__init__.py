"""What consent platforms send, read into rows of the ledger; nothing unknown, broken or implied becomes a grant."""
