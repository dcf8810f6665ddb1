"""The page that a student reads: one HTML file with nothing outside it and no script.

Every foreign string is cut, freed of invisible characters and escaped. A result is told by a sign and by words; colour
only repeats them.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from course_lib.grading import result as results
from course_lib.grading.places import shown

LONGEST = 600  # characters of one line of feedback
LINES = 50  # of feedback to one exercise, and of notes
AGAIN = "If the deadline allows it, submit the repaired notebook again."
# States that ask nothing of the student.
OURS = {results.PASSED, "marked", results.NEEDS_MANUAL, results.GRADER_ERROR}

# What a row says (sign, style, words) and what it means and asks for.
STATES = {
    results.PASSED: ("✓", "good", "Passed", ""),
    "marked": ("✓", "good", "Marked", ""),
    results.FAILED: (
        "✗",
        "bad-badge",
        "Not right yet",
        "Some check did not get what it expected, perhaps a hidden one on inputs that the lab does not show. Read the "
        "feedback, try small and unusual inputs by hand, and run the check in the lab.",
    ),
    results.NOT_ATTEMPTED: (
        "–",
        "none",
        "Not attempted",
        "The answer still raises NotImplementedError. Put your own code in its place, and take that line out.",
    ),
    results.STUDENT_ERROR: (
        "!",
        "bad-badge",
        "Raised an error",
        "Your code, or a line that it needs, ended with an error. In the lab, restart the kernel and run all cells "
        "from the top: what works only in the order in which you ran it fails here.",
    ),
    results.TIMEOUT: (
        "!",
        "bad-badge",
        "Took too long",
        "Your code was stopped at the time limit. Look for a loop that never ends, or one that does much more than it "
        "has to.",
    ),
    results.OUT_OF_MEMORY: (
        "!",
        "bad-badge",
        "Ran out of memory",
        "Your code asked for more memory than an answer may have. Look for a list that only grows, or a tensor that is "
        "much larger than its inputs.",
    ),
    results.CRASHED: (
        "!",
        "bad-badge",
        "Ended too early",
        "The process that ran your code ended before it answered: a call such as exit(), or very deep recursion, does "
        "that. Your other exercises ran on their own.",
    ),
    results.MISSING_ANSWER: (
        "?",
        "none",
        "Answer not found",
        "No cell of your notebook holds this answer. Was the cell deleted, or the function renamed? Copy your answer "
        "into a fresh copy of the lab, under its own name.",
    ),
    results.UNREADABLE: ("?", "none", "Could not be read", ""),
    results.NEEDS_MANUAL: (
        "…",
        "wait-badge",
        "Waits for a person",
        "A person reads this answer and marks it. You need not do anything; the points are added when it is marked.",
    ),
    results.GRADER_ERROR: (
        "↻",
        "wait-badge",
        "Not graded yet",
        "This is not your fault: the grader failed, not your code. It will be graded again, and nothing is lost. You "
        "need not submit again. If it still says so in a few days, tell your instructor.",
    ),
}
REPAIR = (
    "Open the file in JupyterLab. If it opens, choose “Kernel → Restart Kernel and Run All Cells”, save it, and submit "
    "that file.",
    "Check that it is the notebook itself, a file that ends in `.ipynb`: no HTML or PDF export, no zip, and no `.py` "
    "file.",
    "If it is larger than 20 MiB, choose “Edit → Clear Outputs of All Cells”, save it, and submit it.",
    "If it does not open, take a fresh copy of the lab and copy your answers into it, cell by cell.",
)


def said(text: str, length: int = LONGEST) -> str:
    """A foreign string on one line, cut, and without invisible characters; not yet escaped."""
    return shown(" ".join(str(text).split()), length)


def _text(text: str, length: int = LONGEST) -> str:
    """The same as HTML; what stands in backticks is code."""
    safe = html.escape(said(text, length))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def state(exercise: dict[str, Any]) -> str:
    """The key of STATES for an exercise of `report.student_view`."""
    if exercise["status"] == results.GRADED:
        return exercise["outcome"] or "marked"
    return exercise["status"]


def _row(exercise: dict[str, Any]) -> str:
    """A row of the table: name, what came of it, points."""
    unknown = ("?", "none", state(exercise).replace("_", " "), "")
    sign, style, words, _ = STATES.get(state(exercise), unknown)
    lines = []
    for line in exercise["feedback"]:
        if line.rstrip(".").casefold().endswith(words.casefold()):
            continue  # the sign's words say it already
        label, colon, rest = line.partition(": ")
        marked = colon and label in ("Mistake", "Hint")
        lines.append(f"<strong>{label}:</strong> {_text(rest)}" if marked else _text(line))
    if exercise["mistake"] and not any(
        exercise["mistake"] in line for line in exercise["feedback"]
    ):
        lines.append(f"<strong>Mistake:</strong> {_text(exercise['mistake'])}")
    if exercise["forbidden"]:
        names = ", ".join(f"<code>{_text(name, 100)}</code>" for name in exercise["forbidden"])
        lines.append(f"<strong>To be done without:</strong> your answer uses {names}.")
    most = _number(exercise["points"])
    earned = exercise["earned"]
    points = f"open (of {most})" if earned is None else f"{_number(earned)} of {most}"
    feedback = "".join(f"<p>{line}</p>" for line in lines)
    return (
        f'<tr role="row"><th scope="row" role="rowheader"><code>{_text(exercise["exercise"], 100)}</code></th>'
        f'<td role="cell"><span class="badge {style}"><span aria-hidden="true">{sign}</span>{_text(words)}</span>'
        f'<div class="feedback">{feedback}</div></td>'
        f'<td class="points" role="cell">{points}</td></tr>'
    )


def _total(view: dict[str, Any]) -> str:
    """The points, in figures, as a bar and in words."""
    share = 100 * view["earned"] / view["points"] if view["points"] else 0
    bar = (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="4"/><rect class="earned" width="{share:.2f}" height="4"/></svg>'
    )
    unscored = sum(e["points"] for e in view["exercises"] if e["earned"] is None)
    rest = f"<p>{_number(unscored)} of these points are still open.</p>" if unscored else ""
    rest += "".join(f"<p>{_text(remark)}</p>" for remark in view["remarks"])
    figures = f"<strong>{_number(view['earned'])}</strong> of {_number(view['points'])} points"
    return f'<div class="card"><p class="total">{figures}</p>{bar}{rest}</div>'


def _notes(view: dict[str, Any]) -> str:
    """What concerns the whole notebook, most urgent first."""
    made, listed = "", "".join(f"<p>{_text(note)}</p>" for note in view["notes"])
    if view["status"] == results.UNREADABLE:
        steps = "".join(f"<li>{_text(step)}</li>" for step in REPAIR)
        return (
            '<section class="note bad"><h2>Your notebook could not be read</h2>'
            f"{listed}<p>So no exercise has points yet. To repair it:</p><ol>{steps}</ol>"
            f"<p>{AGAIN}</p></section>"
        )
    if view["status"] == results.GRADER_ERROR:
        made += (
            '<section class="note wait"><h2>The grading is not finished</h2><p>The grader failed at some exercises. '
            "That is not your fault; they will be graded again, and the page will be written anew.</p></section>"
        )
    if listed:
        made += f'<section class="note"><h2>About your notebook</h2>{listed}</section>'
    return made


def _legend(view: dict[str, Any]) -> str:
    """What the results on this page mean, and what to do next."""
    here = {state(exercise) for exercise in view["exercises"]}
    meant = [(words, text) for key, (_, _, words, text) in STATES.items() if text and key in here]
    if not meant or view["status"] == results.UNREADABLE:
        return ""
    items = "".join(f"<dt>{words}</dt><dd>{html.escape(text)}</dd>" for words, text in meant)
    again = f'<p class="again">{AGAIN}</p>' if here - OURS else ""
    heading = "<h2>What the results mean, and what to do next</h2>"
    return f"<section>{heading}<dl>{items}</dl>{again}</section>"


def page(view: dict[str, Any], name: str, title: str) -> str:
    """The page of one submission, from `report.student_view`."""
    css = (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    who = [f"<bdi>{_text(name, 100)}</bdi>", f"attempt {view['attempt']}"]
    if when := view["times"]["submitted_at"]:
        moment = datetime.fromisoformat(when)
        who.append(f"submitted {moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or 'UTC'}")
    rows = "".join(_row(exercise) for exercise in view["exercises"])
    table = (
        '<div class="card"><table role="table"><caption>Exercises</caption><thead role="rowgroup"><tr role="row">'
        '<th scope="col" role="columnheader">Exercise</th><th scope="col" role="columnheader">Result and feedback</th>'
        '<th scope="col" role="columnheader" class="points">Points</th></tr></thead>'
        f'<tbody role="rowgroup">{rows}</tbody></table></div>'
    )
    body = _total(view) + _notes(view)
    body += "" if view["status"] == results.UNREADABLE else table + _legend(view)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(said(title, 100))}: {html.escape(said(name, 100))}</title>"
        f"<style>{css}</style></head>\n<body><main><h1>{_text(title, 100)}</h1>"
        f'<p class="who">{" · ".join(who)}</p>{body}'
        "<footer>Hidden checks run your answers on inputs that the lab does not show; what those inputs are is not "
        "told. Questions about a mark: ask your instructor.</footer></main></body></html>\n"
    )
