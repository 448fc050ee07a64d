"""Rows/s, CPU seconds and peak memory of pulling contacts into DuckDB: consentry against dlt's rest_api source.

    python benchmarks/bench_extract.py [--quick] [--json] [--rows N] [--million]

A server in a process of its own gives HubSpot-shaped contacts in pages of 100, rendered before anything is measured.
Each side runs in a fresh process and reads the same pages; time and CPU are counted from the first request to the
last row in DuckDB, imports left out, memory is the peak of the whole process. The vendor's rate limit is lifted for
both. `--million` reads 300,000 and 1,000,000 rows too, to see memory stay flat.

The second table adds 50 ms to each page and shows what prefetching wins: the next page fetched while this one is made
to fit, which is all that a cursor allows, and pages side by side where an API numbers them. The third shows what
windows of time would win for HubSpot: with 50 ms a page and HubSpot's limits in place, the list as it is read against
four searches at once that know their windows beforehand, landing left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PAGE = 100
ROWS = 100_000
QUICK_ROWS = 20_000
LARGER = (300_000, 1_000_000)
LATENCY = 0.05
LATENCY_ROWS = 10_000
WINDOW_ROWS, QUICK_WINDOW_ROWS = 30_000, 3_000
SEARCH_PAGE = 200
PROPERTIES = (
    "email", "phone", "firstname", "lastname", "country", "city", "zip", "company", "jobtitle", "lifecyclestage",
    "customer_number", "birthdate", "createdate", "lastmodifieddate", "hs_object_id",
)  # fmt: skip
STAMP = "2026-03-01T10:00:00.000Z"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rows, at most 45 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rows", type=int, help="rows to read")
    parser.add_argument("--million", action="store_true", help="read up to 1,000,000 rows with consentry, too")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "URL", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, url, rows = arguments.child
        print(json.dumps(measured(side, url, int(rows))))
        return
    rows = arguments.rows or (QUICK_ROWS if arguments.quick else ROWS)
    slow_rows = 2_000 if arguments.quick else LATENCY_ROWS
    window_rows = QUICK_WINDOW_ROWS if arguments.quick else WINDOW_ROWS
    plain = {side: run(side, rows) for side in ("consentry", "dlt")}
    slow = {side: run(side, slow_rows, latency=LATENCY) for side in ("dlt", "no_prefetch", "consentry", "side_by_side")}
    result: dict[str, Any] = {
        "rows_per_s_ratio": round(plain["consentry"]["rows_per_s"] / plain["dlt"]["rows_per_s"], 2),
        "cpu_ratio": round(plain["consentry"]["cpu_s"] / plain["dlt"]["cpu_s"], 3),
        "peak_mb": plain["consentry"]["peak_mb"],
        "plain": plain,
        "latency_50_ms": slow,
        "windows": {side: run(side, window_rows, latency=LATENCY) for side in ("list", "search")},
    }
    if arguments.million:
        result["larger"] = {f"{rows:,}": run("consentry", rows) for rows in LARGER}
    print(json.dumps(result)) if arguments.json else show(result)


def run(side: str, rows: int, *, latency: float = 0.0) -> dict[str, Any]:
    """Start the server and one side, each in its own process, and return what the side measured."""
    ready: Any = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(rows, latency, ready), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{ready.get(timeout=60)}"
        command = [sys.executable, __file__, "--child", side, url, str(rows)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    finally:
        server.terminate()
        server.join()


def measured(side: str, url: str, rows: int) -> dict[str, Any]:
    """Pull everything once in this process; return rows, seconds, CPU seconds and peak MB."""
    work = {
        "consentry": pull_with_consentry,
        "no_prefetch": pull_without_prefetch,
        "side_by_side": pull_side_by_side,
        "dlt": pull_with_dlt,
        "list": list_within_limits,
        "search": search_within_limits,
    }[side]
    with tempfile.TemporaryDirectory() as folder:
        pull = work(url, Path(folder), rows)
        begun, before = time.monotonic(), cpu()
        count = pull()
        seconds, used = time.monotonic() - begun, cpu() - before
    assert count == rows, (count, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": count,
        "seconds": round(seconds, 2),
        "rows_per_s": round(count / seconds),
        "cpu_s": round(used, 2),
        "peak_mb": round(peak),
    }


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pull_with_consentry(url: str, folder: Path, rows: int) -> Any:
    """Return the work: HubSpot's connector, landed in DuckDB."""
    from pydantic import SecretStr

    from consentry.connectors import hubspot

    hubspot.LIMITS = {}
    config = hubspot.HubSpotConfig(base_url=url, token=SecretStr("token"))
    options = hubspot.HubSpotStream(properties=PROPERTIES, archived=False)
    return landed(hubspot.HubSpot(config, streams={"contacts": options}), folder)


