"""Opening a gradebook, and what keeps two processes apart; killing one loses nothing."""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from course_lib.course_map import root
from course_lib.grading import database, schema
from course_lib.grading.gradebook import Gradebook, GradebookError
from tests.grading.books import UNIT, graded, submit

JOBS = 40


# opening -----------------------------------------------------------------------------------------


def test_a_gradebook_is_there_when_opened_again(url):
    with Gradebook(url) as book:
        graded(book, "ann")
        salt = book.salt
    with Gradebook(url, create=False) as book:
        assert book.salt == salt and len(salt) == 32
        assert [t.student for t in book.totals(UNIT)] == ["ann"]


def test_an_empty_database_is_no_gradebook_for_a_reader(url):
    with pytest.raises(GradebookError, match="`course grade` makes"):
        Gradebook(url, create=False)


def test_another_version_is_a_clear_error(url, monkeypatch):
    monkeypatch.setattr(schema, "VERSION", 99)
    Gradebook(url).close()
    monkeypatch.undo()
    with pytest.raises(GradebookError, match=r"has version 99 .* reads version 1"):
        Gradebook(url)


def test_another_programs_database_is_left_alone(url):
    engine = sa.create_engine(url)
    with engine.begin() as db:
        db.execute(sa.text("CREATE TABLE assignment (id INTEGER)"))
    with pytest.raises(GradebookError, match="another program's"):
        Gradebook(url)
    assert sa.inspect(engine).get_table_names() == ["assignment"]
    engine.dispose()


def test_nbgraders_own_gradebook_is_recognised(tmp_path, monkeypatch):
    from nbgrader.api import Gradebook as Theirs

    programs = Path(sys.executable).parent  # nbgrader calls alembic
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    url = f"sqlite:///{tmp_path / 'gradebook.db'}"
    Theirs(url).close()
    with pytest.raises(GradebookError, match="nbgrader"):
        Gradebook(url)


def test_wrong_places_are_clear_errors(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, and longer than a header of SQLite" * 9)
    for url, words in (
        (f"sqlite:///{tmp_path}/no/book.db", "folder .*no of the gradebook .* does not exist"),
        (f"sqlite:///{tmp_path}", "is a folder"),
        (f"sqlite:///{tmp_path}/text.db", "not a database"),
        ("gradebook.db", "sqlite:///FILE"),
        ("mysql://a/b", "sqlite:///FILE"),
        ("", "sqlite:///FILE"),
    ):
        with pytest.raises(GradebookError, match=words):
            Gradebook(url)
    with pytest.raises(GradebookError, match="--gradebook or COURSE_GRADEBOOK"):
        Gradebook(f"sqlite:///{tmp_path}/absent.db", create=False)
    assert [p.name for p in tmp_path.iterdir()] == ["text.db"]


def test_sqlite_is_set_up_to_last(tmp_path):
    with Gradebook(f"sqlite:///{tmp_path / 'book.db'}") as book, book.database.reading() as db:
        found = [
            db.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert found == ["wal", 2, 1, 30_000]


def test_a_full_or_unwritable_database_is_a_clear_error(tmp_path):
    path = tmp_path / "book.db"
    Gradebook(f"sqlite:///{path}").close()
    with Gradebook(f"sqlite:///{path}") as book:
        with book.database.reading() as db:
            pages = db.exec_driver_sql("PRAGMA page_count").scalar()
            db.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(GradebookError, match=r"full"):
            for number in range(1000):
                submit(book, f"s{number}")


# two processes -----------------------------------------------------------------------------------


def test_a_second_grading_run_is_refused_or_waits(url):
    with Gradebook(url) as one, Gradebook(url) as two:
        with one.grading_run():
            with pytest.raises(GradebookError, match="another grading run"), two.grading_run():
                pytest.fail("both hold the lock")
            began = time.monotonic()
            with pytest.raises(GradebookError), two.grading_run(wait=0.3):
                pytest.fail("both hold the lock")
            assert time.monotonic() - began >= 0.3
            assert submit(two, "ann").attempt == 1  # marks and status go on meanwhile
        with two.grading_run():
            pass
        with pytest.raises(ZeroDivisionError), one.grading_run():
            raise ZeroDivisionError
        with two.grading_run():
            pass


def test_a_writer_waits_for_a_writer_and_readers_do_not(url, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    with Gradebook(url) as one, Gradebook(url) as two:
        graded(one, "ann")
        with one.database.writing() as db:
            db.execute(schema.marks.insert().values(_mark()))
            assert next(s.earned for s in two.current(UNIT)) == 2.0
            if url.startswith("sqlite"):
                with pytest.raises(GradebookError, match="locked"):
                    submit(two, "bob")
        assert next(s.earned for s in two.current(UNIT)) == 0.5


def _mark():
    who = {"student": "ann", "unit": UNIT, "exercise": "gcn", "attempt": None, "kind": "override"}
    return {**who, "points": 0.5, "comment": "", "by": "x", "at": datetime.now(UTC)}


def _submit_many(url, name, barrier):
    barrier.wait(60)
    with Gradebook(url) as book:
        for number in range(20):
            submit(book, "ann", None, f"{name}{number}")
            submit(book, "ann", None, f"both{number}")


def test_processes_that_begin_at_once_share_one_gradebook(url):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    pool = [context.Process(target=_submit_many, args=(url, n, barrier)) for n in "abc"]
    for process in pool:
        process.start()
    for process in pool:
        process.join(120)
    assert [process.exitcode for process in pool] == [0, 0, 0]
    with Gradebook(url) as book, book.database.reading() as db:
        attempts = list(db.scalars(sa.select(schema.submissions.c.attempt)))
        assert sorted(attempts) == list(range(1, 81))
        assert len(list(db.scalars(sa.select(schema.gradebook.c.salt)))) == 1


# kill -9 -----------------------------------------------------------------------------------------


def _start(url):
    command = [sys.executable, "-m", "tests.grading.recorder", url, str(JOBS)]
    return subprocess.Popen(command, cwd=root(), stdout=subprocess.PIPE, text=True)


def test_a_killed_run_loses_nothing_and_doubles_nothing(url):
    """Killed after a random number of results, at a random moment, until a run comes to its end."""
    chance, said, ended = random.Random(7), [], None
    for _ in range(12):
        process = _start(url)
        assert process.stdout.readline() == "began\n"  # the dead run's lock is free
        for _ in range(chance.randint(0, 12)):
            said.append(process.stdout.readline())
        time.sleep(chance.random() * 0.01)
        process.kill()
        said += process.stdout.read().splitlines()
        ended = process.wait(30)
        if ended == 0:
            break
    else:
        process = _start(url)
        said += process.stdout.read().splitlines()[1:]
        assert process.wait(60) == 0
    with Gradebook(url) as book, book.database.reading() as db:
        results = sa.select(schema.submissions.c.student).join(schema.results)
        assert sorted(db.scalars(results)) == [f"s{n:03d}" for n in range(JOBS)]
        parts = sa.select(sa.func.count()).select_from(schema.exercise_results)
        assert db.scalar(parts) == 3 * JOBS
    numbers = [int(line) for line in said if line.strip()]
    assert len(set(numbers)) == len(numbers)  # no job was done twice
