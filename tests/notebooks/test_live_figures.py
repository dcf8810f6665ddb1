"""Every slider of every lecture, at both ends: the figure must change."""

from __future__ import annotations

import nbformat
import pytest

from course_lib import plots, widgets
from course_lib.course_map import load_map, root


@pytest.mark.parametrize("row", load_map(), ids=lambda row: row.name)
def test_every_control_changes_its_figure(row, monkeypatch):
    explorers = []

    class Recorded(widgets.Explorer):
        def __init__(self, *args):
            super().__init__(*args)
            explorers.append(self)

    monkeypatch.setattr(widgets, "Explorer", Recorded)
    monkeypatch.setattr(widgets, "display", lambda *args, **kwargs: None)
    monkeypatch.setattr(plots, "display", lambda *args, **kwargs: None)
    lecture = nbformat.read(root() / row.lecture, as_version=4)
    namespace: dict = {}
    for cell in lecture.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{row.name}:{cell.id}", "exec"), namespace)
    assert explorers, "a lecture shows at least one live figure"
    for explorer in explorers:
        for name, control in explorer.controls.items():
            pictures = set()
            for value in getattr(control, "options", None) or (control.min, control.max):
                control.value = value
                pictures.add(explorer.image.value)
            assert len(pictures) > 1, f"{name} changes nothing"
