"""`course release`: what a master must be, what a lab is made of, and nothing of the answers in it."""

import copy
import json
import shutil

import nbformat
import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.course_map import UnitRow, load_map
from course_lib.exercises.engine import Unit
from course_lib.publish import commands, release, skeleton
from tests.sample import NAME, nbgrader
from tests.sample import copy as copy_course

ROW = UnitRow(90, "sample", "Sample", "About.", {"lecture": 1, "lab": 2}, {}, (), ())


@pytest.fixture
def master():
    """The skeleton's master."""
    return nbformat.reads(skeleton.parts(NAME)[ROW.master], as_version=4)


@pytest.fixture
def unit():
    """A unit with the skeleton's one exercise."""
    made = Unit(NAME)

    def row_mean(answer, case):
        raise AssertionError("not run here")

    made.exercise(points=1, minutes=1, reference=abs)(row_mean)
    return made


def cell(notebook, grade_id):
    """The cell of that grade id."""
    return next(
        c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )


def test_strip_takes_the_answer_and_keeps_the_rest(master):
    before = copy.deepcopy(master)
    lab = release.strip(master)
    assert master == before  # the master itself is not touched
    assert [c.id for c in lab.cells] == [c.id for c in master.cells]
    text = nbformat.writes(lab)
    assert "SOLUTION" not in text
    assert "total + row" not in text
    assert "raise NotImplementedError()" in cell(lab, "row_mean").source
    assert '"""Mean of the rows' in cell(lab, "row_mean").source  # outside the region: it stays
    check = cell(lab, "check_row_mean")
    assert check.source == 'row_mean = check("row_mean", row_mean)'
    assert check.metadata.editable is False
    assert check.metadata.deletable is False
    assert cell(lab, "row_mean").metadata.get("editable", True)
    others = [c.source for c in lab.cells if c.id != "row-mean-answer"]
    assert others == [c.source for c in master.cells if c.id != "row-mean-answer"]


def test_strip_takes_outputs_and_hidden_tests(master):
    check = cell(master, "check_row_mean")
    check.source += "\n### BEGIN HIDDEN TESTS\nassert secret\n### END HIDDEN TESTS"
    check.outputs = [nbformat.v4.new_output("stream", text="1 of 1")]
    lab = release.strip(master)
    assert "secret" not in nbformat.writes(lab)
    assert cell(lab, "check_row_mean").outputs == []


def test_a_good_master_has_no_problems(master, unit):
    assert release.problems(master, unit) == []


def spoil_region(nb):
    answer = cell(nb, "row_mean")
    answer.source = answer.source.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")


def spoil_end(nb):
    cell(nb, "row_mean").source = cell(nb, "row_mean").source.replace("### END SOLUTION", "")


def spoil_points(nb):
    cell(nb, "check_row_mean").metadata.nbgrader.points = 3


def spoil_id(nb):
    cell(nb, "check_row_mean").metadata.nbgrader.grade_id = "row_mean"


def spoil_check(nb):
    nb.cells.remove(cell(nb, "check_row_mean"))


def spoil_answer(nb):
    nb.cells.remove(cell(nb, "row_mean"))


def spoil_call(nb):
    cell(nb, "check_row_mean").source = "row_mean = row_mean"


def spoil_order(nb):
    nb.cells.append(nb.cells.pop(nb.cells.index(cell(nb, "row_mean"))))


def spoil_schema(nb):
    cell(nb, "row_mean").metadata.nbgrader.schema_version = 2


def spoil_cell_id(nb):
    nb.cells[0].id = nb.cells[1].id


def spoil_setup(nb):
    nb.cells[1].metadata.tags = []


def spoil_stranger(nb):
    cell(nb, "check_row_mean").metadata.nbgrader.grade_id = "check_other"


def spoil_place(nb):
    nb.cells[-1].source += "\n### BEGIN SOLUTION\n1\n### END SOLUTION"


