"""Write docs/commands.md from the commands themselves: `python -m consentry.cli.reference > docs/commands.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

from consentry.cli.main import app

HEAD = """# Commands

Written by `make docs` from the commands themselves. Every command takes `--output json` and then prints one JSON
object a line on stdout; errors go to stderr as a sentence, or as `{"error", "exit_code", "faults"}`.
`consentry --install-completion` makes your shell complete them.

| exit code | meaning |
|---|---|
| 0 | ok |
| 1 | error: the message says what to do |
| 2 | changes present (`plan` and `diff` with `--detailed-exitcode`); for `audit verify`: tampered |
| 3 | finished, with rows that a destination rejected; for `audit verify`: gap or truncation |
| 4 | paused on a quota; run again later and it goes on; for `audit verify`: bad signature |
| 5 | blocked by a guard or by the consent policy; for `audit verify`: unreadable |
| 130, 143 | stopped by a signal |
"""


def pages() -> Iterator[str]:
    """Yield the page, line by line."""
    yield from HEAD.splitlines()
    group = typer.main.get_command(app)
    for name, command in sorted(_leaves(group, "consentry")):
        yield ""
        yield f"## `{name}`"
        yield ""
        yield (command.help or "").strip()
        yield from _parameters(command)


# typer gives its commands no public type.
def _leaves(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _parameters(command: Any) -> Iterator[str]:
    rows = [row for row in map(_row, command.params) if row]
    if rows:
        yield from ("", "| argument or option | meaning |", "|---|---|", *rows)


def _row(parameter: Any) -> str | None:
    if parameter.name == "help":
        return None
    is_option = parameter.param_type_name == "option"
    name = ", ".join(parameter.opts) if is_option else str(parameter.name).upper()
    words = (getattr(parameter, "help", None) or "").strip()
    default = parameter.default
    if is_option and default not in (None, False, (), []) and not callable(default):
        words += f" Default: `{default}`."
    return f"| `{name}` | {words} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(pages()) + "\n")
