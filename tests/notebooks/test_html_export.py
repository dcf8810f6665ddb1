"""The text alternative of a figure, live or not, reaches the HTML export."""

from __future__ import annotations

import re

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

CODE = """
from course_lib import plots, widgets

with plots.figure("Line", alt="A rising <line>.") as ax:
    ax.plot([1, 2])
widgets.explore(lambda ax, n: ax.plot(range(n)), "Live", alt="A live line.", n=widgets.slider(2, 5))
"""


def test_every_image_of_an_export_has_its_alternative(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    notebook.metadata.pop("widgets", None)  # an export without a kernel shows the plain picture
    html, _ = HTMLExporter().from_notebook_node(notebook)
    images = re.findall(r"<img[^>]*>", html)
    alternatives = [m.group(1) for i in images if (m := re.search(r'alt="([^"]*)"', i, re.S))]
    assert len(images) == len(alternatives) == 2
    assert alternatives == ["A rising &lt;line&gt;.", "A live line."]
