"""Pickles of arrays: read exactly, whoever wrote them; everything else refused before it runs."""

import os
import pickle
import struct
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from course_lib.data import MalformedFile, UnsafePickle
from course_lib.data.array_pickle import read_array_pickle

MATRIX = csr_matrix(np.array([[0.0, 1.5, 0.0], [2.0, 0.0, -1.0]]))


def write(tmp_path, value, protocol: int = 3):
    path = tmp_path / "file"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">f4"),
        np.array([True, False]),
        np.empty((0, 5)),
    ],
)
def test_arrays_are_read_exactly(tmp_path, value, protocol):
    found = read_array_pickle(write(tmp_path, value, protocol))
    np.testing.assert_array_equal(found, value)
    assert found.dtype == value.dtype.newbyteorder("=")


def test_sparse_matrices_are_read_exactly(tmp_path):
    matrix = csr_matrix(random_array((40, 30), density=0.1, rng=np.random.default_rng(0)))
    found = read_array_pickle(write(tmp_path, matrix))
    assert found.shape == (40, 30)
    assert (found != matrix).nnz == 0


def test_containers_are_read(tmp_path):
    graph = defaultdict(list, {0: [1, 2], 1: [0], 2: [0]})
    assert read_array_pickle(write(tmp_path, graph)) == graph
    assert read_array_pickle(write(tmp_path, dict(graph))) == dict(graph)


def test_what_python_2_wrote_as_text_is_read_as_bytes(tmp_path):
    numbers = struct.pack("<4d", 1.0, -2.0, 0.5, 1e300)
    content = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x02\x86cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x20" + numbers + b"tb."
    )
    found = read_array_pickle(write(tmp_path, content))
    assert found.tolist() == [[1.0, -2.0], [0.5, 1e300]]


class Command:
    """Pickles to a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        lambda trap: Command(os.system, f"touch {trap}"),
        lambda trap: [np.zeros(2), Command(os.mkdir, str(trap))],
        lambda trap: {0: Command(eval, f"open({str(trap)!r}, 'w')")},
        lambda trap: Command(getattr, "text", "upper"),
        lambda trap: Command(np.memmap, str(trap), "uint8", "w+", 0, (1,)),
        lambda trap: Command(np.fromfile, str(trap)),
        lambda trap: torch.zeros(2),
        lambda trap: MATRIX.tocoo(),
    ],
)
def test_a_pickle_that_asks_for_more_is_refused_and_not_run(tmp_path, attack):
    trap = tmp_path / "trap"
    path = write(tmp_path, attack(trap))
    with pytest.raises(UnsafePickle, match=r"was not read: it asks for .*, which no array needs"):
        read_array_pickle(path)
    assert not trap.exists()
    assert path.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}], dtype=object),
        np.array(["a"]),
        np.zeros(1, dtype=[("a", "f8")]),
        np.zeros(1, dtype=complex),
        "text",
        7,
        None,
        np.ndarray,
    ],
)
def test_other_values_are_refused(tmp_path, value):
    with pytest.raises(MalformedFile):
        read_array_pickle(write(tmp_path, value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("indices", np.array([1, 0, 3], dtype=np.int32)),
        ("indices", np.array([1, 0, -1], dtype=np.int32)),
        ("indices", np.array([1.0, 0.0, 2.0])),
        ("indices", np.array([1, 0], dtype=np.int32)),
        ("indptr", np.array([0, 1], dtype=np.int32)),
        ("indptr", np.array([0, 4, 3], dtype=np.int32)),
        ("indptr", np.array([1, 1, 3], dtype=np.int32)),
        ("data", np.ones(4)),
        ("data", np.ones((3, 1))),
        ("_shape", (5, 3)),
        ("_shape", (2.0, 3)),
    ],
)
def test_a_sparse_matrix_that_contradicts_itself_is_refused(tmp_path, field, value):
    matrix = MATRIX.copy()
    matrix.__dict__[field] = value
    with pytest.raises(MalformedFile, match="do not fit its shape"):
        read_array_pickle(write(tmp_path, matrix))


def test_an_array_shorter_than_its_shape_is_refused(tmp_path):
    content = pickle.dumps(np.arange(4, dtype=np.int64), protocol=3)
    shape = pickle.dumps((4,), protocol=3)[2:4]  # K\x04
    assert content.count(shape + b"\x85") == 1
    with pytest.raises(MalformedFile, match="holds 32 bytes"):
        read_array_pickle(write(tmp_path, content.replace(shape + b"\x85", b"K\x05\x85")))


def test_a_number_of_an_object_that_would_fill_the_memory_is_refused(tmp_path):
    content = b"\x80\x02]r" + struct.pack("<I", 2**31) + b"."
    with pytest.raises(MalformedFile, match="it numbers an object 2147483648"):
        read_array_pickle(write(tmp_path, content))


def test_the_classes_that_stand_in_cannot_be_changed_from_a_pickle(tmp_path):
    # BUILD on the class itself, with attributes to set: what `setattr` on it would do.
    content = b"\x80\x02cnumpy\nndarray\nN}X\x05\x00\x00\x00valueK\x01s\x86b."
    with pytest.raises(MalformedFile):
        read_array_pickle(write(tmp_path, content))
    assert read_array_pickle(write(tmp_path, np.arange(3))).tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [MATRIX, np.arange(5), {0: [1], 1: [0]}])
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path, value):
    content = pickle.dumps(value, protocol=3)
    for length in range(len(content)):
        with pytest.raises(MalformedFile, match="is truncated or damaged"):
            read_array_pickle(write(tmp_path, content[:length]))


CONTENT = pickle.dumps([MATRIX, {0: [1]}], protocol=3)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_refused_but_nothing_else(tmp_path_factory, place, damage):
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(CONTENT[:place] + damage + CONTENT[place + len(damage) :])
    try:
        found = read_array_pickle(path)
    except MalformedFile:
        return
    assert isinstance(found, list | dict | np.ndarray | csr_matrix)
