"""Fixtures for all tests: a home for each, a small course, one headless Chromium."""

import pytest

from tests import sample
from tests.requirements import require

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


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


@pytest.fixture(scope="session")
def chromium():
    """The browser, started once; skipped, or failed where it is promised, without Chromium."""
    path = require("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A window of its own for each test."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    yield context.new_page()
    context.close()
