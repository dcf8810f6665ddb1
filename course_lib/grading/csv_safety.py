"""CSV files between people and programs: cells that no spreadsheet takes for a formula, and files written whole."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

# What a spreadsheet may take for a formula: one of = + - @, narrow or wide, at the start or after blanks that it trims;
# or a tab or line end there, behind which one may hide.
_FORMULA = r"\s*[=+\-@＝＋－＠\t\r\n]"
_DANGEROUS = re.compile(f"'*{_FORMULA}")
_QUOTED = re.compile(f"'+{_FORMULA}")


class CsvError(ValueError):
    """A CSV file cannot be read; the message names the file, the line, and what to do."""


def csv_cell(value: object) -> str:
    """`value` as the text of a cell. Text that a spreadsheet would run gets a leading apostrophe; numbers do not.

    None becomes the empty cell; a float that is whole is written without a decimal point. `plain_cell` is the inverse.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    if isinstance(value, int):
        return str(value)
    text = str(value)
    return f"'{text}" if _DANGEROUS.match(text) else text


def plain_cell(text: str) -> str:
    """The text that `csv_cell` was given: without the apostrophe that it put in front of a formula."""
    return text[1:] if _QUOTED.match(text) else text


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in UTF-8, every cell through `csv_cell`; the folder is made where it is missing.

    The file appears whole or not at all: an older one of that name stays until the new one is complete.
    Raises OSError if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".csv")
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            writer = csv.writer(stream)
            for row in (header, *rows):
                writer.writerow([csv_cell(value) for value in row])
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_rows(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file, each with its line number: [(line, {column: text})], cells stripped and plain.

    Commas, semicolons or tabs may part the cells. Empty lines and further columns are passed over; an optional column
    that is not there is "". Raises CsvError if the file cannot be read, lacks a column, has one twice, or a row has
    more or fewer cells than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CsvError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CsvError(f'{path} is not in UTF-8: save it again as "CSV UTF-8"') from error
    first = next(filter(str.strip, io.StringIO(text)), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        lines = [
            (reader.line_num, [plain_cell(c.strip()).strip() for c in cells]) for cells in reader
        ]
    except csv.Error as error:
        raise CsvError(f"{path}, line {reader.line_num}: {error}: put its quotes right") from error
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise CsvError(f"{path} is empty: its first line must be {','.join(columns)}")
    return _named(path, lines, columns, optional)


def _named(
    path: Path, lines: list[tuple[int, list[str]]], columns: Sequence[str], optional: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """The lines after the first as dicts of the wanted columns."""
    header = [name.lower() for name in lines[0][1]]
    if missing := [name for name in columns if name not in header]:
        wanted = ",".join(columns)
        raise CsvError(f"{path} has no column {missing[0]!r}: its first line must name {wanted}")
    wanted = [*columns, *optional]
    if twice := [name for name in wanted if header.count(name) > 1]:
        raise CsvError(f"{path} has two columns {twice[0]!r}: remove one")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise CsvError(
                f"{path}, line {number}: {len(cells)} cells, but the first line names {len(header)}: "
                "a cell that holds a comma needs double quotes around it"
            )
    absent = dict.fromkeys(optional, "")
    return [
        (number, {**absent, **{k: v for k, v in zip(header, cells) if k in wanted}})
        for number, cells in lines[1:]
    ]
