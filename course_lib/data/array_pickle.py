"""Pickles of arrays, read without trusting them.

A pickle may call any function it names while it is read. The unpickler here knows five names:
arrays, their dtypes, CSR matrices, lists and defaultdicts. The first three become the small classes
below, so that nothing of numpy or scipy is called before shapes, types and lengths are checked.
Every other name is refused. Arrays of objects, records and strings are not read.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix


class MalformedFile(ValueError):
    """A data file is truncated, or not what it should be, or does not fit the files beside it."""


class UnsafePickle(MalformedFile):
    """A pickle asks for something other than arrays and containers. It was not run."""


class _Dtype:
    """Stands in for numpy.dtype: the letter and size of a number, then its byte order."""

    order = "|"

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch("b1|[iu][1248]|f[248]", code):
            raise MalformedFile(f"arrays of type {code!r} are not read")
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise MalformedFile(f"unknown byte order {order!r}")
        self.order = order


class _Array:
    """Stands in for numpy.ndarray and for the function that begins to rebuild one."""

    value: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, by_columns, data = state
        if not isinstance(dtype, _Dtype) or not all(type(n) is int and n >= 0 for n in shape):
            raise MalformedFile("an array lacks its type or its shape")
        # Python 2 wrote bytes as text, which latin-1 turns back byte by byte.
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        numbers = np.dtype(dtype.order + dtype.code)
        if len(raw) != math.prod(shape) * numbers.itemsize:
            raise MalformedFile(f"an array of shape {shape} holds {len(raw)} bytes")
        flat = np.frombuffer(raw, dtype=numbers).astype(numbers.newbyteorder("="))
        self.value = flat.reshape(shape, order="F" if by_columns else "C")


class _CSR:
    """Stands in for scipy's csr_matrix."""

    def __init__(self, *_: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: dict) -> None:
        self.state = dict(state)

    def matrix(self) -> csr_matrix:
        """The matrix, once its three arrays are known to fit its shape."""
        data, indices, indptr = (_plain(self.state[k]) for k in ("data", "indices", "indptr"))
        rows, columns = self.state["_shape"]
        fits = (
            data.ndim == indices.ndim == indptr.ndim == 1
            and indices.dtype.kind == indptr.dtype.kind == "i"
            and type(rows) is type(columns) is int
            and indptr.size == rows + 1
            and data.size == indices.size == indptr[-1]
            and indptr[0] == 0
            and bool((np.diff(indptr) >= 0).all())
            and (not indices.size or 0 <= indices.min() <= indices.max() < columns)
        )
        if not fits:
            raise MalformedFile("the arrays of a sparse matrix do not fit its shape")
        return csr_matrix((data, indices, indptr), shape=(rows, columns))


NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("scipy.sparse.csr", "csr_matrix"): _CSR,
    ("scipy.sparse._csr", "csr_matrix"): _CSR,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("collections", "defaultdict"): defaultdict,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in NAMES:
            raise UnsafePickle(f"it asks for {module}.{name}, which no array needs")
        return NAMES[module, name]


def read_array_pickle(path: Path) -> Any:
    """The array, CSR matrix, list or dict that the pickle at `path` holds, of Python 2 or 3.

    Raises:
        UnsafePickle: it names anything else. Nothing of it was called.
        MalformedFile: it is truncated, no pickle, or its arrays contradict themselves.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        _check_memo(content)
        return _plain(_ArrayUnpickler(BytesIO(content), encoding="latin1").load())
    except UnsafePickle as error:
        raise UnsafePickle(
            f"{path} was not read: {error}. Delete it, unless you wrote it"
        ) from None
    except Exception as error:  # a damaged pickle may fail in any way, and each means the same
        reason = str(error) or type(error).__name__
        raise MalformedFile(
            f"{path} ({len(content):,} bytes) is truncated or damaged: {reason}. Fetch it again"
        ) from error


def _check_memo(content: bytes) -> None:
    """Refuse place numbers beyond the file's length: a list of that many would fill the memory."""
    for opcode, place, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and place > len(content):
            raise MalformedFile(f"it numbers an object {place}")


def _plain(value: Any) -> Any:
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, _CSR):
        return value.matrix()
    if isinstance(value, list | dict):
        return value
    raise MalformedFile(f"it holds no array, matrix, list or dict ({type(value).__name__})")
