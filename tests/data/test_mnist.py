"""The idx format read byte by byte, and files that are not what they claim."""

from __future__ import annotations

import gzip
import struct
from importlib import import_module

import pytest
import torch

from course_lib.data import DataUnavailable, MalformedFile, mnist
from course_lib.data.mnist import read_idx

module = import_module("course_lib.data.mnist")  # the name is also that of its function


def idx(shape, body, kind=8):
    """The bytes of an idx file."""
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(body)


@pytest.mark.parametrize("name", ["a-ubyte", "a-ubyte.gz"])
def test_an_array_by_hand(tmp_path, name):
    raw = idx((2, 2, 3), range(12))
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    found = read_idx(tmp_path / name)
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.arange(12, dtype=torch.uint8).view(2, 2, 3))
    found[0, 0, 0] = 7  # its own memory


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no idx file"),
        (b"<html>", "no idx file"),
        (idx((3,), b"abc", kind=13), "unsigned bytes"),
        (idx((), b""), "1 to 4 axes"),
        (idx((1,) * 5, b"a"), "1 to 4 axes"),
        (idx((2, 2), b"")[:-1], "ends within its header"),
        (idx((2, 2), b"abc"), r"\[2, 2\] bytes, 4 in all, got 3"),
        (idx((2, 2), b"abcde"), "got more"),
        (idx((2**16, 2**16), b"abc"), "claims 4,294,967,296 bytes"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_malformed_files_are_named(tmp_path, raw, message, packed):
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(MalformedFile, match=message):
        read_idx(path)


@pytest.mark.parametrize("damage", ["not gzipped", "cut off", "turned over"])
def test_damaged_gzip_is_named(tmp_path, damage):
    raw = idx((2000,), bytes(i * i % 251 for i in range(2000)))
    packed = bytearray(gzip.compress(raw))
    packed[-20] ^= 255 if damage == "turned over" else 0
    path = tmp_path / "a.gz"
    path.write_bytes(
        {"not gzipped": raw, "cut off": bytes(packed[:-30])}.get(damage, bytes(packed))
    )
    with pytest.raises(MalformedFile, match="damaged or not gzipped"):
        read_idx(path)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror of 30 and 20 digits of 28 x 28, its checksums not asked for."""
    monkeypatch.setattr(module, "SIZES", (30, 20))
    monkeypatch.setattr(module, "fetch", lambda name: tmp_path / name)
    (tmp_path / "mnist").mkdir()
    for stem, size in (("train", 30), ("t10k", 20)):
        images = torch.randint(256, (size, 28, 28), dtype=torch.uint8)
        labels = torch.arange(size) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            raw = idx(values.shape, values.flatten().tolist())
            (tmp_path / f"mnist/{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw))
    return tmp_path / "mnist"


def test_images_and_labels_of_a_mirror(mirror, capsys):
    digits = mnist()
    assert capsys.readouterr().out.startswith("real: MNIST (30 digits")
    assert digits.train_images.shape == (30, 28, 28) and digits.test_images.dtype == torch.uint8
    assert torch.equal(digits.test_labels, torch.arange(20) % 10)


def test_another_number_of_digits_or_a_wrong_label_is_named(mirror):
    path = mirror / "t10k-labels-idx1-ubyte.gz"
    for raw in (idx((19,), [1] * 19), idx((20,), [10] * 20)):
        path.write_bytes(gzip.compress(raw))
        with pytest.raises(MalformedFile, match="t10k files of MNIST must hold 20 digits"):
            mnist()


def test_without_files_it_says_what_to_do(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise OSError("no network in this test")

    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", refuse)
    with pytest.raises(DataUnavailable, match="COURSE_DATA"):
        mnist()
