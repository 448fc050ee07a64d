"""consent, policy, keys, suppress, leak-scan, anonymity: what people said, what is allowed, and whether it held.

An identifier is read from standard input with `--value -`, so that no shell remembers it; it is never printed.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from consentry.cli.disclosing import access_command, register_command
from consentry.cli.inspecting import JobArgument
from consentry.cli.options import ByOption, HostOption, PortOption, RegionOption, ValueOption, listen, value_of
from consentry.cli.output import Output, OutputOption, console, emit, table
from consentry.config import Faults
from consentry.consent.cases import read_cases, try_case
from consentry.consent.instants import read_instant
from consentry.errors import ConfigError
from consentry.pipeline import privacy
from consentry.pipeline.anonymity import anonymity, anonymity_of_file
from consentry.pipeline.keyrings import open_tokens, rotate_keys, show_keys
from consentry.pipeline.leaks import leak_scan
from consentry.pipeline.listening import listener
from consentry.pipeline.load import load_job

consent_app = typer.Typer(help="See and take in what people said about their data.", no_args_is_help=True)
policy_app = typer.Typer(help="Check, try and compare policies.", no_args_is_help=True)
keys_app = typer.Typer(help="See and rotate the job's keys.", no_args_is_help=True)
suppress_app = typer.Typer(help="Keep the list of those who are never sent.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands and groups of this module."""
    groups = {"consent": consent_app, "policy": policy_app, "keys": keys_app, "suppress": suppress_app}
    for name, group in groups.items():
        app.add_typer(group, name=name)
    consent_app.command("access")(access_command)
    policy_app.command("register")(register_command)
    app.command("leak-scan")(leak_scan_command)
    app.command("anonymity")(anonymity_command)


# Rows are plain JSON.
def _show_rows(title: str, rows: list[dict[str, Any]], *columns: str) -> None:
    if not rows:
        console.print("Nothing is on record.", style="yellow")
        return
    shown = table(title, *columns)
    for row in rows:
        shown.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    console.print(shown)


@consent_app.command("show")
def show_command(
    job: JobArgument, by: ByOption, value: ValueOption, region: RegionOption = None, output: OutputOption = Output.text
) -> None:
    """Show the last word of one identifier for each purpose and source."""
    found = privacy.show(load_job(job), by, value_of(value), region)
    columns = ("purpose", "state", "source_system", "method", "regime", "notice_version", "effective_at")
    emit(output, found, lambda: _show_rows("The last word", found["states"], *columns))


@consent_app.command("history")
def history_command(
    job: JobArgument, by: ByOption, value: ValueOption, region: RegionOption = None, output: OutputOption = Output.text
) -> None:
    """Show every event of one identifier, oldest first."""
    found = privacy.history(load_job(job), by, value_of(value), region)
    columns = ("seq", "purpose", "state", "source_system", "method", "effective_at", "recorded_at")
    emit(output, found, lambda: _show_rows("History", found["events"], *columns))


@consent_app.command("receipt")
def receipt_command(
    job: JobArgument, by: ByOption, value: ValueOption, region: RegionOption = None, output: OutputOption = Output.text
) -> None:
    """Print a receipt for each event of one identifier: ISO/IEC TS 27560 in DPV terms, as JSON-LD, one a line."""
    found = privacy.receipts(load_job(job), by, value_of(value), region)
    lines = [json.dumps(one, ensure_ascii=False) for one in found["receipts"]]
    emit(output, found, lambda: typer.echo("\n".join(lines)))


@consent_app.command("evidence")
def evidence_command(
    job: JobArgument, by: ByOption, value: ValueOption, region: RegionOption = None, output: OutputOption = Output.text
) -> None:
    """Print the payloads kept of one identifier, for whoever has to prove a consent; the audit log keeps that.

    What was kept of someone who was erased cannot be read any more.
    """
    found = privacy.evidence(load_job(job), by, value_of(value), region)
    emit(output, found, lambda: _show_rows("Evidence", found["evidence"], "events", "payload"))


@consent_app.command("import")
def import_command(
    job: JobArgument,
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines with the columns of a consent stream.")],
    signal: Annotated[str | None, typer.Option(help="The platform whose payloads stand in `payload`.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep the payloads as evidence, under each person's own key.")] = False,
    output: OutputOption = Output.text,
) -> None:
    """Take consent events into the ledger; a running job sees them with its next batch."""
    found = privacy.import_consents(load_job(job), file, signal, keep=keep)
    words = f"{found['new']:,} new, {found['duplicate']:,} known already"
    refused = ", ".join(f"{code} {n}" for code, n in found["refused"].items())
    emit(output, found, lambda: console.print(words + (f"; refused: {refused}" if refused else "")))