def pull_without_prefetch(url: str, folder: Path, rows: int) -> Any:
    """Return the same work with each page asked for when the one before it has landed."""
    from consentry.connectors import hubspot, landing

    def as_they_come(pages: Any) -> Any:
        return pages

    modules: Any = (hubspot, landing)
    for module in modules:
        module.ahead = as_they_come
    return pull_with_consentry(url, folder, rows)


def pull_side_by_side(url: str, folder: Path, rows: int) -> Any:
    """Return the work: the declarative source on the same pages, by their offsets, as many at once as by default."""
    from consentry.connectors.rest import Rest
    from consentry.connectors.rest_config import RestConfig, RestStream

    stream = {
        "path": "/crm/objects/2026-09/contacts",
        "params": {"limit": str(PAGE), "properties": ",".join(PROPERTIES)},
        "records": "results",
        "key": ["id"],
        "flatten": True,
        "paging": {"kind": "offset", "param": "after", "size": PAGE, "total": "total"},
    }
    config = RestConfig.model_validate({"base_url": url})
    return landed(Rest(config, streams={"contacts": RestStream.model_validate(stream)}), folder)


def landed(source: Any, folder: Path) -> Any:
    """Return the work of landing a source's contacts in DuckDB."""
    from consentry.connectors.landing import StreamSpec, land
    from consentry.warehouse import DuckDBWarehouse

    def pull() -> int:
        warehouse = DuckDBWarehouse(folder / "w.duckdb")
        specs = [StreamSpec("contacts")]
        land(source, name="crm", streams=specs, warehouse=warehouse, folder=folder / "dlt", run_id="run")
        return warehouse.count("raw.crm__contacts")

    return pull


def pull_with_dlt(url: str, folder: Path, rows: int) -> Any:
    """Return the work: dlt's own declarative source, into DuckDB."""
    import dlt
    import duckdb
    from dlt.sources.rest_api import rest_api_source

    dlt.config["runtime.dlthub_telemetry"] = False
    endpoint: Any = {
        "path": "crm/objects/2026-09/contacts",
        "params": {"limit": PAGE, "properties": ",".join(PROPERTIES)},
        "data_selector": "results",
        "paginator": {"type": "cursor", "cursor_path": "paging.next.after", "cursor_param": "after"},
    }

    def pull() -> int:
        source: Any = rest_api_source(
            {"client": {"base_url": url}, "resources": [{"name": "contacts", "endpoint": endpoint}]}
        )
        path = folder / "d.duckdb"
        destination = dlt.destinations.duckdb(str(path))
        dlt.pipeline("bench", pipelines_dir=str(folder), destination=destination, dataset_name="raw").run(source)
        with duckdb.connect(str(path)) as connection:
            found = connection.execute("SELECT count(*) FROM raw.contacts").fetchone()
        return int(found[0]) if found else 0

    return pull


def list_within_limits(url: str, folder: Path, rows: int) -> Any:
    """Return the work: HubSpot's connector as it is, its pages counted and let go."""
    from pydantic import SecretStr

    from consentry.connectors import hubspot

    options = hubspot.HubSpotStream(properties=PROPERTIES, archived=False)
    config = hubspot.HubSpotConfig(base_url=url, token=SecretStr("token"))
    source = hubspot.HubSpot(config, streams={"contacts": options})
    (stream,) = source.discover()
    return lambda: sum(page.records.num_rows for page in source.read(stream, {}))


