"""Grading without a sandbox, for machines that have none (macOS): a plain process, forked for each case.

The student's code can then do whatever the instructor can. Results carry the label "unsandboxed", and `course grade`
refuses unless `--unsandboxed` is given.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from course_lib.grading import allowed
from course_lib.grading.policy import UNSANDBOXED
from course_lib.grading.sandbox import HERE, Sandbox


class PlainSandbox(Sandbox):
    """The interface of `Sandbox` without bubblewrap, namespaces and limits on the whole tree."""

    kind = UNSANDBOXED

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.groups = False

    @staticmethod
    def lacking() -> str | None:
        """What this machine lacks; None if it has everything."""
        return None if hasattr(os, "fork") else "grading needs fork: on Windows, grade inside WSL"

    def _command(self, descriptor: int) -> list[str]:
        site = self.folder / "site"
        allowed.write_course(site, self.slugs, self.modules)
        for place, name in allowed.package_places(self.packages):
            (site / name).symlink_to(place)
        modules = allowed.module_names(self.slugs, self.modules)
        limits = {"plain": True, "site": str(site), "modules": modules}
        program = HERE / "zygote.py"
        return [sys.executable, "-I", "-S", "-B", str(program), str(descriptor), json.dumps(limits)]

    def memory_exceeded(self, kills: int) -> bool:
        """Never: nothing is measured without a sandbox."""
        return False
