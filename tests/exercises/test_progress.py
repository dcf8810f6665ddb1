"""Progress: atomic, forgiving, never losing what was there."""

from __future__ import annotations

import pytest

from course_lib.exercises import progress


def test_the_best_score_is_kept_and_attempts_are_counted():
    assert progress.record("u", "e", "failed", 0, 2) == 1
    assert progress.record("u", "e", "passed", 2, 2) == 2
    assert progress.record("u", "e", "failed", 0, 2) == 3
    entry = progress.load()["u"]["e"]
    assert (entry["status"], entry["earned"], entry["attempts"]) == ("passed", 2, 3)


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"u": 3}', "\udcff"])
def test_a_corrupted_file_is_set_aside_and_said(content, capsys):
    path = progress.progress_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert progress.load() == {}
    (kept,) = path.parent.glob("progress.unreadable-*.json")
    assert kept.read_bytes() == content.encode("utf-8", "surrogateescape")
    assert str(kept) in capsys.readouterr().out
    progress.record("u", "e", "passed", 1, 1)
    assert progress.load()["u"]["e"]["earned"] == 1


def test_a_place_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "file" / "below"))
    progress.record("u", "e", "passed", 1, 1)
    assert "COURSE_HOME" in capsys.readouterr().out


def test_a_crash_while_writing_leaves_the_old_file(monkeypatch):
    progress.record("u", "e", "passed", 1, 1)
    before = progress.progress_file().read_bytes()

    def crash(*args):
        raise OSError("disk full")

    monkeypatch.setattr(progress.os, "replace", crash)
    progress.record("u", "f", "passed", 1, 1)
    assert progress.progress_file().read_bytes() == before
    assert list(progress.progress_file().parent.iterdir()) == [progress.progress_file()]
