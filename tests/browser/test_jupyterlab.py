"""A real browser on a real JupyterLab: a lab runs unsolved, a slider changes its picture."""

import json
import shutil
import uuid

import pytest

from course_lib.course_map import load_map, root
from tests.server import TOKEN, serving

pytestmark = pytest.mark.browser
WAIT = 60_000  # milliseconds, for one step in the page
# What cells raised, as text; JupyterLab marks stderr and exceptions alike.
RAISED = """[...document.querySelectorAll('[data-mime-type="application/vnd.jupyter.stderr"]')]
  .map(output => output.innerText).filter(text => /Traceback|SyntaxError/.test(text))"""
RUN = 180_000  # milliseconds, for a whole notebook on a busy machine

# The pixels of every image in one cell's output, as text. An image that is not loaded yet gives "".
PIXELS = """cell => [...cell.querySelectorAll('.jp-OutputArea img')].map(image => {
  if (!image.complete || !image.naturalWidth) return '';
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext('2d').drawImage(image, 0, 0);
  return canvas.toDataURL();
}).join(' ')"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The course, served from a copy of the repository: its address, its first unit, its folder."""
    folder = tmp_path_factory.mktemp("browser") / "course"
    for top in ("course_lib", "lectures", "labs"):
        without = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(root() / top, folder / top, ignore=without)
    shutil.copy(root() / "course.toml", folder)
    with serving(folder, folder.parent / "log.txt") as address:
        yield address, load_map(folder)[0], folder


def open_and_run(page, address, path):
    """Open a notebook in JupyterLab, run all its cells, wait until the last has run."""
    own = uuid.uuid4().hex  # a workspace of its own: no notebook of an earlier test is opened again
    place = f"{address}/lab/workspaces/{own}/tree/{path}?token={TOKEN}"
    page.goto(place, wait_until="domcontentloaded")
    notebook = page.locator(".jp-NotebookPanel")
    notebook.locator(".jp-Cell").first.wait_for(timeout=WAIT)
    idle = page.locator("#jp-main-statusbar").get_by_text("Python 3 (ipykernel) | Idle")
    idle.wait_for(timeout=WAIT)  # run before that, and JupyterLab asks for a kernel
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        rf"""() => {{
          const cells = [...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell')]
            .filter(cell => cell.querySelector('.cm-content').innerText.trim());
          return {RAISED}.length || (cells.length && cells.every(
            cell => /\[\d+\]/.test(cell.querySelector('.jp-InputArea-prompt').innerText)));
        }}""",
        timeout=RUN,
    )
    assert page.evaluate(f"() => {RAISED}") == []  # JupyterLab stops at the first
    return notebook


def exercises_of(path):
    """The names of a lab's exercises, by its check cells."""
    cells = json.loads(path.read_text())["cells"]
    ids = [cell["metadata"].get("nbgrader", {}).get("grade_id", "") for cell in cells]
    return [i.removeprefix("check_") for i in ids if i.startswith("check_")]


def test_an_unsolved_lab_runs_and_says_so(page, served):
    address, row, folder = served
    notebook = open_and_run(page, address, row.lab.as_posix())
    output = "\n".join(notebook.locator(".jp-OutputArea").all_inner_texts())
    names = exercises_of(folder / row.lab)
    assert names
    for name in names:
        assert f"{name}: not attempted yet" in output


def test_a_slider_changes_the_picture(page, served):
    address, row, _ = served
    notebook = open_and_run(page, address, row.lecture.as_posix())
    cell = notebook.locator(".jp-CodeCell:has(.noUi-handle):has(.jp-OutputArea img)").first
    cell.wait_for(timeout=WAIT)
    element = cell.element_handle()
    page.wait_for_function(f"cell => ({PIXELS})(cell).length > 100", arg=element, timeout=WAIT)
    before = element.evaluate(PIXELS)
    handle = cell.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    handle.focus()
    handle.press("Home" if at_end else "End")
    page.wait_for_function(
        f"""([cell, before]) => {{
          const now = ({PIXELS})(cell);
          return now.length > 100 && now !== before;
        }}""",
        arg=[element, before],
        timeout=WAIT,
    )
