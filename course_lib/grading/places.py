"""Names of files and folders that come from foreign strings, and files that are there whole or not at all.

A student's id names a folder, so it is checked, never changed: two ids must not end in one folder. The name of a file
in an export is only shown and kept, so it is made harmless instead.
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from pathlib import Path

LONGEST = 150  # characters of a student's id
LONGEST_BYTES = 200  # of it, in a file system that allows 255
RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
HIDDEN = {
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Cn",
    "Zl",
    "Zp",
}  # Unicode categories that a screen does not show


class UnsafeName(ValueError):
    """A student's id cannot be the name of a folder; the message says why."""


def student_folder(student_id: str) -> str:
    """`student_id`, which may name a folder on every system.

    Raises UnsafeName if it is empty, too long, not NFC, begins with `.` or `_` (those names are ours), or holds a
    slash, a control character, or what some system forbids.
    """
    why = ""
    if not student_id or student_id != student_id.strip():
        why = "is empty, or begins or ends with a space"
    elif len(student_id) > LONGEST or len(os.fsencode(_encodable(student_id))) > LONGEST_BYTES:
        why = f"is longer than {LONGEST} characters or {LONGEST_BYTES} bytes"
    elif any(unicodedata.category(c) in HIDDEN for c in student_id):
        why = "holds a control character or an invisible one"
    elif bad := sorted(set(student_id) & set('/\\<>:"|?*')):
        why = f"holds {' '.join(bad)}"
    elif student_id[0] in "._" or student_id[-1] == ".":
        why = "begins with . or _, or ends with ."
    elif student_id.split(".")[0].casefold() in RESERVED:
        why = "is a reserved name on Windows"
    elif unicodedata.normalize("NFC", student_id) != student_id:
        why = "is not in Unicode's composed form (NFC)"
    if why:
        raise UnsafeName(
            f"student_id {shown(student_id, 60)!r} {why}: it cannot name a folder; choose another"
        )
    return student_id


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(text: str, length: int = 120) -> str:
    """`text` for a screen or a table: on one line, nothing invisible, at most `length` characters."""
    visible = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in HIDDEN else c for c in text
    )
    return visible if len(visible) <= length else visible[: length - 1] + "…"


def harmless(text: str, length: int = 80) -> str:
    """A file name for looking at, made of letters, digits, `-`, `_` and `.` of `text`; never empty, never hidden."""
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in composed).strip("._-")
    cut = kept.encode("utf-8", "ignore")[:length].decode("utf-8", "ignore")
    return cut or "unnamed"


def write_whole(path: Path, content: bytes | str) -> bool:
    """Write `content` so that `path` holds all of it or what it held before; False if it was there already."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{secrets.token_hex(8)}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return True
