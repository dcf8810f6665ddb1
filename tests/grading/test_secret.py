"""The secret file, and the seeds that follow from it."""

from __future__ import annotations

import os
import stat

import pytest

from course_lib.grading import secret
from course_lib.grading.secret import SecretError, load_secret, secret_file, secret_id, seed


def test_the_file_is_made_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "new" / "secret"
    made = load_secret(path)
    assert len(made) == 32 and path.read_bytes() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path) == made
    assert load_secret(tmp_path / "other") != made


def test_a_lax_umask_does_not_make_it_readable(tmp_path):
    before = os.umask(0)
    try:
        load_secret(tmp_path / "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o602])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "secret"
    load_secret(path)
    path.chmod(mode)
    with pytest.raises(SecretError, match="chmod 600"):
        load_secret(path)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_of_another_size_is_refused_and_left_alone(tmp_path, size):
    path = tmp_path / "secret"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(SecretError, match=f"{size} bytes, not 32"):
        load_secret(path)
    assert path.read_bytes() == b"x" * size


def test_a_place_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SecretError, match=r"cannot be made.*COURSE_SECRET_FILE"):
        load_secret(tmp_path / "loop" / "new" / "secret")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SecretError, match="cannot be read"):
        load_secret(tmp_path / "folder")


def test_the_place_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_SECRET_FILE", str(tmp_path / "mine"))
    assert secret_file() == tmp_path / "mine"
    assert load_secret() == (tmp_path / "mine").read_bytes()
    monkeypatch.delenv("COURSE_SECRET_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert secret_file() == tmp_path / ".config" / "course" / "grading-secret"


def test_its_name_does_not_tell_it():
    one, other = secret_id(b"a" * 32), secret_id(b"b" * 32)
    assert one != other and len(one) == 12
    assert secret_id(b"a" * 32) == one
    assert bytes.fromhex(one) not in b"a" * 32


def test_seeds_are_repeatable_and_differ_in_every_part():
    parts = ["digest", "05_graph_networks/gin_aggregate/check/0"]
    first = seed(b"k" * 32, *parts)
    assert seed(b"k" * 32, *parts) == first
    others = {
        seed(b"l" * 32, *parts),
        seed(b"k" * 32, "digesu", parts[1]),
        seed(b"k" * 32, parts[0], parts[1] + "0"),
        seed(b"k" * 32, *reversed(parts)),
        seed(b"k" * 32, "".join(parts)),
        seed(b"k" * 32, *parts, ""),
        seed(b"k" * 32, 1, "1"),
    }
    assert first not in others and len(others) == 7
    assert seed(b"k" * 32, 1) == seed(b"k" * 32, "1")


def test_seeds_fill_63_bits():
    found = [seed(b"k" * 32, n) for n in range(4000)]
    assert len(set(found)) == 4000
    assert all(0 <= s < 2**63 for s in found)
    for bit in range(63):
        assert 1700 < sum(s >> bit & 1 for s in found) < 2300


def test_seeds_are_those_of_earlier_gradings():
    """Were this to change, a grading could not be repeated: then every checks hash has to change as well."""
    assert seed(b"k" * 32, "a", "b", 3) == 2530177760056402626
    assert secret.SIZE == 32
