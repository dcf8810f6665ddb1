"""Empty databases for gradebooks, in SQLite and in PostgreSQL. The PostgreSQL server is the tests' own: in a temporary
folder, on a socket in it, gone afterwards."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.requirements import require


@contextmanager
def server(programs):
    """Start a server with the programs in the folder `programs`; gives a function that makes an empty database
    and returns its URL. As root, who may not run one, the server is the user `postgres`'s."""
    folder = Path(tempfile.mkdtemp(prefix="course-pg-"))
    before = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        before = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]

    def run(program, *arguments):
        command = [*before, str(programs / program), "-D", str(folder / "data"), *arguments]
        log = folder / "output"
        with open(log, "w") as output:  # no pipe: the server would keep it open
            done = subprocess.run(
                command, cwd="/", stdout=output, stderr=subprocess.STDOUT, timeout=120, check=False
            )
        assert done.returncode == 0, log.read_text()

    settings = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    try:
        run("initdb", "--auth=trust", "--username=course", "--no-sync", "-E", "UTF8", "--locale=C")
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            numbers = count()
            admin = sa.create_engine(
                _url(folder, "postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
            )

            def make():
                name = f"book{next(numbers)}"
                with admin.connect() as connection:
                    connection.exec_driver_sql(f"CREATE DATABASE {name}")
                return _url(folder, name)

            yield make
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _url(folder, name):
    return f"postgresql+psycopg://course@/{name}?host={folder}"


@pytest.fixture(scope="session")
def new_database():
    """A function that makes an empty PostgreSQL database and returns its URL."""
    with server(require("postgres").resolve().parent) as make:
        yield make


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """The URL of an empty database; a test that asks for it runs with both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'book.db'}"
    return request.getfixturevalue("new_database")()
