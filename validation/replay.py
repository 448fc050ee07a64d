"""Judge quarantined rows again: after the contract changed, or after somebody mended them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from consentry.config import Faults
from consentry.model.names import quoted
from consentry.validation.contract import Contract
from consentry.validation.mend import read_fixes, store_fixes
from consentry.validation.run import Checked, split, validate, watermark
from consentry.validation.task import stream_task
from consentry.warehouse import Warehouse


def mend(warehouse: Warehouse, *, stream: str, path: Path) -> int:
    """Take a file of corrections for open rows of a stream; return how many rows it corrects.

    Raises ConfigError with every fault of the file, and then keeps none of it.
    """
    faults = Faults()
    fixes = read_fixes(path, faults)
    faults.check()
    stored = store_fixes(warehouse, stream, fixes, path, faults)
    faults.check()
    return stored


def replay(
    warehouse: Warehouse,
    contract: Contract,
    *,
    stream: str,
    primary_key: Sequence[str],
    mode: Literal["append", "snapshot"],
    run_id: str,
    code: str | None = None,
) -> Checked:
    """Judge the open rows of a stream's quarantine again; what passes goes to clean, what fails stays as it was.

    code: only rows with a reason of this code. When the contract has changed since the stream was checked, all its
    rows are judged, because clean rows may fail by now. A replayed row never replaces one of its key that came after
    it. Replaying twice is replaying once.
    """
    known = watermark(warehouse, stream)
    held = f"quarantine.{stream}"
    if known is None or known[1] != contract.digest or not warehouse.has(f"raw.{stream}"):
        return validate(warehouse, contract, stream=stream, primary_key=primary_key, mode=mode, run_id=run_id)
    if not warehouse.has(held):
        return Checked(0, 0, 0)
    chosen = f"quarantine.{quoted(stream + '__chosen')}"
    among = "" if code is None else " AND reasons LIKE $code"
    params = {} if code is None else {"code": f'%"code": "{code}"%'}
    # A row that its source no longer has cannot be judged; it stays.
    open_rows = f"SELECT _rid FROM quarantine.{quoted(stream)} WHERE status = 'open'{among}"
    there = f"_rid IN (SELECT _rid FROM raw.{quoted(stream)})"
    warehouse.sql(f"CREATE OR REPLACE TABLE {chosen} AS SELECT _rid FROM ({open_rows}) AS o WHERE {there}", **params)
    try:
        if not warehouse.count(f"{held}__chosen"):
            return Checked(0, 0, 0)
        key = tuple(primary_key)
        task = stream_task(warehouse, contract, stream=stream, primary_key=key, run_id=run_id, chosen=chosen)
        done = split(task, f"raw.{stream}", after=-1, last=known[0], replace=False, whole=False, digest=contract.digest)
    finally:
        warehouse.sql(f"DROP TABLE IF EXISTS {chosen}")
    return Checked(done.rows_in, done.clean, done.quarantined, done.reasons, done.warnings, done.discarded, True)
