"""The command line: where people and programs come in."""

from consentry.cli.main import main

__all__ = ["main"]
