"""The commands of `consentry`, and how their errors become sentences and exit codes."""

from __future__ import annotations

import os
import sys

import typer
from typer.exceptions import TyperException

from consentry import __version__
from consentry.cli import (
    auditing,
    authoring,
    collecting,
    comparing,
    consenting,
    contracting,
    experimenting,
    identifying,
    inspecting,
    letters,
    likening,
    modelling,
    qualifying,
    quarantining,
    requesting,
    reviewing,
    running,
    sandboxing,
    segmenting,
    starting,
    tasks,
    watching,
)
from consentry.cli.output import Output, console, report, report_fault_of_ours
from consentry.errors import ConfigError, ConsentryError

EXIT_CODES = """
[bold]Exit codes[/bold]  0 ok · 1 error · 2 changes present (plan, diff) · 3 finished with rejected rows ·
4 paused on a quota · 5 blocked by a guard or by consent · 130/143 stopped by a signal
"""

app = typer.Typer(
    name="consentry",
    help="Move customer data with consent: pull, check, merge, decide, segment, sync, prove.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for module in (
    starting, inspecting, comparing, running, watching, consenting, requesting, identifying, reviewing, likening,
    modelling, sandboxing,
):  # fmt: skip
    module.register(app)
app.add_typer(auditing.app, name="audit")
app.add_typer(letters.app, name="dlq")
app.add_typer(tasks.app, name="tasks")
app.add_typer(contracting.app, name="contract")
app.add_typer(quarantining.app, name="quarantine")
app.add_typer(segmenting.app, name="segment")
app.add_typer(modelling.app, name="model")
app.add_typer(experimenting.app, name="experiment")
app.add_typer(qualifying.app, name="quality")
app.add_typer(collecting.app, name="collect")
authoring.register(inspecting.connectors_app)
app.add_typer(inspecting.connectors_app, name="connectors")


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"consentry {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Move customer data with consent: pull, check, merge, decide, segment, sync, prove."""


def main() -> None:
    """Run the command line; every error ends in a sentence and an exit code, never in a traceback."""
    output = Output.json if "json" in sys.argv and {"--output", "-o"} & set(sys.argv) else Output.text
    if "--output=json" in sys.argv:
        output = Output.json
    debug = bool(os.environ.get("CONSENTRY_DEBUG"))
    try:
        code = app(standalone_mode=False)
    except ConsentryError as error:
        code = report(error, output)
    except typer.Abort:
        code = 130
    except TyperException as error:
        code = _report_wrong_call(error, output)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 1
    except Exception as error:
        code = report_fault_of_ours(error, debug=debug)
    sys.exit(code or 0)


def _report_wrong_call(error: TyperException, output: Output) -> int:
    # Without any argument the help was printed already, and nothing is left to say.
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    return report(ConfigError(f"{message} Try the command with --help."), output) if message else 1
