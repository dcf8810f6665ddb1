"""The frame of the instructor's pages: one HTML file with nothing outside it and no script, every string escaped."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from course_lib.grading.places import shown, write_whole


def line(text: object, length: int = 300) -> str:
    """A foreign string as HTML: on one line, cut, nothing invisible, escaped."""
    return html.escape(shown(" ".join(str(text).split()), length))


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Sequence[int] = (),
    style: str = "",
) -> str:
    """A table with headers for rows and columns. The cells are HTML already; `numbers` are columns set to the right."""
    right = [' class="number"' if i in numbers else "" for i in range(len(header))]
    head = "".join(f'<th scope="col"{r}>{line(name)}</th>' for name, r in zip(header, right))
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td{r}>{cell}</td>" for cell, r in zip(rest, right[1:]))
        body += f'<tr><th scope="row"{right[0]}>{first}</th>{cells}</tr>'
    return (
        f'<div class="card"><table class="{style}"><caption>{line(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def write_page(path: Path, title: str, body: str) -> None:
    """Write a page whose `body` is HTML; `path` holds all of it or what it held before. Raises OSError."""
    css = (Path(__file__).parent / "templates" / "instructor.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{line(title)}</title><style>{css}</style></head>\n"
        f"<body><main><h1>{line(title)}</h1>{body}</main></body></html>\n"
    )
    write_whole(path, text.encode("utf-8", "replace"))
