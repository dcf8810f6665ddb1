"""Opening a gradebook's database: SQLite in a file, or PostgreSQL; and the locks that keep writers apart."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from course_lib.grading import schema

DEFAULT = "sqlite:///gradebook.db"
PATIENCE = 30  # seconds that one transaction waits for another
# PostgreSQL's advisory locks are numbers: one for a transaction that writes, one for a whole grading run.
TRANSACTION_LOCK, RUN_LOCK = 0x636F757273651, 0x636F757273652
BUSY = "another grading run is writing to it: wait until that one has ended, or stop it"


class GradebookError(ValueError):
    """The gradebook cannot be opened, or a request does not fit what is in it; the message says what to do."""


class Database:
    """A gradebook's database, checked and open.

    Args:
        url: sqlite:///FILE, or postgresql+psycopg://USER@HOST/NAME.
        create: make the tables if the database is empty.

    Raises GradebookError if it cannot be opened, belongs to another program, or is of another version.
    """

    def __init__(self, url: str, create: bool = True) -> None:
        self.url = _parsed(url)
        self.shown = self.url.render_as_string(hide_password=True)
        self.file = _file(self.url)
        if self.file is not None:
            self._check_file(create)
        try:
            self.engine = sa.create_engine(self.url, connect_args=_arguments(self.url))
        except ImportError as error:
            raise GradebookError(
                f"{self.shown} needs a package: pip install 'psycopg[binary]'"
            ) from error
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        try:
            self.salt = self._check_schema(create)
        except BaseException:
            self.engine.dispose()
            raise

    def _check_file(self, create: bool) -> None:
        if not self.file.parent.is_dir():
            raise GradebookError(
                f"the folder {self.file.parent} of the gradebook {self.shown} does not exist: make it"
            )
        if self.file.is_dir():
            raise GradebookError(f"{self.file} is a folder: name a file in it for the gradebook")
        if not create and not self.file.exists():
            raise GradebookError(
                f"there is no gradebook {self.shown}: `course grade` makes one; "
                "--gradebook or COURSE_GRADEBOOK says where it is"
            )

    def _check_schema(self, create: bool) -> str:
        """Make the tables if there are none; the salt. Two processes may do this at once."""
        with self.reading() as connection:
            there = set(sa.inspect(connection).get_table_names())
        if not there and not create:
            raise GradebookError(f"{self.shown} is empty: `course grade` makes a gradebook of it")
        if not there:
            with self.writing() as connection:
                there = set(sa.inspect(connection).get_table_names())
                if not there:
                    schema.create(connection, secrets.token_hex(16))
        if there and not set(schema.metadata.tables) <= there:
            raise GradebookError(
                f"{self.shown} is another program's database (nbgrader calls its own gradebook.db too): "
                "give the course's gradebook a place of its own with --gradebook or COURSE_GRADEBOOK"
            )
        with self.reading() as connection:
            row = connection.execute(sa.select(schema.gradebook)).one()
        if row.version != schema.VERSION:
            raise GradebookError(
                f"{self.shown} has version {row.version} of the gradebook's tables, this course reads version "
                f"{schema.VERSION}: use the release of the course that wrote it, or begin another gradebook"
            )
        return row.salt

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent look at everything. Raises GradebookError where the database fails."""
        engine = self.engine
        if engine.dialect.name == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._telling(), engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that writes; no other writes meanwhile. Raises GradebookError where the database fails."""
        engine = self.engine.execution_options(course_writes=True)
        with self._telling(), engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(TRANSACTION_LOCK)))
            yield connection

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            why = " ".join(str(error.orig).split())[:300]
            raise GradebookError(f"the gradebook {self.shown} failed: {why}") from error

    @contextmanager
    def run_lock(self, wait: float) -> Iterator[None]:
        """Hold what only one grading run can hold; it is free again when this process ends, however it ends.

        Raises GradebookError if another holds it for longer than `wait` seconds.
        """
        postgres = self.engine.dialect.name == "postgresql"
        with self._postgres_lock(wait) if postgres else self._file_lock(wait):
            yield

    @contextmanager
    def _postgres_lock(self, wait: float) -> Iterator[None]:
        attempt = sa.select(sa.func.pg_try_advisory_lock(RUN_LOCK))
        engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        with self._telling(), engine.connect() as connection:
            end = time.monotonic() + wait
            while not connection.execute(attempt).scalar():
                if time.monotonic() >= end:
                    raise GradebookError(f"{self.shown}: {BUSY}")
                time.sleep(0.1)
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(RUN_LOCK)))

    @contextmanager
    def _file_lock(self, wait: float) -> Iterator[None]:
        """A transaction that stays open in a second, empty SQLite file: a lock on every system."""
        if self.file is None:
            yield
            return
        place = self.file.with_name(f"{self.file.name}.lock")
        lock = sqlite3.connect(place, timeout=wait, isolation_level=None)
        try:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise GradebookError(f"{self.shown}: {BUSY} ({error})") from error
            yield
        finally:
            lock.close()


def _parsed(url: str) -> URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    known = {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}
    if parsed is None or parsed.drivername not in known:
        raise GradebookError(
            "a gradebook is given as sqlite:///FILE or as postgresql+psycopg://USER@HOST/NAME"
        )
    return parsed


def _file(url: URL) -> Path | None:
    """The file of an SQLite database; None for one in memory and for PostgreSQL."""
    if not url.drivername.startswith("sqlite") or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database)


def _arguments(url: URL) -> dict[str, Any]:
    return {"timeout": PATIENCE} if url.drivername.startswith("sqlite") else {"connect_timeout": 10}


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Transactions are begun by us; what is committed is on the disk; readers and a writer do not wait for another."""
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("course_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
