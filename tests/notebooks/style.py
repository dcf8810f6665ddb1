"""The house's rules for notebooks, as functions from a notebook to the list of its faults."""

import copy
import re
import statistics
from pathlib import Path

import nbstripout
from nbformat import NotebookNode

MEDIAN_LINES, MOST_LINES, WORDS_PER_LINE = 8, 30, 4
TRANSIENT = [  # what the command nbstripout takes away besides outputs
    "metadata.signature",
    "metadata.widgets",
    *(f"cell.metadata.{key}" for key in ("collapsed", "ExecuteTime", "execution", "scrolled")),
    *(f"cell.metadata.{key}" for key in ("heading_collapsed", "hidden")),
]
SLIDES = {"slide", "subslide", "fragment", "skip", "notes", "-"}
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|src=[\"']([^\"']+)[\"']")


def lines_of(cell: NotebookNode) -> int:
    """The lines of a cell that are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def format_faults(notebook: NotebookNode) -> list[str]:
    """Format 4.5, and one id a cell."""
    found = []
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        found.append(f"the format is {notebook.nbformat}.{notebook.nbformat_minor}, not 4.5")
    ids = [cell.get("id") for cell in notebook.cells]
    return found + [
        f"cell id {i!r} stands {ids.count(i)} times" for i in {*ids} if ids.count(i) > 1
    ]


def output_faults(notebook: NotebookNode) -> list[str]:
    """What `nbstripout --keep-id` would take away."""
    found = [
        f"cell {cell.id} has outputs or a count"
        for cell in notebook.cells
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None)
    ]
    stripped = nbstripout.strip_output(
        copy.deepcopy(notebook),
        keep_output=False,
        keep_count=False,
        keep_id=True,
        extra_keys=TRANSIENT,
    )
    if not found and stripped != notebook:
        found.append("nbstripout --keep-id would change its metadata")
    return found


def slide_faults(notebook: NotebookNode) -> list[str]:
    """Every cell of a lecture says which kind of slide it is."""
    kinds = {c.id: c.metadata.get("slideshow", {}).get("slide_type") for c in notebook.cells}
    return [f"cell {i} has slide type {kind!r}" for i, kind in kinds.items() if kind not in SLIDES]


def size_faults(notebook: NotebookNode) -> list[str]:
    """Short cells, and more prose than code."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    found = [f"cell {c.id} has {lines_of(c)} lines" for c in code if lines_of(c) > MOST_LINES]
    median = statistics.median(map(lines_of, code)) if code else 0
    if median > MEDIAN_LINES:
        found.append(f"the median code cell has {median:g} lines, more than {MEDIAN_LINES}")
    words = sum(len(c.source.split()) for c in notebook.cells if c.cell_type == "markdown")
    lines = sum(map(lines_of, code))
    if words < WORDS_PER_LINE * lines:
        found.append(f"{words} words for {lines} lines of code: {WORDS_PER_LINE} a line are wanted")
    return found


def link_faults(notebook: NotebookNode, place: Path, folder: Path) -> list[str]:
    """Relative links that lead nowhere, or out of what `course lab` copies.

    `place` is where students meet the notebook, relative to the repository `folder`.
    """
    found = []
    for cell in notebook.cells:
        for groups in LINK.findall(cell.source) if cell.cell_type == "markdown" else []:
            link = next(filter(None, groups)).split("#")[0]
            if not link or re.match(r"[a-z]+:", link):
                continue
            target = (folder / place.parent / link).resolve()
            copied = any(target.is_relative_to(folder / top) for top in ("lectures", "labs"))
            if not (target.exists() and copied):
                found.append(f"cell {cell.id} links to {link}: not among lectures and labs")
    return found
