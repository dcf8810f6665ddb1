"""Grading without a sandbox, for machines that have none (macOS): a plain process, forked for each case.

The student's code can then do whatever the instructor can; where root grades, it is given a uid of its own, if
that uid can reach the interpreter. Results carry the label "unsandboxed", and `course grade`
refuses unless `--unsandboxed` is given.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from course_lib.grading import allowed
from course_lib.grading.policy import UNSANDBOXED
from course_lib.grading.sandbox import FIRST_UID, HERE, PROGRAMS, Sandbox


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

    @staticmethod
    def drops() -> bool:
        """Whether root can have another uid run the interpreter and the packages: nobody's folder is in their way."""
        if os.geteuid() != 0 or shutil.which("setpriv") is None:
            return False
        places = [Path(sys.executable).resolve(), *(place for place, _ in allowed.package_places())]
        return all(p.stat().st_mode & 0o005 for place in places for p in (place, *place.parents))

    def _command(self, descriptor: int) -> list[str]:
        site, programs = self.folder / "site", self.folder / "programs"
        allowed.write_course(site, self.slugs, self.modules)
        for place, name in allowed.package_places(self.packages):
            (site / name).symlink_to(place)
        programs.mkdir()
        for name in PROGRAMS:
            shutil.copyfile(HERE / name, programs / name)
        modules = allowed.module_names(self.slugs, self.modules)
        limits = {"plain": True, "site": str(site), "modules": modules}
        drop: list[str] = []
        if self.drops():
            uid = str(FIRST_UID + self.slot)
            drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
            drop += ["--inh-caps=-all", "--no-new-privs"]
        words = [str(Path(sys.executable).resolve()), "-S", "-s", "-P", "-B"]
        return [*drop, *words, str(programs / "zygote.py"), str(descriptor), json.dumps(limits)]

    def memory_exceeded(self, kills: int) -> bool:
        """Never: nothing is measured without a sandbox."""
        return False
