"""Where files lie: a folder of this machine, or one behind a URL that fsspec knows (s3://, gs://, https:// ...).

Both answer alike: which files fit a pattern, whether a file is still the one that was read, and a local path to
read it from. A remote file is fetched whole into a private folder first, so that a connection that breaks off
cannot pass for the end of a file.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec

from consentry.errors import ConfigError, SourceFailed

_HEAD_BYTES = 65_536
_WILD = "*?["
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# What file systems call the version or the time of a file, best first.
_VERSIONS = ("ETag", "etag", "checksum", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")


class Folder(Protocol):
    """A place with files; names are relative to it, with `/` between their parts."""

    def problem(self) -> str:
        """Say what is wrong with the folder itself, nothing when it is there."""
        ...

    def names(self, stream: str, pattern: str) -> list[str]:
        """Return the files of a stream, sorted; raises ConfigError, SourceFailed."""
        ...

    def mark(self, name: str) -> dict[str, object]:
        """Describe a file well enough to know it again."""
        ...

    def fetched(self, name: str) -> Any:  # a context manager that gives a Path
        """Give a local path of the file for the time of the context."""
        ...


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def __str__(self) -> str:
        return str(self.path)

    def problem(self) -> str:
        """Say that the folder is missing."""
        if self.path.is_dir():
            return ""
        return f"The folder {self.path} does not exist. Check 'folder' in the connection."

    def names(self, stream: str, pattern: str) -> list[str]:
        """Return the files of a stream, sorted."""
        _refuse_ways_out(stream, pattern)
        found = sorted(path for path in self.path.glob(pattern) if path.is_file())
        if not found and not any(mark in pattern for mark in _WILD):
            raise _missing(f"{self.path / pattern}", stream, "'path' and 'folder'")
        for path in found:
            if not path.resolve().is_relative_to(self.path):
                message = f"{path} of stream {stream!r} is a link out of the folder. Copy the file there instead."
                raise SourceFailed(message, code="path_outside")
        return [path.relative_to(self.path).as_posix() for path in found]

    def mark(self, name: str) -> dict[str, object]:
        """Return size, time, and the SHA-256 of the first bytes."""
        path = self.path / name
        about = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
        return {"size": about.st_size, "mtime_ns": about.st_mtime_ns, "head": head}

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Give the file itself."""
        yield self.path / name


class RemoteFolder:
    """A folder behind a URL. options: of its file system, such as key and secret; never shown."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        protocol = url.partition("://")[0]
        self._url = url
        self._fs: Any = None  # fsspec ships no types
        problem = ""
        try:
            # Without its cache a file that came since would not be seen.
            self._fs, self._path = fsspec.url_to_fs(url, use_listings_cache=False, **options)
        except ImportError:
            extra = _EXTRAS.get(protocol)
            remedy = f"Install consentry[{extra}]." if extra else f"Install the package of fsspec for {protocol}://."
            problem = f"Files at {protocol}:// need a package that is not installed. {remedy}"
        except Exception as error:
            problem = f"The URL of the files is not understood ({type(error).__name__}). Write s3://bucket/folder."
        if problem:
            raise ConfigError(problem, code="no_file_system")

    def __str__(self) -> str:
        return self._url.partition("?")[0]

    def problem(self) -> str:
        """Say nothing: a bucket has no folders; what is missing shows with the files."""
        return ""

    def names(self, stream: str, pattern: str) -> list[str]:
        """Return the files of a stream, sorted."""
        _refuse_ways_out(stream, pattern)
        root = PurePosixPath(self._path)
        with self._guarded("list the files"):
            if any(mark in pattern for mark in _WILD):
                found = sorted(self._fs.glob(f"{self._path.rstrip('/')}/{pattern}"))
                return [PurePosixPath(path).relative_to(root).as_posix() for path in found if self._fs.isfile(path)]
            there = self._fs.isfile(self._full(pattern))
        if not there:
            raise _missing(f"{self}/{pattern}", stream, "'path' and 'url'")
        return [pattern]

    def mark(self, name: str) -> dict[str, object]:
        """Return the size and what the file system calls the file's version."""
        with self._guarded(f"look at {name}"):
            about = self._fs.info(self._full(name))
        version = next((str(about[key]) for key in _VERSIONS if about.get(key) is not None), None)
        return {"size": about.get("size"), "version": version}

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """Fetch the file into a private folder, which goes with the context."""
        with tempfile.TemporaryDirectory(prefix="consentry-") as folder:
            local = Path(folder) / PurePosixPath(name).name
            with self._guarded(f"fetch {name}"):
                self._fs.get_file(self._full(name), str(local))
            yield local

    def _full(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Turn what file systems raise, each in its own way, into a sentence without keys."""
        kind = ""
        try:
            yield
        except SourceFailed:
            raise
        except Exception as error:
            kind = type(error).__name__
        if kind:
            message = (
                f"The files at {self} did not let us {what} ({kind}). Check 'url', the credentials and the network."
            )
            raise SourceFailed(message, code="files_unreachable")


def _refuse_ways_out(stream: str, pattern: str) -> None:
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts or "://" in pattern:
        message = f"The path {pattern!r} of stream {stream!r} leads out of the folder. Name a file below it."
        raise ConfigError(message, code="path_outside")


def _missing(path: str, stream: str, check: str) -> SourceFailed:
    return SourceFailed(f"The file {path} of stream {stream!r} does not exist. Check {check}.", code="file_missing")
