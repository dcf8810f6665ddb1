"""Every notebook keeps the house's rules; and each rule finds what breaks it."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.course_map import load_map, root
from course_lib.publish.release import read_master
from tests.notebooks import style
from tests.sample import NAME

UNITS = load_map()
KINDS = ("lecture", "master", "lab")


def faults(folder, row, kind):
    """All faults of one of a unit's three notebooks."""
    notebook = read_master(folder / getattr(row, kind))
    found = style.format_faults(notebook) + style.output_faults(notebook)
    place = row.lecture if kind == "lecture" else row.lab  # a master's links are its lab's
    found += style.link_faults(notebook, place, folder)
    if kind != "lab":  # a lab's code is its master's, less the answers
        found += style.size_faults(notebook)
    if kind == "lecture":
        found += style.slide_faults(notebook)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row", UNITS, ids=lambda row: row.name)
def test_notebooks_keep_the_rules(row, kind):
    assert faults(root(), row, kind) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_skeleton_keeps_the_rules(sample_course, kind):
    [row] = load_map(sample_course)
    assert row.name == NAME
    assert faults(sample_course, row, kind) == []


def code(*sources, **more):
    """A notebook of code cells."""
    return new_notebook(cells=[new_code_cell(source, **more) for source in sources])


def test_format_rule():
    twice = code("1", "2")
    twice.cells[0].id = twice.cells[1].id
    assert "2 times" in style.format_faults(twice)[0]
    twice.nbformat_minor = 4
    assert "not 4.5" in style.format_faults(twice)[0]
    assert style.format_faults(code("1", "2")) == []


def test_output_rule():
    assert style.output_faults(code("1")) == []
    assert style.output_faults(code("1", outputs=[new_output("stream", text="1")]))
    assert style.output_faults(code("1", execution_count=1))
    assert style.output_faults(code("1", metadata={"collapsed": True}))
    notebook = code("1")
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    assert style.output_faults(notebook)


def test_slide_rule():
    assert style.slide_faults(code("1"))
    assert style.slide_faults(code("1", metadata={"slideshow": {"slide_type": "Slide"}}))
    assert style.slide_faults(code("1", metadata={"slideshow": {"slide_type": "slide"}})) == []


def test_size_rules():
    prose = new_markdown_cell("word " * 1000)
    long, nine = "\n".join(["x = 1"] * 31), "\n".join(["x = 1"] * 9)
    assert "31 lines" in style.size_faults(new_notebook(cells=[prose, new_code_cell(long)]))[0]
    assert "median" in style.size_faults(new_notebook(cells=[prose, new_code_cell(nine)]))[0]
    assert (
        "3 words for 1"
        in style.size_faults(
            new_notebook(cells=[new_markdown_cell("three words here"), new_code_cell("x")])
        )[0]
    )
    fine = [prose, new_code_cell(nine), new_code_cell("x = 1"), new_code_cell("y = 1\n\n\ny")]
    assert style.size_faults(new_notebook(cells=fine)) == []


def test_link_rule(tmp_path):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "lectures/01_a.ipynb").touch()
    (tmp_path / "course.toml").touch()
    place = tmp_path.joinpath("labs/01_a/01_a.ipynb").relative_to(tmp_path)

    def found(text):
        return style.link_faults(new_notebook(cells=[new_markdown_cell(text)]), place, tmp_path)

    assert found("[a](../../lectures/01_a.ipynb#part) [b](https://x.org) [c](#here)") == []
    assert found("[a](../../lectures/02_b.ipynb)")
    assert found("![a](picture.png)")
    assert found('<img src="picture.png">')
    assert found("[out of what is copied](../../course.toml)")