def spoil_format(nb):
    nb.nbformat_minor = 4


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_region, "no ### BEGIN SOLUTION"),
        (spoil_end, "do not pair"),
        (spoil_points, "gives 3 points, its module 1"),
        (spoil_id, "stands twice"),
        (spoil_check, "has no check cell"),
        (spoil_answer, "has no answer cell"),
        (spoil_call, "does not call check"),
        (spoil_order, "stands before its answer"),
        (spoil_schema, "schema_version must be 3"),
        (spoil_cell_id, "missing or stands twice"),
        (spoil_setup, "no cell has the tag 'setup'"),
        (spoil_stranger, "belongs to no exercise"),
        (spoil_place, "no nbgrader metadata"),
        (spoil_format, "save it as 4.5"),
    ],
)
def test_each_fault_of_a_master_is_named(master, unit, spoil, said):
    spoil(master)
    assert any(said in problem for problem in release.problems(master, unit))


def test_a_doubled_cell_id_in_the_file_is_seen(master, unit, tmp_path):
    spoil_cell_id(master)
    path = tmp_path / "master.ipynb"
    path.write_text(json.dumps(master))
    assert any("stands twice" in p for p in release.problems(release.read_master(path), unit))


def test_the_readmes_table_is_renewed_between_its_markers():
    text = f"before\n{release.TABLE_START}\nold\n{release.TABLE_END}\nafter"
    renewed = release.with_table(text, (ROW,))
    assert renewed.startswith("before\n")
    assert renewed.endswith("\nafter")
    assert "old" not in renewed
    assert "**Sample**" in renewed
    assert release.with_table(renewed, (ROW,)) == renewed
    with pytest.raises(release.ReleaseError, match="<!-- units -->"):
        release.with_table("no markers", (ROW,))


@pytest.fixture
def run(sample_course, tmp_path, monkeypatch, unit):
    """`course ARGUMENTS` in this process, on a copy of the small course: (folder, command)."""
    folder = copy_course(sample_course, tmp_path / "course")
    monkeypatch.setattr(commands, "root", lambda: folder)
    monkeypatch.setattr(commands, "units", lambda: load_map(folder))
    monkeypatch.setattr(release, "unit_of", lambda row: unit)
    return folder, lambda *arguments: CliRunner().invoke(cli.app, arguments)


def test_release_is_byte_identical_and_check_writes_nothing(run):
    folder, command = run
    lab, stale = folder / ROW.lab, folder / "labs/91_gone/91_gone.ipynb"
    first = lab.read_bytes()
    lab.write_text("edited by hand")
    stale.parent.mkdir()
    stale.write_text("{}")
    found = command("release", "--check")
    assert found.exit_code == 1, found.output
    assert f"differs: {ROW.lab}" in found.stdout
    assert "differs: labs/91_gone/91_gone.ipynb" in found.stdout
    assert lab.read_text() == "edited by hand"
    assert command("release").exit_code == 0
    assert lab.read_bytes() == first
    assert not stale.exists()
    again = command("release", "--check")
    assert (again.exit_code, again.stdout.strip()) == (0, "everything is up to date")


def test_a_bad_master_releases_nothing(run):
    folder, command = run
    path, before = folder / ROW.master, (folder / ROW.lab).read_bytes()
    for text in (path.read_text().replace("### BEGIN SOLUTION", "###"), "no notebook"):
        path.write_text(text)
        done = command("release")
        assert done.exit_code == 2
        assert str(ROW.master) in done.stderr
        assert (folder / ROW.lab).read_bytes() == before


def test_students_get_nothing_while_a_lab_is_stale(run, tmp_path):
    folder, command = run
    (folder / ROW.lab).write_text("edited by hand")
    done = command("release", "--student", str(tmp_path / "student"))
    assert done.exit_code == 2
    assert "course release" in done.stderr
    assert not (tmp_path / "student").exists()


def test_a_folder_with_something_in_it_is_left_alone(run, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    done = run[1]("release", "--student", str(full))
    assert done.exit_code == 2
    assert "not empty" in done.stderr
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_nbgrader_itself_makes_the_same_lab_and_leaks_nothing(sample_course, tmp_path):
    folder = copy_course(sample_course, tmp_path / "course")
    wanted = nbformat.read(folder / ROW.lab, as_version=4)
    shutil.rmtree(folder / "labs")
    done = nbgrader(folder, "generate_assignment", NAME)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (folder / "labs").rglob("*") if p.is_file()] == [f"{NAME}.ipynb"]
    assert nbformat.read(folder / ROW.lab, as_version=4).cells == wanted.cells
