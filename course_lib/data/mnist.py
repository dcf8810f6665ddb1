"""MNIST: 70,000 handwritten digits of 28 x 28 pixels, in the files of its authors."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.data.array_pickle import MalformedFile
from course_lib.data.fetch import fetch

SIZES = 60_000, 10_000  # digits to train, to test
SIDE = 28
BYTES = 8  # the idx format's name of unsigned bytes, the only kind that is read here
MOST = 2**28  # bytes that a file may claim to hold: a header must not order memory without end


@dataclass(frozen=True)
class MNIST:
    """train_images uint8 [60000, 28, 28] and test_images [10000, 28, 28], 0 paper and 255 ink.

    train_labels, test_labels: int64, the digits 0..9.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def mnist() -> MNIST:
    """The real MNIST, from $COURSE_DATA/mnist, the cache or the network; there is no twin.

    Prints one line that begins with "real:". Raises DataUnavailable where the files cannot be had
    (`data.digits.placed_digits` has 1,797 small digits that need no file), ChecksumError or
    MalformedFile where they are damaged.

    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits, 1998.
    """
    parts = []
    for stem, size in zip(("train", "t10k"), SIZES, strict=True):
        images = read_idx(fetch(f"mnist/{stem}-images-idx3-ubyte.gz"))
        labels = read_idx(fetch(f"mnist/{stem}-labels-idx1-ubyte.gz")).long()
        if images.shape != (size, SIDE, SIDE) or labels.shape != (size,) or labels.max() > 9:
            raise MalformedFile(
                f"the {stem} files of MNIST must hold {size:,} digits of {SIDE} x {SIDE} and as "
                f"many labels 0..9, got {list(images.shape)} and {list(labels.shape)}"
            )
        parts += [images, labels]
    print(f"real: MNIST ({SIZES[0]:,} digits to train, {SIZES[1]:,} to test, {SIDE} x {SIDE})")
    return MNIST(*parts)


def read_idx(path: Path) -> Tensor:
    """An array of unsigned bytes in the idx format, gzipped or not: uint8 of the shape it names.

    The format: two zero bytes, the kind (8: unsigned bytes), the number of axes, each axis's length
    as four bytes (the highest first), then the entries, the last axis running fastest.

    Raises MalformedFile for anything else, for a length that does not fit, and for more than 2^28
    entries.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            start = file.read(4)
            if len(start) < 4 or start[:3] != bytes([0, 0, BYTES]) or not 1 <= start[3] <= 4:
                raise MalformedFile(
                    f"{path} is no idx file of unsigned bytes: it begins with {start.hex(' ')}, "
                    "not with 00 00 08 and 1 to 4 axes"
                )
            header = file.read(4 * start[3])
            if len(header) < 4 * start[3]:
                raise MalformedFile(f"{path} ends within its header")
            shape = [int(length) for length in np.frombuffer(header, ">u4")]
            count = math.prod(shape)
            if count > MOST:
                raise MalformedFile(f"{path} claims {count:,} bytes, more than {MOST:,}")
            body = file.read(count + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MalformedFile(f"{path} is damaged or not gzipped: {error}") from None
    if len(body) != count:
        found = "more" if len(body) > count else f"{len(body):,}"
        raise MalformedFile(f"{path} must hold {shape} bytes, {count:,} in all, got {found}")
    return torch.from_numpy(np.frombuffer(body, np.uint8).reshape(shape).copy())
