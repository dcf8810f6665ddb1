"""`course bench notebooks`: seconds against the map's budgets, and 1 for an overrun."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from course_lib import cli
from course_lib.publish import bench


def written(folder, *cells):
    """A notebook of `cells` in `folder`; its name."""
    nbformat.write(new_notebook(cells=list(cells)), folder / "a.ipynb")
    return "a.ipynb"


def test_a_notebook_is_timed_with_the_fast_switch_or_without(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_FAST", "1")
    source = "import os; print(os.environ.get('COURSE_FAST'))\nassert 'COURSE_FAST' in os.environ"
    name = written(tmp_path, new_code_cell(source))
    fast = bench.time_notebook(tmp_path, name, 1000, fast=True)
    assert fast.fits
    assert fast.seconds > 0
    full = bench.time_notebook(tmp_path, name, 1000, fast=False)
    assert not full.fits
    assert full.error.startswith("code cell 1 (import os")
    assert "AssertionError" in full.error


def test_an_expected_error_is_no_fault(tmp_path):
    cell = new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
    assert bench.time_notebook(tmp_path, written(tmp_path, cell), 1000, fast=True).fits


@pytest.mark.parametrize(
    ("seconds", "error", "code", "word"),
    [(1.0, "", 0, "ok"), (1e6, "", 1, "OVER"), (1.0, "NameError: x", 1, "NameError")],
)
def test_an_overrun_or_an_error_leaves_with_one(monkeypatch, seconds, error, code, word):
    def timed(folder, path, budget, *, fast):
        assert fast
        return bench.Timing(path, seconds, budget, error)

    monkeypatch.setattr(bench, "time_notebook", timed)
    monkeypatch.setattr(bench, "notebooks_of", lambda row, folder: [row.lecture])
    done = CliRunner().invoke(cli.app, ["bench", "notebooks", "--fast"])
    assert done.exit_code == code
    assert word in done.stdout
