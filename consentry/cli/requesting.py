"""requests, hold: what people ask for and until when, and whose data must be kept all the same."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from consentry.cli.inspecting import JobArgument
from consentry.cli.options import ByOption, RegionOption, ValueOption, value_of
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.consent.requests import KEPT_MONTHS
from consentry.pipeline.holding import end_hold, list_holds, place_hold
from consentry.pipeline.load import load_job
from consentry.pipeline.requests import add_request, answer_request, extend_request, list_requests, purge_requests

requests_app = typer.Typer(help="Keep the register of what people ask for, and its deadlines.", no_args_is_help=True)
hold_app = typer.Typer(help="Keep data from being erased while the law wants it kept.", no_args_is_help=True)
RequestArgument = Annotated[str, typer.Argument(help="The request, as `requests list` names it.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the groups of this module."""
    app.add_typer(requests_app, name="requests")
    app.add_typer(hold_app, name="hold")


@requests_app.command("add")
def add_command(
    job: JobArgument,
    kind: Annotated[
        str,
        typer.Option(help="access, portability, rectification, erasure, restriction, objection or opt_out."),
    ],
    by: ByOption,
    value: ValueOption,
    manner: Annotated[str, typer.Option(help="How it came: form, mail, phone, letter ...")],
    law: Annotated[str, typer.Option(help="gdpr or ccpa.")] = "gdpr",
    received: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day it came; today when left out.")
    ] = None,
    region: RegionOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Note a request; a keyed hash is kept of who asked, and the day by which it must be answered."""
    day = received.date() if received else None
    found = add_request(load_job(job), kind, law, manner, (by, value_of(value), region), day)
    emit(output, found, lambda: _say(f"Request {found['request_id']} is to be answered by {found['due_on']}."))


@requests_app.command("list")
def list_command(
    job: JobArgument,
    answered: Annotated[bool, typer.Option("--answered", help="Also those that were answered.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """List requests, the most urgent first, and how many are open, due within seven days and overdue."""
    found = list_requests(load_job(job), answered=answered)
    emit(output, found, lambda: _show_requests(found))


@requests_app.command("extend")
def extend_command(
    job: JobArgument,
    request: RequestArgument,
    because: Annotated[str, typer.Option(help="Why; whoever asked has to be told before the first deadline.")],
    output: OutputOption = Output.text,
) -> None:
    """Move a deadline as far as the law allows, which it does once and before the first one passes."""
    found = extend_request(load_job(job), request, because)
    emit(output, found, lambda: _say(f"Request {request} is to be answered by {found['due_on']}."))


@requests_app.command("answer")
def answer_command(
    job: JobArgument,
    request: RequestArgument,
    response: Annotated[str, typer.Option(help="fulfilled, partly, denied or not_verified.")],
    basis: Annotated[str | None, typer.Option(help="Why it was denied, or denied in part.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Note how a request was answered."""
    found = answer_request(load_job(job), request, response, basis)
    emit(output, found, lambda: _say(f"Request {request} was answered on {found['answered_on']}: {response}."))


@requests_app.command("purge")
def purge_command(
    job: JobArgument,
    months: Annotated[int, typer.Option(help="How long answered requests are kept; 24 at least.")] = KEPT_MONTHS,
    output: OutputOption = Output.text,
) -> None:
    """Delete requests that were answered longer ago than they have to be kept."""
    found = purge_requests(load_job(job), months)
    emit(output, found, lambda: _say(f"{found['purged']:,} requests are deleted."))


@hold_app.command("add")
def hold_command(
    job: JobArgument,
    by: ByOption,
    value: ValueOption,
    reason: Annotated[str, typer.Option(help="Which duty or claim wants the data kept.")],
    placed_by: Annotated[str, typer.Option("--placed-by", help="Who says so; stands in the audit log.")],
    region: RegionOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Keep the data of whoever has this identifier from being erased; nothing else is allowed by it."""
    found = place_hold(load_job(job), (by, value_of(value), region), reason=reason, by=placed_by)
    emit(output, found, lambda: _say(f"Hold {found['hold_id']} keeps an erasure back until it is ended."))


@hold_app.command("list")
def holds_command(
    job: JobArgument,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that ended.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """List what is held, why and since when; nobody can be named from it."""
    found = list_holds(load_job(job), ended=ended)
    emit(output, {"holds": found}, lambda: _show_holds(found))


@hold_app.command("end")
def end_command(
    job: JobArgument,
    hold: Annotated[str, typer.Argument(help="The hold, as `hold list` names it.", show_default=False)],
    ended_by: Annotated[str, typer.Option("--ended-by", help="Who says so; stands in the audit log.")],
    output: OutputOption = Output.text,
) -> None:
    """End a hold; what it kept can be erased again."""
    found = end_hold(load_job(job), hold, by=ended_by)
    emit(output, found, lambda: _say(f"Hold {hold} has ended."))


def _say(words: str) -> None:
    console.print(words, markup=False, highlight=False)


def _show_requests(found: dict[str, Any]) -> None:
    if found["requests"]:
        shown = table("Requests", "request", "kind", "law", "received", "due", "answer")
        for one in found["requests"]:
            due = f"{one['due_on']} [red](overdue)[/red]" if one["overdue"] else one["due_on"]
            words = [one[name] for name in ("request_id", "kind", "law", "received_on")]
            shown.add_row(*words, due, f"{one['answered_on']} {one['response']}" if one["response"] else "")
        console.print(shown)
    _say(f"{found['open']} open, {found['due_within_7_days']} due within 7 days, {found['overdue']} overdue.")


def _show_holds(found: list[dict[str, Any]]) -> None:
    if not found:
        console.print("Nothing is held.", style="green")
        return
    shown = table("Legal holds", "hold", "reason", "since", "by", "ended")
    for one in found:
        shown.add_row(one["hold_id"], one["reason"], one["placed_at"][:10], one["placed_by"], one["ended_at"] or "")
    console.print(shown)