def search_within_limits(url: str, folder: Path, rows: int) -> Any:
    """Return the work: four searches at once that know their windows beforehand, the most that any split can win."""
    from consentry.connectors import hubspot
    from consentry.connectors.http import HttpClient
    from consentry.connectors.paging import in_order

    http = HttpClient(url, vendor="HubSpot", account=url, headers=lambda: {}, limits=hubspot.LIMITS)

    def window(first: int) -> int:
        body = {"after": str(first), "limit": SEARCH_PAGE, "properties": list(PROPERTIES)}
        path = "/crm/objects/2026-09/contacts/search"
        answer = http.request("POST", path, body=body, repeatable=True, operation="search")
        return len(answer.body["results"])

    def pull() -> int:
        return sum(in_order(window, range(0, rows, SEARCH_PAGE)))

    return pull


# The server: bytes that are ready, and nothing else ---------------------------------------------------------------


def serve(rows: int, latency: float, ready: Any) -> None:
    """Answer GETs of contacts on a free port until the process is ended."""
    pages = Pages(rows)

    async def run_server() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Answering(pages, latency), "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run_server())


class Pages:
    """The pages of the account; up to 100,000 rows are rendered beforehand, further ones repeat with other ids."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._ready = [self._render(page) for page in range(min(rows, ROWS) // PAGE)]

    def page(self, after: int) -> bytes:
        """Return the answer whose first record stands behind `after`."""
        number = after // PAGE
        return self._ready[number] if number < len(self._ready) else self._render(number)

    def found(self, first: int) -> bytes:
        """Return the answer of a search whose first record stands behind `first`."""
        return self._render(first // SEARCH_PAGE, SEARCH_PAGE)

    def _render(self, page: int, size: int = PAGE) -> bytes:
        first = page * size
        body: dict[str, Any] = {
            "total": self._rows,
            "results": [contact(n) for n in range(first + 1, first + size + 1)],
        }
        if first + size < self._rows:
            body["paging"] = {"next": {"after": str(first + size)}}
        return _answer(json.dumps(body, separators=(",", ":")).encode())


def contact(n: int) -> dict[str, Any]:
    """Return one contact as HubSpot writes it."""
    values = (
        f"person{n}@example.com", f"+447700900{n % 1000:03d}", f"Given{n % 500}", f"Family{n % 3000}", "GB", "Leeds",
        "LS1 1AA", f"Company {n % 2000}", "Engineer", "customer", f"C{n:08d}", "1980-01-01", STAMP, STAMP, str(n),
    )  # fmt: skip
    properties = dict(zip(PROPERTIES, values, strict=True))
    return {"id": str(n), "properties": properties, "createdAt": STAMP, "updatedAt": STAMP, "archived": False}


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Answering(asyncio.Protocol):
    """One connection; a GET fits one read, a search is whole when its body's last bracket is there."""

    def __init__(self, pages: Pages, latency: float) -> None:
        self._pages, self._latency, self._asked = pages, latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the request, after the latency."""
        self._asked += data
        if self._asked.startswith(b"POST") and not self._asked.endswith(b"}"):
            return
        answer, self._asked = self._answer(self._asked), b""
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _answer(self, asked: bytes) -> bytes:
        if asked.startswith(b"POST"):
            return self._pages.found(int(json.loads(asked.partition(b"\r\n\r\n")[2])["after"]))
        _, found, rest = asked.partition(b"\r\n")[0].partition(b"after=")
        return self._pages.page(int(rest.partition(b" ")[0].partition(b"&")[0]) if found else 0)


TITLES = {
    "plain": "Contacts into DuckDB",
    "larger": "More of them, with consentry",
    "latency_50_ms": "The same, 50 ms a page: what prefetching wins",
    "windows": "HubSpot's first read within its limits, 50 ms a page: list against windows of time",
}
NAMES = {
    "no_prefetch": "consentry, nothing fetched ahead",
    "side_by_side": "consentry, pages side by side (rest)",
    "list": "the list, page behind page",
    "search": "four windows searched at once",
}


def show(result: dict[str, Any]) -> None:
    """Print the tables for people."""
    console = Console()
    for key, title in TITLES.items():
        if key not in result:
            continue
        table = Table(title=title, title_justify="left")
        for name in ("", "rows", "seconds", "rows/s", "CPU s", "peak MB"):
            table.add_column(name, justify="right")
        for side, row in result[key].items():
            table.add_row(NAMES.get(side, side), *(f"{value:,}" for value in row.values()))
        console.print(table)
    console.print(f"{result['rows_per_s_ratio']} times dlt's rows/s, {result['cpu_ratio']} of its CPU")


if __name__ == "__main__":
    main()
