"""Work with the quarantine of a job: its streams, and what is written to the audit log about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consentry.audit import Json
from consentry.errors import ConfigError
from consentry.model.ids import new_run_id
from consentry.model.names import did_you_mean
from consentry.pipeline.canonical import streams_of
from consentry.pipeline.context import Context, opened
from consentry.pipeline.holding import refuse_held
from consentry.pipeline.left import check_has_run
from consentry.pipeline.load import Loaded
from consentry.pipeline.progress import Silent
from consentry.pipeline.stages import take_consents_again
from consentry.validation.held import Held, discard, erase, held_rows, held_streams, summary_of
from consentry.validation.replay import mend, replay

ENTITIES = ("customer", "event", "consent", "link", "aggregate")
# The quarantine of the merged profile, which every run builds anew.
PROFILE = "golden"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are meant: of a stream (as `source.stream`), with one reason code, by number."""

    stream: str | None = None
    code: str | None = None
    rids: tuple[int, ...] = ()
    status: str = "open"


@contextmanager
def _work(loaded: Loaded) -> Iterator[Context]:
    check_has_run(loaded, "nothing is in quarantine")
    with opened(loaded, Silent()) as context:
        yield context


def _tables(context: Context, choice: Choice) -> list[str]:
    known = held_streams(context.warehouse)
    if choice.stream is None:
        return known
    wanted = choice.stream.replace(".", "__")
    if wanted not in known:
        named = [shown(name) for name in known]
        hint = did_you_mean(choice.stream, named) or (f". There are: {', '.join(named)}." if named else ".")
        raise ConfigError(f"The stream {choice.stream} has no quarantine{hint}")
    return [wanted]


def shown(table: str) -> str:
    """Write a stream's table name as the job does."""
    return table.replace("__", ".", 1)


def list_quarantine(loaded: Loaded, choice: Choice) -> list[Held]:
    """Return what the quarantine of each stream holds, in numbers."""
    with _work(loaded) as context:
        found = [summary_of(context.warehouse, table) for table in _tables(context, choice)]
    return [{**item, "stream": shown(item["stream"])} for item in found]


def show_quarantine(loaded: Loaded, choice: Choice, *, raw: bool, limit: int) -> list[Held]:
    """Return rows with their reasons; with `raw` their content too, which the audit log notes."""
    with _work(loaded) as context:
        found = [
            {"stream": shown(table), **row}
            for table in _tables(context, choice)
            for row in _rows(context, table, choice, raw=raw, limit=limit)
        ][:limit]
        if raw:
            _note(context, "quarantine.shown", choice, {"rows": len(found)})
    return found


def _rows(context: Context, table: str, choice: Choice, *, raw: bool, limit: int | None) -> Iterator[Held]:
    return held_rows(
        context.warehouse, table, raw=raw, rids=choice.rids, code=choice.code, status=choice.status, limit=limit
    )


def export_quarantine(loaded: Loaded, choice: Choice, out: Path, *, raw: bool) -> int:
    """Write rows to a file, one JSON object a line, readable by you alone; return how many."""
    rows = 0
    with _work(loaded) as context:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch(mode=0o600)
        with out.open("w", encoding="utf-8") as file:
            for table in _tables(context, choice):
                for row in _rows(context, table, choice, raw=raw, limit=None):
                    file.write(json.dumps({"stream": shown(table), **row}, ensure_ascii=False) + "\n")
                    rows += 1
        _note(context, "quarantine.exported", choice, {"rows": rows}, raw=raw)
    return rows


# Plain JSON.
def replay_quarantine(loaded: Loaded, choice: Choice, fixes: Path | None) -> list[dict[str, Any]]:
    """Judge open rows again, with the corrections of a file when there is one; return the numbers by stream."""
    done: list[dict[str, Any]] = []
    with _work(loaded) as context:
        streams = {f"{source}__{name}": stream for (source, name), stream in streams_of(loaded.job, *ENTITIES).items()}
        if fixes is not None and choice.stream is None:
            raise ConfigError("A file of corrections is for one stream. Name it with --stream.")
        for table in _tables(context, choice):
            if table not in streams:
                if choice.stream is not None:
                    raise ConfigError(f"{choice.stream} is built anew by every run. Run the job instead.")
                continue
            mended = mend(context.warehouse, stream=table, path=fixes) if fixes is not None else 0
            checked = replay(
                context.warehouse,
                loaded.contracts[table],
                stream=table,
                primary_key=streams[table].primary_key,
                mode=streams[table].mode,
                run_id=new_run_id(),
                code=choice.code,
            )
            if checked.clean:
                take_consents_again(context.warehouse, table)
            counts = {"judged": checked.rows_in, "clean": checked.clean, "quarantined": checked.quarantined}
            _note(context, "quarantine.replayed", Choice(shown(table), choice.code), {**counts, "mended": mended})
            done.append({"stream": shown(table), **counts, "mended": mended, "reasons": dict(checked.reasons)})
    return done


def discard_quarantine(loaded: Loaded, choice: Choice, why: str) -> int:
    """Take open rows of one stream out for good, and note who said why."""
    with _work(loaded) as context:
        (table,) = _tables(context, choice)
        done = discard(context.warehouse, table, rids=choice.rids, code=choice.code)
        _note(context, "quarantine.discarded", choice, {"rows": done}, why=why)
    return done


def erase_quarantined(loaded: Loaded, identifiers: Mapping[str, Sequence[str]]) -> int:
    """Erase every quarantined row that holds one of a person's identifiers, whatever its stream; return how many.

    Raises Blocked while a legal hold keeps the data.
    """
    with _work(loaded) as context:
        refuse_held(context, [(kind, value, None) for kind, values in identifiers.items() for value in values])
        tables = _tables(context, Choice())
        done = sum(erase(context.warehouse, table, identifiers) for table in tables)
        _note(context, "quarantine.erased", Choice(), {"rows": done})
    return done


def _note(context: Context, event: str, choice: Choice, counts: Mapping[str, int], **more: str | bool) -> None:
    facts: dict[str, Json] = {"stream": choice.stream, "code": choice.code, "counts": dict(counts), **more}
    context.audit.append(event, facts)
