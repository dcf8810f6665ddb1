"""What an LMS exported, a zip or a folder, copied into a room of ours before anything looks at it.

The names inside are strings to match, never places to write to: a copy is called by its number. What cannot be copied
(a link, an encrypted or a huge file) stays in the list with the reason, so that the numbers add up.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MEGABYTE = 1 << 20
LARGEST = 20 * MEGABYTE  # of one file, unpacked; what a notebook may have
ALTOGETHER = 4096 * MEGABYTE  # of all files, unpacked
ENTRIES = 20_000
_UTF8, _ENCRYPTED = 0x800, 0x1  # bits of a zip entry's flags
_CLUTTER = {"__macosx", ".ipynb_checkpoints", ".ds_store", "thumbs.db", "desktop.ini"}


class ExportError(ValueError):
    """The export as a whole cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Entry:
    """One file of an export.

    `copy` is where its bytes are, None if they cannot be had. `refused` says why it can be nobody's submission.
    """

    name: str  # as the export has it, composed (NFC)
    copy: Path | None = None
    sha256: str = ""
    refused: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders and the file of the name."""
        return tuple(part for part in self.name.split("/") if part not in ("", "."))

    @property
    def clutter(self) -> bool:
        """Whether an operating system or Jupyter put it there, not a student."""
        parts = [part.casefold() for part in self.parts]
        return any(part in _CLUTTER for part in parts) or "".join(parts[-1:]).startswith("._")

    @property
    def notebook(self) -> bool:
        """Whether it is called like a notebook."""
        return self.name.casefold().endswith(".ipynb")


def read_export(source: Path, room: Path) -> list[Entry]:
    """Copy every file of `source`, a zip or a folder, into the empty folder `room`; in order of their names.

    Raises:
        ExportError: `source` is neither, is damaged as a whole, or holds more than ENTRIES files or ALTOGETHER bytes.
    """
    if source.is_dir():
        entries = list(_from_folder(source, room))
    elif source.is_file():
        try:
            archive = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ExportError(
                f"{source} cannot be read as a zip ({error}): download it again, or unpack it and give the folder"
            ) from error
        with archive:
            entries = list(_from_zip(archive, room))
    else:
        raise ExportError(f"{source} is not there: give the LMS's zip, or a folder")
    return sorted(entries, key=lambda entry: (entry.name, entry.sha256))


def _unsafe(name: str) -> str:
    """Why a name in a zip is not one an LMS writes, or nothing."""
    parts = name.split("/")
    if "\\" in name:
        return "its name holds a backslash"
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
        return "its name leads out of the zip"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return "its name holds control characters"
    return "its name is too long" if max(len(p) for p in parts) > 255 or len(name) > 2000 else ""


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """The entry's name; many programs write UTF-8 without saying so."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", name)


def _from_zip(archive: zipfile.ZipFile, room: Path) -> Iterator[Entry]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > ENTRIES:
        raise ExportError(
            f"the zip holds {len(infos)} files, more than {ENTRIES}: is it an export?"
        )
    total = 0
    for number, info in enumerate(infos):
        name, kind = _name_in_zip(info), stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            yield Entry(name, refused="it is a link or no plain file")
            continue
        if info.flag_bits & _ENCRYPTED:
            yield Entry(name, refused="it is encrypted")
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            yield Entry(name, refused="it is packed by a method that no LMS uses")
            continue
        try:
            with archive.open(info) as stream:
                entry, size = _copy(stream, name, room / str(number))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
            yield Entry(name, refused=f"it is damaged: {error}")
            continue
        total = _counted(total, size)
        yield Entry(name, entry.copy, entry.sha256, entry.refused or _unsafe(name))


def _from_folder(source: Path, room: Path) -> Iterator[Entry]:
    def stop(error: OSError) -> None:
        raise ExportError(f"{error.filename} cannot be listed: {error.strerror}") from error

    number = total = 0
    for folder, folders, files in os.walk(source, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for file in sorted(files + links):
            number += 1
            if number > ENTRIES:
                raise ExportError(f"{source} holds more than {ENTRIES} files: is it an export?")
            path = Path(folder, file)
            raw = os.fsencode(path.relative_to(source).as_posix())
            name = unicodedata.normalize("NFC", raw.decode("utf-8", "replace"))
            try:
                entry, size = _copy_plain(path, name, room / str(number))
            except OSError as error:
                entry, size = Entry(name, refused=f"it cannot be read: {error.strerror}"), 0
            total = _counted(total, size)
            yield entry


def _copy_plain(path: Path, name: str, target: Path) -> tuple[Entry, int]:
    """As `_copy`, of a file that is looked at only if it is a plain one."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return Entry(name, refused="it is a link or no plain file"), 0
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as stream:
        return _copy(stream, name, target)


def _copy(stream: BinaryIO, name: str, target: Path) -> tuple[Entry, int]:
    """Copy at most LARGEST bytes; returns the entry and how many were read."""
    digest, size = hashlib.sha256(), 0
    with open(target, "xb") as file:
        while block := stream.read(MEGABYTE):
            size += len(block)
            if size > LARGEST:
                break
            digest.update(block)
            file.write(block)
    if size > LARGEST:
        target.unlink()
        return Entry(name, refused=f"it is larger than {LARGEST // MEGABYTE} MiB"), size
    return Entry(name, target, digest.hexdigest()), size


def _counted(total: int, size: int) -> int:
    if total + size > ALTOGETHER:
        raise ExportError(
            f"it unpacks to more than {ALTOGETHER // MEGABYTE} MiB: take it apart, a part at a time"
        )
    return total + size
