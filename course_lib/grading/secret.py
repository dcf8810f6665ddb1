"""The grader's secret, and the seeds that follow from it.

Every hidden input is drawn from HMAC-SHA256(secret, program, exercise, case): nobody without the secret can foresee it,
and anybody with it can repeat a grading. `program` is the hash of what the student wrote for the exercise, so that a
resubmission with one space more, or with another exercise changed, meets the very same cases.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

SIZE = 32


class SecretError(RuntimeError):
    """The secret cannot be used as it is; the message says what to do."""


def secret_file() -> Path:
    """$COURSE_SECRET_FILE, by default ~/.config/course/grading-secret."""
    named = os.environ.get("COURSE_SECRET_FILE")
    return Path(named) if named else Path.home() / ".config" / "course" / "grading-secret"


def load_secret(path: Path | None = None) -> bytes:
    """The 32 bytes of the secret; made, with mode 0600, if the file is not there yet.

    Raises SecretError if the file has another size, or can be read by others.
    """
    path = path or secret_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
    except FileExistsError:
        pass
    except OSError as error:
        raise SecretError(
            f"{path} cannot be made: {error.strerror}; set COURSE_SECRET_FILE"
        ) from error
    try:
        secret, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SecretError(f"{path} cannot be read: {error.strerror}") from error
    if len(secret) != SIZE:
        raise SecretError(
            f"{path} holds {len(secret)} bytes, not {SIZE}: restore it from your backup"
        )
    if os.name == "posix" and mode & 0o077:
        raise SecretError(f"{path} can be read by others: chmod 600 {path}")
    return secret


def secret_id(secret: bytes) -> str:
    """A name for the secret that does not tell it."""
    return hashlib.sha256(b"name of the secret:" + secret).hexdigest()[:12]


def seed(secret: bytes, *parts: object) -> int:
    """A 63-bit seed for what `parts` name."""
    text = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hmac.new(secret, text, hashlib.sha256).digest()[:8], "big") >> 1
