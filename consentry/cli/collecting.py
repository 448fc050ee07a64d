"""collect: take in what people do over HTTP, for the jobs that read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consentry.cli.options import HostOption, PortOption, listen
from consentry.cli.output import console
from consentry.connectors.event_log import EventLog
from consentry.pipeline.collecting import collector
from consentry.pipeline.shared_secret import shared_secret

app = typer.Typer(help="Take in what websites, servers and apps tell of people.", no_args_is_help=True)


@app.callback()
def collect() -> None:
    """Take in what websites, servers and apps tell of people."""


@app.command("serve")
def serve_command(
    folder: Annotated[Path, typer.Argument(help="Where events are kept; a job reads events-*.jsonl there.")],
    host: HostOption = "127.0.0.1",
    port: PortOption = 8743,
    variable: Annotated[
        str, typer.Option("--write-key-variable", help="The environment variable with the write key of the senders.")
    ] = "CONSENTRY_WRITE_KEY",
    close_after: Annotated[
        float, typer.Option(min=1, help="Seconds after which a file is closed, so that jobs read it.")
    ] = 300,
) -> None:
    """Take events in over HTTP, as Segment's and RudderStack's libraries send them; 200 says that the disk has them."""
    key = shared_secret(variable)
    served = collector(EventLog(folder, max_age_s=close_after), key=key, tell=_tell)
    console.print(f"Listening on http://{host}:{port}/v1/; Ctrl-C ends it.", highlight=False)
    listen(served, host=host, port=port)


def _tell(sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
