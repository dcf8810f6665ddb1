"""Notebooks read with clear errors; a cell that hangs or kills its kernel ends no more than itself."""

import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.commands import notebooks


def run(folder, *sources, timeout=60.0):
    """Execute a notebook of the code cells `sources`; return it with what happened."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    environment = notebooks.kernel_environment(COURSE_TEST="1")
    return notebook, notebooks.execute(notebook, folder, environment, timeout)


def printed(cell):
    """What a cell wrote to stdout."""
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


def test_runs_in_the_notebooks_folder_and_goes_on_after_an_error(tmp_path):
    notebook, happened = run(
        tmp_path,
        "import os; print(os.getcwd(), os.environ['COURSE_TEST'])",
        "1 / 0",
        "print('still here')",
    )
    assert printed(notebook.cells[0]).split() == [os.path.realpath(tmp_path), "1"]
    assert happened.errors == {1: "ZeroDivisionError: division by zero"}
    assert printed(notebook.cells[2]).strip() == "still here"
    assert happened.stopped_at is None


def test_a_slow_cell_is_interrupted_and_the_next_runs(tmp_path):
    notebook, happened = run(
        tmp_path, "x = 1", "import time\nwhile True: time.sleep(0.05)", "print(x)", timeout=2
    )
    assert happened.timed_out == [1]
    assert printed(notebook.cells[2]).strip() == "1"
    assert happened.stopped_at is None


def test_a_cell_that_cannot_be_interrupted_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "REVIVAL_SECONDS", 2.0)
    stubborn = (
        "import time\nwhile True:\n    try: time.sleep(0.05)\n    except KeyboardInterrupt: pass"
    )
    _, happened = run(tmp_path, stubborn, "print('never')", timeout=2)
    assert (happened.timed_out, happened.stopped_at) == ([0], 0)


def test_a_dead_kernel_ends_the_run(tmp_path):
    _, happened = run(tmp_path, "import os", "os._exit(1)", "print('never')")
    assert happened.stopped_at == 1
    assert "died" in happened.reason


GOOD = new_notebook(cells=[new_markdown_cell("text")])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        b'{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b'{"cells": [], "metadata": {}, "nbformat": 99, "nbformat_minor": 0}',
        b"[" * 200_000,
        nbformat.writes(GOOD).encode()[:-40],
    ],
)
def test_a_file_that_is_no_notebook_is_a_clear_error(tmp_path, content):
    path = tmp_path / "broken.ipynb"
    path.write_bytes(content)
    with pytest.raises(notebooks.NotebookError, match=r"broken\.ipynb"):
        notebooks.read(path)


def test_a_missing_file_and_a_folder_are_clear_errors(tmp_path):
    for path in (tmp_path / "absent.ipynb", tmp_path):
        with pytest.raises(notebooks.NotebookError, match="cannot be read"):
            notebooks.read(path)


def test_old_formats_and_missing_ids_are_read(tmp_path):
    path = tmp_path / "old.ipynb"
    path.write_text(
        '{"cells": [{"cell_type": "code", "source": "x", "metadata": {}, "outputs": [], '
        '"execution_count": 3}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}'
    )
    [cell] = notebooks.read(path).cells
    assert (cell.source, cell.execution_count) == ("x", None)
