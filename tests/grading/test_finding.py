"""What is found in a folder of submissions: every notebook that counts, and a line for what else was meant."""

import os
from datetime import UTC, datetime

import pytest

from course_lib.course_map import load_map
from course_lib.grading.finding import find
from tests.grading import runs

ROWS = load_map()
UNIT = runs.UNIT


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "submissions"


def found(folder):
    """({student: Found}, problems); nobody is found twice."""
    there, problems = find(folder, ROWS)
    assert len({(one.student, one.row.name) for one in there}) == len(there)
    return {one.student: one for one in there}, problems


def test_submissions_are_found_with_their_times(folder):
    runs.submit(folder, "ada", b"1", when="2026-03-01 13:00:00.5 Europe/Berlin")
    runs.submit(folder, "李 小龙", b"2", name="answers.ipynb")
    runs.submit(folder, "=bob", b"1", when="2026-03-01T12:00")
    there, problems = found(folder)
    assert problems == [] and [*there] == ["=bob", "ada", "李 小龙"]
    assert there["ada"].submitted_at == datetime(2026, 3, 1, 12, 0, 0, 500_000, UTC)
    assert (
        there["=bob"].submitted_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
        and there["李 小龙"].submitted_at is None
    )
    assert there["ada"].sha256 == there["=bob"].sha256 != there["李 小龙"].sha256
    assert there["李 小龙"].path.name == "answers.ipynb"


def test_the_notebook_that_is_called_as_the_unit_counts(folder):
    for name in ("draft.ipynb", "", "older.ipynb", ".hidden.ipynb"):
        runs.submit(folder, "ada", name.encode(), name=name)
    there, problems = found(folder)
    assert there["ada"].path.name == f"{UNIT}.ipynb" and problems == []


@pytest.mark.parametrize(
    ("lay", "said"),
    [
        (lambda f: runs.submit(f, "ada", b"", name="a.ipynb"), "a.ipynb, b.ipynb"),
        (lambda f: runs.submit(f, "ada", b"", unit="05_graphs"), "05_graphs is no unit"),
        (lambda f: runs.submit(f, "ada", b"", name="lab.pdf"), "there: none"),
        (lambda f: runs.submit(f, "ada", b"", unit="x").rename(f / "ada" / "x.ipynb"), "ada/x.ip"),
        (lambda f: runs.submit(f, "ada", b"", unit="x").rename(f / "a.IPYNB"), "a.IPYNB is passed"),
        (lambda f: runs.submit(f, "a|b", b""), "holds |"),
        (lambda f: runs.submit(f, "ada", b"", name="a.ipynb", when="soon"), "holds no time: soon"),
    ],
)
def test_what_is_no_submission_is_said_and_hides_nobody_else(folder, lay, said):
    runs.submit(folder, "eve", b"x")
    lay(folder)
    if said == "a.ipynb, b.ipynb":
        runs.submit(folder, "ada", b"", name="b.ipynb")
    there, problems = found(folder)
    assert "eve" in there
    assert any(said in line for line in problems), problems
    assert all(line.isprintable() for line in problems)
    assert ("ada" in there) == ("no time" in said)


def test_links_are_never_followed_and_never_passed_over_in_silence(folder, tmp_path):
    secret = runs.submit(tmp_path / "elsewhere", "ada", b"somebody's work")
    runs.submit(folder, "bob", b"x").unlink()
    (folder / "bob" / UNIT / f"{UNIT}.ipynb").symlink_to(secret)
    (folder / "eve").symlink_to(secret.parent.parent)
    (folder / "joe").mkdir()
    (folder / "joe" / UNIT).symlink_to(secret.parent)
    (folder / "lab.ipynb").symlink_to(secret)
    there, problems = found(folder)
    assert [*there] == ["bob"]
    assert there["bob"].sha256 != find(tmp_path / "elsewhere", ROWS)[0][0].sha256
    for name in (f"bob/{UNIT}/{UNIT}.ipynb", "eve", f"joe/{UNIT}", "lab.ipynb"):
        assert any(line.startswith(f"{name} is a link") for line in problems), problems
    assert len(problems) == 4


def test_what_is_no_file_is_neither_waited_for_nor_lost(folder):
    place = runs.submit(folder, "pip", b"")
    place.unlink()
    os.mkfifo(place)
    large = runs.submit(folder, "big", b"")
    os.truncate(large, 1 << 42)  # all of it holes
    directory = runs.submit(folder, "dir", b"")
    directory.unlink()
    directory.mkdir()
    there, problems = found(folder)
    assert sorted(there) == ["big", "dir", "pip"] and problems == []


def test_folders_that_are_nobodys_and_other_files_are_passed_over(folder):
    for name in ("_unmatched", "_earlier", ".ipynb_checkpoints"):
        runs.submit(folder, name, b"x")
    runs.submit(folder, "ada", b"x")
    (folder / f"collected-{UNIT}.csv").write_text("x")
    (folder / "ada" / "feedback.html").write_text("x")
    there, problems = found(folder)
    assert [*there] == ["ada"] and problems == []


def test_no_folder_is_a_clear_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="course collect"):
        find(tmp_path / "nothing", ROWS)
