"""Files that are no notebooks, each with what is said of it, and strategies for notebooks made at random."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.grading.small_lab import MINE, NAMES, STUB

UNREADABLE = {
    "the file is empty": [b"", b" \n\t"],
    "not text in UTF-8": [b"\xff\xfe{\x00}\x00", b'{"cells": ["\xff"]}'],
    "it is not JSON": [
        b"{",
        b"<html>",
        b'{"cells": []} x',
        b"\x00" * 100,
        b"[" + b"9" * 9000 + b"]",
    ],
    "nested too deeply": [b"[" * 200_000, b'{"a":' * 200_000],
    "without cells": [b"[]", b"3", b'"text"', b"null", b"{}", b'{"cells": {}}', b'{"nbformat": 4}'],
    "holds NaN": [b'{"cells": [], "metadata": {"x": NaN}}'],
    "holds -Infinity": [b'{"cells": [-Infinity]}'],
    "format is 3, not 4": [b'{"nbformat": 3, "worksheets": [{"cells": []}]}'],
    "format is unknown, not 4": [
        b'{"nbformat": "4\\u001b[31m"}',
        b'{"nbformat": null, "cells": []}',
    ],
    "20001 cells": [b'{"cells": [' + b"3," * 20_000 + b"3]}"],
}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
TEXTS = st.sampled_from(
    [
        MINE,
        STUB,
        "first = check('first', first)",
        "%%bash",
        "x = (",
        "from torch import *",
        "%x",
        "h?",
    ]
)
SOURCES = JSON | st.text(max_size=30) | TEXTS | st.lists(TEXTS, max_size=3).map("\n".join)
IDS = st.sampled_from([*NAMES, "why", "check_first", ""])
CELLS = st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw"]) | JSON,
        "id": JSON,
        "metadata": JSON | st.builds(lambda i: {"nbgrader": {"grade_id": i}}, IDS | JSON),
        "source": SOURCES,
    },
)
