"""Fixtures for all tests: a home for each, and a small course."""

import pytest

from tests import sample


@pytest.fixture(autouse=True)
def course_home(tmp_path_factory, monkeypatch):
    """A fresh $COURSE_HOME for each test, so that no test sees another's progress, or yours."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("COURSE_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def sample_course(tmp_path_factory):
    """A small course of one unit, built once; read it, copy it, do not change it."""
    return sample.build(tmp_path_factory.mktemp("sample") / "course")