@consent_app.command("listen")
def listen_command(
    job: JobArgument,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8741,
    secret: Annotated[
        str, typer.Option("--secret-variable", help="The environment variable with the secret of the signatures.")
    ] = "CONSENTRY_WEBHOOK_SECRET",
) -> None:
    """Take signed consent events in over HTTP; a running job heeds a withdrawal with its next batch."""
    app = listener(load_job(job), variable=secret)
    console.print(f"Listening on http://{host}:{port}/consents; Ctrl-C ends it.", highlight=False)
    listen(app, host=host, port=port)


@consent_app.command("export")
def export_command(job: JobArgument) -> None:
    """Print the whole ledger, one event a line; identifiers are keyed hashes."""
    with privacy.ledger_of(load_job(job)) as ledger:
        for event in ledger.everything():
            typer.echo(json.dumps(event, ensure_ascii=False))


@consent_app.command("explain")
def explain_command(
    job: JobArgument,
    by: ByOption,
    value: ValueOption,
    sync: Annotated[str, typer.Option(help="The sync to explain.")],
    region: RegionOption = None,
    known_at: Annotated[str | None, typer.Option(help="As known at this instant, ISO 8601 with zone.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Say what the gate answers for one person at one sync, and which events it looked at."""
    instant = read_instant(known_at) if known_at else None
    if known_at and instant is None:
        raise ConfigError("--known-at is an instant with a zone, such as 2026-01-31T12:00:00Z.")
    found = privacy.explain(load_job(job), by, value_of(value), region, sync=sync, known_at=instant)
    emit(output, found, lambda: _show_explained(found))


def _show_explained(found: dict[str, Any]) -> None:
    for one in found["people"]:
        word = f"may be sent by {', '.join(one['identifiers'])}" if one["allow"] else f"is refused: {one['reason']}"
        console.print(f"Person {one['person_id']} {word}", highlight=False, markup=False)
    columns = ("seq", "purpose", "state", "source_system", "method", "effective_at", "recorded_at")
    _show_rows(f"What counts for {', '.join(found['purposes'])}", found["events"], *columns)


PolicyArgument = Annotated[Path, typer.Argument(help="The policy's YAML file.", show_default=False)]


@policy_app.command("check")
def check_command(policy: PolicyArgument, output: OutputOption = Output.text) -> None:
    """Read a policy; show every fault with its file and line."""
    found = privacy.policy_at(policy)
    told = {
        "ok": True,
        "policy_id": found.policy_id,
        "revision": found.file.revision,
        "sha256": found.sha256,
        "purposes": list(found.purposes),
        "destinations": list(found.destinations),
    }
    words = f"{policy} is valid: {len(found.purposes)} purposes, {len(found.destinations)} destinations."
    emit(output, told, lambda: console.print(words, style="green", markup=False))


@policy_app.command("test")
def test_command(
    policy: PolicyArgument,
    cases: Annotated[Path, typer.Argument(help="The file of cases: given, expect.")],
    output: OutputOption = Output.text,
) -> None:
    """Try a policy on cases; exit 1 when one comes out otherwise."""
    found, faults = privacy.policy_at(policy), Faults()
    listed = read_cases(cases, found, faults)
    faults.check()
    tried = [one for case in listed for one in try_case(case, found)]
    failed = [one for one in tried if not one.ok]
    told = {
        "ok": not failed,
        "tried": len(tried),
        "failed": [
            {"case": one.case, "destination": one.destination, "expected": one.expected, "found": one.found}
            for one in failed
        ],
    }
    emit(output, told, lambda: _show_tried(told))
    raise typer.Exit(1 if failed else 0)


def _show_tried(told: dict[str, Any]) -> None:
    for one in told["failed"]:
        words = f"{one['case']}: {one['destination']} is {one['found']}, expected {one['expected']}"
        console.print(words, style="red", markup=False)
    console.print(f"{told['tried']} tried, {len(told['failed'])} otherwise than expected.")


@policy_app.command("diff")
def diff_command(
    job: JobArgument,
    new: Annotated[Path, typer.Argument(help="The policy to compare with the job's own.")],
    output: OutputOption = Output.text,
) -> None:
    """Count how many people each sync would gain or lose under another policy. Nothing is sent or kept."""
    found = privacy.policy_diff(load_job(job), privacy.policy_at(new))
    emit(output, found, lambda: _show_diff(found))


def _show_diff(found: dict[str, Any]) -> None:
    shown = table("Under the new policy", "sync", "#gain", "#lose", "lost for")
    for name, one in found["syncs"].items():
        reasons = ", ".join(f"{reason} {n}" for reason, n in one["lost_for"].items())
        shown.add_row(name, f"+{one['gain']:,}", f"-{one['lose']:,}", reasons)
    console.print(shown)


@policy_app.command("approve")
def approve_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Sign the job's policy, so that it may come into force though a newer revision was."""
    found = privacy.approve(load_job(job))
    emit(output, found, lambda: console.print(f"Signed {found['policy_id']} {found['sha256'][:16]}.", markup=False))


@keys_app.command("show")
def keys_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Say which key versions are held; never a key."""
    _show_keys(show_keys(load_job(job)), output)


@keys_app.command("rotate")
def rotate_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Make a new key and use it from now on; old consents and suppressions still match."""
    _show_keys(rotate_keys(load_job(job)), output)


@keys_app.command("open")
def open_command(
    job: JobArgument,
    destination: Annotated[str, typer.Option(help="The destination that was sent the tokens, as the policy names it.")],
    field: Annotated[str, typer.Option(help="The field that they were sent for.")],
    output: OutputOption = Output.text,
) -> None:
    """Read reversible tokens from standard input, one a line, and print their values; the audit log keeps that."""
    tokens = [line.strip() for line in sys.stdin if line.strip()]
    values = open_tokens(load_job(job), destination, field, tokens)
    emit(output, {"values": values}, lambda: typer.echo("\n".join(values)))


def _show_keys(found: dict[str, Any], output: Output) -> None:
    accepted = ", ".join(map(str, found["accepted"]))
    words = f"Keys from {found['provider']}: version {found['active']} is active; accepted: {accepted}."
    emit(output, found, lambda: console.print(words, highlight=False))


ScopeOption = Annotated[str, typer.Option(help="A purpose, or * for all.")]


@suppress_app.command("add")
def suppress_command(
    job: JobArgument,
    by: ByOption,
    value: ValueOption,
    reason: Annotated[str, typer.Option(help="erasure, objection, withdrawal, hard_bounce or legal.")],
    scope: ScopeOption = "*",
    region: RegionOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Put an identifier on the suppression list; a running job heeds it with its next batch."""
    loaded = load_job(job)
    _refuse_unknown_scope(loaded.policy.purposes, scope)
    with privacy.ledger_of(loaded) as ledger:
        added = ledger.suppress(by, value_of(value), reason=reason, region=region, scope=scope, since=datetime.now(UTC))
    emit(output, {"added": added}, lambda: console.print(f"{added} new entries."))


@suppress_app.command("remove")
def unsuppress_command(
    job: JobArgument,
    by: ByOption,
    value: ValueOption,
    scope: ScopeOption = "*",
    region: RegionOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Take an identifier off the suppression list; an erasure stays."""
    with privacy.ledger_of(load_job(job)) as ledger:
        removed = ledger.unsuppress(by, value_of(value), region=region, scope=scope)
    emit(output, {"removed": removed}, lambda: console.print(f"{removed} entries removed."))


@suppress_app.command("list")
def suppressions_command(job: JobArgument, output: OutputOption = Output.text) -> None:
    """Count the suppression list by scope, reason and day; nobody can be named from it."""
    with privacy.ledger_of(load_job(job)) as ledger:
        found = ledger.suppressed()
    columns = ("scope_purpose", "reason", "day", "key_version", "entries")
    emit(output, {"suppressed": found}, lambda: _show_rows("Suppressed", found, *columns))


def _refuse_unknown_scope(purposes: object, scope: str) -> None:
    if scope != "*" and isinstance(purposes, dict) and scope not in purposes:
        raise ConfigError(f"The policy has no purpose {scope!r}. It has: {', '.join(purposes)}, or * for all.")


def leak_scan_command(
    job: JobArgument,
    also: Annotated[list[Path] | None, typer.Option(help="A further file or folder to search.")] = None,
    canaries: Annotated[Path | None, typer.Option(help="A file of planted values, one a line.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Search what a job left behind for identifiers and names of its people, keys and canaries; exit 1 at a find."""
    planted = canaries.read_text(encoding="utf-8").splitlines() if canaries else []
    found = leak_scan(load_job(job), planted, also=also or [])
    emit(output, found, lambda: _show_leaks(found))
    raise typer.Exit(0 if found["ok"] else 1)


def _show_leaks(found: dict[str, Any]) -> None:
    if found["ok"]:
        words = f"Nothing found: {found['identifiers']:,} identifiers in {found['places']:,} places."
        console.print(words, style="green")
        return
    _show_rows("Found", found["findings"], "place", "kind", "times")


def anonymity_command(
    job: JobArgument,
    columns: Annotated[str, typer.Option(help="Columns that together could name somebody, with commas.")],
    segment: Annotated[str | None, typer.Option(help="Only the members of a segment.")] = None,
    file: Annotated[Path | None, typer.Option(help="An exported file (CSV, JSON lines, Parquet) instead.")] = None,
    sensitive: Annotated[str | None, typer.Option(help="A column whose values nobody should learn: tells l.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Say how many people share each combination of some columns: k is the smallest group."""
    named = [name.strip() for name in columns.split(",") if name.strip()]
    if file:
        found = anonymity_of_file(file, named, sensitive=sensitive)
    else:
        found = anonymity(load_job(job), named, segment=segment, sensitive=sensitive)
    words = f"k = {found['k']:,}: {found['people']:,} people in {found['classes']:,} groups, "
    words += f"{found['unique_people']:,} of them alone."
    words += f" l = {found['l']:,}: the fewest values of {sensitive} in a group." if sensitive else ""
    emit(output, found, lambda: console.print(words))
