"""Files as a source of records and as a destination of audiences: CSV, JSON lines, Parquet, Segment events."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, SecretStr, field_validator

from consentry.connectors.audience_file import AudienceFile, member_id
from consentry.connectors.base import Capabilities, Check, ConnectorConfig, Ok, Outcome, Page, State, Stream
from consentry.connectors.consent_feeds import COLUMNS as CONSENT_COLUMNS
from consentry.connectors.consent_feeds import FEEDS
from consentry.connectors.file_formats import MALFORMED, Format, Unreadable, format_of, read_file
from consentry.connectors.folders import Folder, LocalFolder, RemoteFolder
from consentry.connectors.segment_events import COLUMNS
from consentry.errors import ConfigError, DestinationFailed, SourceFailed
from consentry.model.batch import Batch, Row

_NOT_LOCAL = "Audience files are written to a folder of this machine. Give 'folder' in place of 'url'."


class FilesConfig(ConnectorConfig):
    """Where the files are, and how audiences are written."""

    folder: Path = Field(default=Path(), description="The folder of the files; a relative one starts at the job file.")
    url: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9+]*://",
        description="In place of a folder, to read only: s3://bucket/path, gs://..., https://..., as fsspec has them.",
    )
    storage: dict[str, SecretStr] = Field(
        default_factory=dict, description="Options of the URL's file system, as ${VARIABLE}: key, secret, token ..."
    )
    format: Literal["csv", "jsonl", "parquet"] = Field(default="csv", description="The format of audience files.")
    written_for: Literal["machines", "people"] = Field(
        default="machines",
        description="people: cells that a spreadsheet would run as a formula get a ' in front; machines: unaltered.",
    )


class FileStream(ConnectorConfig):
    """Which files a stream consists of, and how they are read."""

    path: str = Field(description="The file, or a pattern such as orders-*.csv, below the folder; .gz is unpacked.")
    format: Format | None = Field(
        default=None,
        description="csv, jsonl, parquet, segment, or a consent feed (onetrust, cookiebot, segment_consent, "
        "rudderstack_consent, mparticle_consent, tcf, gpp); by default the suffix says it.",
    )
    encoding: str = Field(default="utf-8", description="The encoding of text files; a byte order mark is dropped.")
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="What parts CSV cells; a comma by default, a tab in .tsv."
    )

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, name: str) -> str:
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError("this encoding is not known; write utf-8, latin-1, cp1252 or the like") from None
        return name


class Files:
    """Files in one folder. `api_calls` counts the audience files that were written."""

    Config: ClassVar[type[ConnectorConfig]] = FilesConfig
    StreamOptions: ClassVar[type[ConnectorConfig]] = FileStream
    capabilities = Capabilities(
        # A file is rewritten as a whole: few large batches cost least.
        batch_max=100_000,
        key_fields=(),
        operations=frozenset({"add", "change", "remove"}),
    )

    def __init__(
        self,
        config: FilesConfig,
        *,
        streams: Mapping[str, FileStream] | None = None,
        account: str = "",
        base: Path = Path(),
    ) -> None:
        self._folder = (base / config.folder).resolve()
        self._files = _place(config, self._folder)
        self._config, self._streams = config, dict(streams or {})
        self.account = account
        self.api_calls = 0

    def check(self) -> Check:
        """Look whether the folder and every stream's files are there; one for audiences may have to be made yet."""
        if not self._streams:
            return self._check_audiences()
        if problem := self._files.problem():
            return Check(False, problem)
        try:
            counts = [len(self._names(name)) for name in self._streams]
        except (SourceFailed, ConfigError) as error:
            return Check(False, str(error))
        return Check(True, f"The folder {self._files} holds the files of the job: {sum(counts)}.")

    def discover(self) -> list[Stream]:
        """List the streams of the job; Parquet tells its columns beforehand, text formats do not."""
        return [Stream(name, (), self._schema(name, options)) for name, options in self._streams.items()]

    def changed(self, stream: Stream, state: State) -> bool:
        """Tell whether any file of the stream came, went or changed since `state`."""
        now = {name: self._files.mark(name) for name in self._names(stream.name)}
        return now != state.get("files") or bool(state.get("reading"))

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        """Yield the records of files that are new or changed since `state`; a changed file is read whole."""
        names = dict.fromkeys(self._names(stream.name))
        # A file that is gone is forgotten: the state of a folder that is cleared now and then stays small.
        done: dict[str, object] = {name: mark for name, mark in state.get("files", {}).items() if name in names}
        for name in names:
            mark = self._files.mark(name)
            if done.get(name) == mark:
                continue
            reading = state.get("reading") or {}
            skip = reading["rows"] if reading.get("file") == name and reading.get("mark") == mark else 0
            for batch in self._batches(stream.name, name, skip):
                skip += batch.num_rows
                yield Page(batch, {"files": dict(done), "reading": {"file": name, "mark": mark, "rows": skip}})
            done[name] = mark
        if done != state.get("files"):
            # The end is a page of its own, without records: the next read opens no file again.
            yield Page(pa.RecordBatch.from_pydict({}), {"files": done})

    def write(self, batch: Batch) -> Iterator[Outcome]:
        """Put the rows into the audience's file, which is replaced in one step."""
        file = self._audience(batch.audience)
        members = file.read()
        for row in batch.rows:
            members[_key(batch, row)] = {**row.identifiers, **row.fields}
        self._replace(file, members)
        return iter([Ok(_key(batch, row)) for row in batch.rows])

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        """Take the rows out of the audience's file; a file in which nothing changes is not written."""
        file = self._audience(batch.audience)
        members = file.read()
        gone = [members.pop(_key(batch, row), None) for row in batch.rows]
        if any(member is not None for member in gone):
            self._replace(file, members)
        return iter([Ok(_key(batch, row)) for row in batch.rows])

    def lookup(self, audience: str, remote_ids: Iterable[str]) -> frozenset[str]:
        """Return those of the ids whose row is in the audience's file."""
        return frozenset(remote_ids) & frozenset(self._audience(audience).read())

    def _check_audiences(self) -> Check:
        if self._config.url:
            return Check(False, _NOT_LOCAL)
        there = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            return Check(False, f"Nothing can be written to {self._folder}. Check 'folder' in the connection.")
        return Check(True, f"Audiences are written to {self._folder}.")

    def _names(self, stream: str) -> list[str]:
        return self._files.names(stream, self._streams[stream].path)

    def _batches(self, stream: str, name: str, skip: int) -> Iterator[pa.RecordBatch]:
        options = self._streams[stream]
        kind = self._format(stream, name)
        problem = ""
        try:
            with self._files.fetched(name) as path:
                yield from read_file(path, kind, encoding=options.encoding, delimiter=options.delimiter, skip=skip)
        except Unreadable as error:
            problem = str(error)
        except OSError as error:
            problem = f"it cannot be read ({error.strerror}); check the permissions"
        if problem:
            raise SourceFailed(f"The file {name} of stream {stream!r} is no use: {problem}.", code="file_unreadable")

    def _format(self, stream: str, name: str) -> Format:
        kind = self._streams[stream].format or format_of(Path(name))
        if kind is None:
            file = Path(name).name
            message = f"The name {file!r} of stream {stream!r} does not tell its format. Add 'format: csv' or another."
            raise ConfigError(message, code="format_unknown")
        return kind

    def _schema(self, name: str, options: FileStream) -> pa.Schema:
        files = self._names(name)
        if {self._format(name, file) for file in files} == {"parquet"}:
            if self._config.url:
                return pa.schema([])  # known when the file is fetched
            try:
                return pq.read_schema(self._folder / files[0])
            except (pa.ArrowInvalid, OSError):
                return pa.schema([])
        columns = COLUMNS if options.format == "segment" else CONSENT_COLUMNS if options.format in FEEDS else ()
        return pa.schema([(column, pa.string()) for column in (*columns, MALFORMED)])

    def _audience(self, audience: str) -> AudienceFile:
        if self._config.url:
            raise DestinationFailed(_NOT_LOCAL, code="not_local")
        path = (self._folder / f"{audience}.{self._config.format}").resolve()
        if path.parent != self._folder or audience.startswith("."):
            message = f"The audience {audience!r} is not a plain file name. Name it with letters, digits, '-' and '_'."
            raise DestinationFailed(message, code="path_outside")
        return AudienceFile(path, self._config.format, formula_safe=self._config.written_for == "people")

    def _replace(self, file: AudienceFile, members: Mapping[str, Mapping[str, object]]) -> None:
        self.api_calls += 1
        file.replace(members)


def _key(batch: Batch, row: Row) -> str:
    return row.remote_id or member_id(batch.destination, batch.audience, row.person_id)


def _place(config: FilesConfig, folder: Path) -> Folder:
    if config.url is None:
        return LocalFolder(folder)
    return RemoteFolder(config.url, {name: value.get_secret_value() for name, value in config.storage.items()})
