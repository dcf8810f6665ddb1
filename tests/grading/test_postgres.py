"""What only PostgreSQL has: URLs, servers that are away, connections that break. The rest of the gradebook's tests
run on both engines."""

import re

import pytest
import sqlalchemy as sa

from course_lib.grading.gradebook import Gradebook, GradebookError
from tests.grading.books import UNIT, graded, override, submit


@pytest.fixture
def url(new_database):
    return new_database()


def test_other_spellings_of_the_url_mean_the_same(url):
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        with Gradebook(url.replace("postgresql+psycopg", scheme)) as book:
            assert book.database.engine.dialect.driver == "psycopg"
            assert submit(book, "ann").attempt == 1


def test_a_server_that_is_away_is_a_clear_error_without_the_password(tmp_path):
    with pytest.raises(GradebookError) as error:
        Gradebook(f"postgresql+psycopg://course:geheim@/book?host={tmp_path}")
    assert "failed: connection" in str(error.value)
    assert "geheim" not in str(error.value)


def test_a_database_that_is_not_there_is_a_clear_error(url):
    elsewhere = re.sub(r"/book\d+", "/nobooks", url)
    with pytest.raises(GradebookError, match='database "nobooks" does not exist'):
        Gradebook(elsewhere)


def test_a_broken_connection_loses_only_what_it_was_at(url):
    with Gradebook(url) as book, Gradebook(url) as other:
        graded(book, "ann")
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        with pytest.raises(GradebookError, match="failed"), book.database.writing() as db:
            db.execute(sa.text("SELECT 1"))
            with other.database.reading() as connection:
                connection.execute(sa.text(kill))
            db.execute(sa.text("SELECT 1"))
        assert submit(book, "ann").attempt == 1  # the next request connects again
        assert submit(book, "bob").attempt == 1


def test_other_tools_read_the_views(url):
    with Gradebook(url) as book:
        graded(book, "ann")
        override(book, "ann", "essay", 1.0)
    engine = sa.create_engine(url)
    with engine.connect() as db:
        query = "SELECT student, state, score FROM current_totals WHERE unit = :unit"
        assert db.execute(sa.text(query), {"unit": UNIT}).all() == [("ann", "graded", 3.0)]
    engine.dispose()
