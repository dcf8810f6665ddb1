"""The student's desk: `work/`, into which lectures and labs are copied so that a clone stays clean.

A file that the student has changed is never overwritten. `work/.copied.json` remembers, for each file,
the SHA-256 of the release last offered; a file that still has it is the course's and may be updated,
any other is the student's, and a newer release is put beside it under another name.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDERS = ("lectures", "labs")
RECORD = ".copied.json"


class DeskError(OSError):
    """`work/` cannot be read or written; the message says what to do."""


@dataclass
class Delivery:
    """What one call of `fill` did; paths are relative to the desk."""

    new: list[Path] = field(default_factory=list)
    updated: list[Path] = field(default_factory=list)
    beside: list[tuple[Path, Path]] = field(
        default_factory=list
    )  # (the student's, the new release)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def released(folder: Path) -> Iterator[Path]:
    """The files of lectures and labs in the repository `folder`, relative to it, sorted."""
    for top in FOLDERS:
        for path in sorted((folder / top).rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.is_file() and not hidden:
                yield path.relative_to(folder)


def _write(path: Path, content: bytes) -> None:
    """Write through a temporary file, so that an interruption leaves the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".copying-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _load_record(desk: Path) -> dict[str, str]:
    """The record of earlier copies; without a readable one, every file counts as the student's."""
    try:
        record = json.loads((desk / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _deliver(name: Path, content: bytes, desk: Path, offered: str | None, done: Delivery) -> None:
    """Bring one released file to the desk; `offered` is the SHA-256 of the release offered before."""
    target, sha = desk / name, _sha(content)
    if not target.exists():
        _write(target, content)
        done.new.append(name)
        return
    present = _sha(target.read_bytes())
    if sha in {present, offered}:  # up to date, or a release that the student has seen already
        return
    if present == offered:
        _write(target, content)
        done.updated.append(name)
        return
    beside = name.with_name(f"{name.stem}.new-{sha[:8]}{name.suffix}")
    if not (desk / beside).exists():
        _write(desk / beside, content)
    done.beside.append((name, beside))


def fill(folder: Path, desk: Path) -> Delivery:
    """Copy lectures and labs of the repository `folder` into `desk`; say what was done.

    Raises DeskError if the desk cannot be read or written; files copied until then stay.
    """
    done = Delivery()
    try:
        desk.mkdir(parents=True, exist_ok=True)
        before = _load_record(desk)
        record = dict(before)
        try:
            for name in released(folder):
                content = (folder / name).read_bytes()
                _deliver(name, content, desk, before.get(name.as_posix()), done)
                record[name.as_posix()] = _sha(content)
        finally:
            if record != before:
                _write(desk / RECORD, json.dumps(record, indent=1, sort_keys=True).encode())
    except OSError as error:
        raise DeskError(
            f"cannot copy the notebooks into {desk}: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}. Make that folder yours and "
            "writable (chmod -R u+w work), or move it away and run `course lab` again."
        ) from error
    return done
