"""`python -m consentry.cli` is the command `consentry`."""

from consentry.cli import main

if __name__ == "__main__":
    main()
