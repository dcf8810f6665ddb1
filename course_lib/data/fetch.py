"""Public files by name: from a mirror, from the cache, or downloaded, and always checked.

    fetch("planetoid/ind.cora.x")   ->  the path of a file whose sha256 is the registry's

The order is $COURSE_DATA (a folder of your own, laid out as `registry.toml` names the files), then
the cache ($COURSE_CACHE, or your system's cache folder), then the network.
"""

from __future__ import annotations

import difflib
import os
import tomllib
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pooch

REGISTRY = Path(__file__).with_name("registry.toml")
TIMEOUT = (3.05, 20.0)  # seconds to connect, seconds between two packets: offline is told at once


class DataUnavailable(RuntimeError):
    """A file is in no mirror, not in the cache, and cannot be downloaded; the message says what to do."""


class ChecksumError(ValueError):
    """A file is not the one the registry names; the message gives both checksums."""


@dataclass(frozen=True)
class PublicFile:
    """One file of the registry. Without `sha256` it is read from a mirror only, never downloaded."""

    name: str  # FOLDER/FILE
    url: str
    license: str
    citation: str
    note: str
    sha256: str | None = None
    size: int | None = None  # bytes


@cache
def registry() -> dict[str, PublicFile]:
    """Every public file the course knows, by name."""
    files = {}
    for folder, section in tomllib.loads(REGISTRY.read_text(encoding="utf-8")).items():
        terms = {key: section[key] for key in ("license", "citation", "note")}
        for file, row in section["files"].items():
            files[f"{folder}/{file}"] = PublicFile(
                name=f"{folder}/{file}",
                url=section["url"] + row.get("path", file),
                sha256=row.get("sha256"),
                size=row.get("size"),
                **terms,
            )
    return files


def data_folder() -> Path | None:
    """The mirror that $COURSE_DATA names, or None where it is not set.

    Raises ValueError for a path that is relative or no folder: a mistyped mirror must not turn
    real data into twins without a word.
    """
    return _folder_from("COURSE_DATA", must_exist=True)


def cache_folder() -> Path:
    """Where downloads are kept: $COURSE_CACHE, or the system's cache folder for this course."""
    return _folder_from("COURSE_CACHE", must_exist=False) or Path(
        pooch.os_cache("relational-course")
    )


def _folder_from(variable: str, must_exist: bool) -> Path | None:
    value = os.environ.get(variable, "")
    if not value:
        return None
    folder = Path(value)
    if not folder.is_absolute():
        raise ValueError(
            f"{variable} must be an absolute path, got {value!r}: notebooks run in their own "
            f'folders, so write {variable}="$(realpath {value})"'
        )
    if (must_exist or folder.exists()) and not folder.is_dir():
        raise ValueError(f"{variable} is not a folder: {value!r}; correct it, or unset {variable}")
    return folder


def fetch(name: str) -> Path:
    """The path of the public file `name`, e.g. "planetoid/ind.cora.x", its checksum verified.

    Raises:
        ValueError: the registry has no such name, or $COURSE_DATA or $COURSE_CACHE is wrong.
        ChecksumError: the file found is not the registry's. It is left where it is.
        DataUnavailable: no mirror and no cache holds it, and it cannot be downloaded.
    """
    file = _look_up(name)
    mirror = data_folder()
    if mirror is not None and (mirror / name).is_file():
        return _verified(mirror / name, file)
    cached = cache_folder() / name
    if cached.is_file() and file.sha256:
        return _verified(cached, file)
    return _download(file, cached)


def _look_up(name: str) -> PublicFile:
    if name not in registry():
        close = difflib.get_close_matches(name, registry(), n=3) or sorted(registry())[:3]
        raise ValueError(f"no public file is named {name!r}: did you mean {', '.join(close)}?")
    return registry()[name]


def _verified(path: Path, file: PublicFile) -> Path:
    if file.sha256 is None:
        warnings.warn(
            f"{file.name} has no known checksum: {path} is read on your word", stacklevel=3
        )
        return path
    found = pooch.file_hash(str(path))
    if found != file.sha256:
        raise ChecksumError(
            f"{path} is not the file that the course was tested with.\n"
            f"  expected sha256 {file.sha256}\n"
            f"  found    sha256 {found} ({path.stat().st_size:,} bytes, expected {file.size:,})\n"
            f"It is left as it is: replace or remove it, and it is fetched anew from {file.url}"
        )
    return path


def _download(file: PublicFile, target: Path) -> Path:
    if file.sha256 is None:
        raise _unavailable(
            file, f"it is not downloaded from {file.url}, because its checksum is not known"
        )
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            file.url,
            f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except OSError as error:  # no network, no such host, HTTP errors, a cache that is not writable
        status = getattr(getattr(error, "response", None), "status_code", None)
        cause = f"HTTP {status}" if status else type(error).__name__
        if isinstance(error, PermissionError):
            cause = (
                f"{cause}: {target.parent} cannot be written, COURSE_CACHE may name another folder"
            )
        raise _unavailable(file, f"{file.url} gave nothing ({cause})") from error
    except ValueError as error:  # pooch compares the sums before it keeps a file
        raise ChecksumError(
            f"what came from {file.url} is not the file that the course was tested with, and was "
            f"not kept.\n  {error}\nTry again later, or set COURSE_DATA to the absolute path of a "
            f"mirror that holds {file.name} with sha256 {file.sha256}"
        ) from error
    return target


def _unavailable(file: PublicFile, reason: str) -> DataUnavailable:
    return DataUnavailable(
        f"{file.name} cannot be had: it is not in COURSE_DATA ({data_folder() or 'not set'}), not "
        f"in the cache ({cache_folder()}), and {reason}. Set COURSE_DATA to the absolute path of a "
        f"folder that holds {file.name}"
        + (", or connect to the network and run this again." if file.sha256 else ".")
    )
