"""`course new-unit`: the six parts of a unit, small, true to the house's rules, and passing its tests."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.course_map import FILE_NAME, UnitRow

TEMPLATES = Path(__file__).parent / "templates"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

LECTURE = [  # (cell id, slide type, kind, text)
    (
        "title",
        "slide",
        "markdown",
        "# TITLE\n\nA skeleton of a lecture, to be replaced piece by piece. It opens with what a "
        "reader can do afterwards, what is taken for granted, and how long it takes.\n\n"
        "**Objectives.** Say why a mean over rows forgets their order. Test such a claim in code.\n\n"
        "**Prerequisites.** Linear algebra. **Minutes.** 60.",
    ),
    (
        "setup",
        "skip",
        "code",
        "import ipywidgets as widgets\nimport torch\n\nfrom course_lib.training import seed_everything"
        "\n\nrandom = seed_everything(0)",
    ),
    (
        "example",
        "subslide",
        "markdown",
        "## The smallest example, by hand\n\nTake three rows of two numbers. The mean of the first "
        "column is (1 + 3 + 5) / 3 = 3, and that of the second is (2 + 4 + 6) / 3 = 4. A reader can "
        "check both by eye before any code runs.",
    ),
    (
        "by-hand",
        "fragment",
        "code",
        "x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])\n"
        "assert torch.equal(x.mean(dim=0), torch.tensor([3.0, 4.0]))",
    ),
    (
        "property",
        "slide",
        "markdown",
        "## What it forgets\n\nLet $P$ be a permutation matrix. Then mean$(PX)$ = mean$(X)$: adding "
        "is commutative, so the order of the rows cannot matter. The slider rolls the rows; watch "
        "the rows move and the mean stay where it is.",
    ),
    (
        "demonstration",
        "fragment",
        "code",
        "@widgets.interact(shift=widgets.IntSlider(min=0, max=2))\n"
        "def rolled(shift=0):\n"
        "    rows = x.roll(shift, dims=0)\n"
        '    print(f"rows {rows.tolist()}   mean {rows.mean(dim=0).tolist()}")',
    ),
    (
        "questions",
        "slide",
        "markdown",
        "## Predict, then run\n\n1. Does the *sum* of the rows depend on their order? No, for the "
        "same reason.\n2. Does the first row? Yes: it is the one thing that a roll replaces.\n"
        "3. Can the mean tell two equal rows from one? No: it divides by their number, and what "
        "it cannot tell apart no later layer can.",
    ),
    (
        "summary",
        "slide",
        "markdown",
        "## Summary and references\n\nA mean over rows is invariant under permutations. Here stand "
        "the works that the unit teaches, with the place in each.",
    ),
]

ANSWER = (
    'def row_mean(x):\n    """Mean of the rows of x [N, F], shape [F]."""\n'
    "    ### BEGIN SOLUTION\n    total = x[0]\n    for row in x[1:]:\n        total = total + row\n"
    "    return total / len(x)\n    ### END SOLUTION"
)
LAB = [  # (cell id, kind, text, metadata)
    (
        "title",
        "markdown",
        "# Lab: TITLE\n\nA skeleton of a lab. Fill in each answer, run the cell under it, and read "
        "what the check says. An exercise that you leave open is filled by the library's version, so "
        "that the rest of the lab runs all the same.",
        {},
    ),
    (
        "setup",
        "code",
        "import torch\n\nfrom course_lib.exercises.SLUG import check, unit\n"
        "from course_lib.training import seed_everything\n\nrandom = seed_everything(0)",
        {"tags": ["setup"]},
    ),
    (
        "row-mean-text",
        "markdown",
        "## 1. The mean of the rows (1 point, 3 minutes)\n\nGiven a matrix [N, F], return the mean of "
        "its rows, a vector [F]. Write it with a loop over the rows: add them up, one after the "
        "other, and divide by how many there are. Do not look for the shortest way.",
        {},
    ),
    (
        "row-mean-answer",
        "code",
        ANSWER,
        {"nbgrader": {"grade": False, "grade_id": "row_mean", "locked": False, "solution": True}},
    ),
    (
        "row-mean-check",
        "code",
        'row_mean = check("row_mean", row_mean)',
        {
            "nbgrader": {
                "grade": True,
                "grade_id": "check_row_mean",
                "locked": True,
                "points": 1,
                "solution": False,
            }
        },
    ),
    (
        "use-text",
        "markdown",
        "With it you can see that the order of the rows makes no difference: shuffle them, and the "
        "mean stays, up to the rounding of floating-point sums.",
        {},
    ),
    (
        "use",
        "code",
        "x = torch.randn(5, 3, generator=random)\n"
        "assert torch.allclose(row_mean(x), row_mean(x.flip(0)), atol=1e-6)",
        {},
    ),
    ("last", "code", "unit.summary()", {}),
]


def _fill(text: str, name: str) -> str:
    number, slug = name.split("_", 1)
    title = slug.replace("_", " ").capitalize()
    for mark, value in {"NUMBER": str(int(number)), "NAME": name, "TITLE": title}.items():
        text = text.replace(mark, value)
    return text.replace("SLUG", slug)


def _cell(kind: str, identity: str, text: str, metadata: dict) -> nbformat.NotebookNode:
    make = new_code_cell if kind == "code" else new_markdown_cell
    if "nbgrader" in metadata:
        metadata = {"nbgrader": {**metadata["nbgrader"], "schema_version": 3, "task": False}}
    return make(text, id=identity, metadata=metadata)


def _notebook(cells: list[nbformat.NotebookNode]) -> str:
    made = new_notebook(
        cells=cells, metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    return nbformat.writes(made) + "\n"


def parts(name: str) -> dict[Path, str]:
    """The files of the unit `name`, relative to the root, with their text; `course.toml` apart."""
    slug = name.split("_", 1)[1]
    lecture = [
        _cell(kind, identity, _fill(text, name), {"slideshow": {"slide_type": slide}})
        for identity, slide, kind, text in LECTURE
    ]
    lab = [_cell(kind, identity, _fill(text, name), meta) for identity, kind, text, meta in LAB]
    texts = {
        Path("lectures") / f"{name}.ipynb": _notebook(lecture),
        Path("solutions") / name / f"{name}.ipynb": _notebook(lab),
    }
    for template, place in {
        "hidden_checks.py.txt": Path("solutions") / name / "hidden_checks.py",
        "exercises.py.txt": Path("course_lib/exercises") / f"{slug}.py",
        "test_unit.py.txt": Path("tests/exercises") / f"test_{slug}.py",
    }.items():
        texts[place] = _fill((TEMPLATES / template).read_text(encoding="utf-8"), name)
    return texts


def lay_down(folder: Path, rows: tuple[UnitRow, ...], name: str) -> list[Path]:
    """Write the skeleton of unit `name` into the repository `folder` and add its row to the map.

    Returns the written files, relative to `folder`. Raises ValueError if the name is not of the
    form NN_slug or the number or slug is taken, FileExistsError if a file is in the way; then
    nothing is written.
    """
    if not re.fullmatch(r"\d\d_[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ValueError(
            f"{name!r} is no unit name: two digits and a slug, as 12_normalizing_flows"
        )
    number, slug = name.split("_", 1)
    for row in rows:
        if row.number == int(number) or row.slug == slug:
            raise ValueError(
                f"{name} collides with unit {row.name}: choose another number and slug"
            )
    texts = parts(name)
    if taken := [str(path) for path in texts if (folder / path).exists()]:
        raise FileExistsError(f"already there, and left as it is: {', '.join(taken)}")
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    with (folder / FILE_NAME).open("a", encoding="utf-8") as map_file:
        map_file.write(_fill((TEMPLATES / "unit.toml").read_text(encoding="utf-8"), name))
    return [*texts, Path(FILE_NAME)]
