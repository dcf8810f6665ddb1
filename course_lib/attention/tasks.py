"""Two translation tasks whose alignment is known by construction: dates and a cipher.

Both draw a `Translation`, a batch of padded token rows. Every vocabulary begins with the same three
tokens: PAD fills a row up, START stands before the first target token, END after the last.

In `date_translation` the order of source and target differ, and a letter of a month's name may belong
to two target digits; `digit_cipher` goes from left to right, one token at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

__all__ = [
    "CIPHER_SOURCE",
    "CIPHER_TARGET",
    "DATE_SOURCE",
    "DATE_TARGET",
    "END",
    "PAD",
    "START",
    "Translation",
    "Vocabulary",
    "date_translation",
    "digit_cipher",
]

PAD, START, END = 0, 1, 2


class Vocabulary:
    """Characters as numbers: PAD, START and END, then `characters` in their order."""

    def __init__(self, characters: str) -> None:
        self.tokens = ["<pad>", "<start>", "<end>", *characters]
        self.number = {token: place for place, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> Tensor:
        """The numbers of a text's characters, int64 [T]; ValueError names an unknown character."""
        unknown = sorted(set(text) - set(self.number))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not in this vocabulary: {self.tokens[3:]}")
        return torch.tensor([self.number[character] for character in text], dtype=torch.int64)

    def labels(self, row: Tensor) -> list[str]:
        """The tokens of a row [T], without padding, as labels of a figure's ticks."""
        return [self.tokens[number] for number in row.tolist() if number != PAD]

    def decode(self, row: Tensor) -> str:
        """The text of a row of numbers [T]: up to END, without START and padding."""
        labels = self.labels(row)
        labels = labels[: labels.index("<end>")] if "<end>" in labels else labels
        return "".join(label for label in labels if label != "<start>")


class Translation(NamedTuple):
    """A batch of B pairs; S and T are the longest source and target (END included).

    Args:
        source: int64 [B, S], padded.
        source_mask: bool [B, S], True where a token stands.
        target_in: int64 [B, T], what the decoder reads under teacher forcing: START, y_1, y_2, ...
        target: int64 [B, T], what it should say: y_1, y_2, ..., END, padded.
        target_mask: bool [B, T], True where a token stands.
        sure: bool [B, T, S], True where target token t comes from source token s beyond doubt.
        possible: bool [B, T, S], the sure links and those that may be argued for.
    """

    source: Tensor
    source_mask: Tensor
    target_in: Tensor
    target: Tensor
    target_mask: Tensor
    sure: Tensor
    possible: Tensor

    def to(self, device: torch.device | str) -> Translation:
        """The same batch on another device."""
        return Translation(*(part.to(device) for part in self))


def _translation(source: Tensor, target: Tensor, sure: Tensor, possible: Tensor) -> Translation:
    """The batch of padded sources [B, S] and targets [B, T] that end in END."""
    start = torch.full_like(target[:, :1], START)
    target_in = torch.cat([start, target[:, :-1]], dim=1)
    target_in = target_in.masked_fill(target_in == END, PAD)
    return Translation(source, source != PAD, target_in, target, target != PAD, sure, possible)


MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DATE_SOURCE = Vocabulary("0123456789 ,./" + "".join(sorted(set("".join(MONTHS + DAYS)))))
DATE_TARGET = Vocabulary("0123456789-")
CIPHER_SOURCE = Vocabulary("0123456789")
CIPHER_TARGET = Vocabulary("abcdefghij")

# A source character's role: what it says about the ten characters of YYYY-MM-DD.
YEAR, MONTH, DAY = 1, 5, 7  # the first digit's role, the next digits' follow
LETTER, LONE = 9, 10  # a letter of the month's name; the digit of a day without a zero
# A format: its pieces in order. Text stands for itself.
FORMATS = (
    ("day", " ", "month", " ", "year"),
    ("month", " ", "day", ", ", "year"),
    ("weekday", ", ", "month", " ", "day", ", ", "year"),
    ("weekday", " ", "day", " ", "month", " ", "year"),
    ("day", " ", "short", " ", "year"),
    ("month number", "/", "day", "/", "year"),
)


def _role_links() -> tuple[Tensor, Tensor]:
    """Sure and possible links of each role with the ten target characters: two bool [roles, 10]."""
    sure = torch.zeros(LONE + 1, 10, dtype=torch.bool)
    for role, place in zip(range(YEAR, LETTER), (0, 1, 2, 3, 5, 6, 8, 9)):
        sure[role, place] = True
    sure[LONE, 9] = True
    possible = sure.clone()
    possible[LETTER, [5, 6]] = True  # any letter of the name may say the month
    possible[LONE, 8] = True  # that it stands alone makes the zero before it
    return sure, possible


SURE, POSSIBLE = _role_links()


def _table(texts: Sequence[str]) -> Tensor:
    """Texts as rows of source numbers, filled up with PAD: [len(texts), longest]."""
    rows = [DATE_SOURCE.encode(text) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def _pieces(year: Tensor, month: Tensor, day: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Each piece of a date as numbers [B, w], PAD where it is shorter, and their roles [B, w]."""
    zero = DATE_SOURCE.number["0"]
    digits = zero + year.unsqueeze(1) // torch.tensor([1000, 100, 10, 1], device=year.device) % 10
    lone = (day < 10).unsqueeze(1)
    month_digits = zero + torch.stack([month // 10, month % 10], dim=1)
    day_digits = zero + torch.stack([day // 10, day % 10], dim=1)
    tens, ones = day_digits.split(1, dim=1)
    # Zeller: the weekday, 0 for Monday, of the Gregorian calendar
    early = (month < 3).long()
    y, m = year - early, month + 12 * early
    weekday = (day + 13 * (m + 1) // 5 + y + y // 4 - y // 100 + y // 400 + 5) % 7
    named = {
        "month": (_table(MONTHS), month - 1, LETTER),
        "short": (_table([name[:3] for name in MONTHS]), month - 1, LETTER),
        "weekday": (_table(DAYS), weekday, 0),
    }
    pieces = {}
    for name, (table, row, role) in named.items():
        numbers = table.to(year.device)[row]
        pieces[name] = numbers, torch.full_like(numbers, role)
    for name, numbers, role in (("year", digits, YEAR), ("month number", month_digits, MONTH)):
        pieces[name] = (
            numbers,
            role + torch.arange(numbers.size(1), device=year.device).expand_as(numbers),
        )
    roles = torch.cat([torch.full_like(tens, DAY), torch.where(lone, LONE, DAY + 1)], dim=1)
    pieces["day"] = torch.cat([tens.masked_fill(lone, PAD), ones], dim=1), roles
    return pieces


def date_translation(
    batch: int, generator: Generator, *, formats: Sequence[int] = range(len(FORMATS))
) -> Translation:
    """Dates as people write them, to be said as YYYY-MM-DD and END (T = 11).

    Sources like "7 march 1994", "march 7, 1994", "monday, march 7, 1994", "monday 7 march 1994",
    "7 mar 1994" and "03/7/1994"; `formats` chooses among them by their numbers in FORMATS. Years from 1900 to 2099,
    days from 1 to 28, all equally likely.

    Gold alignment: digits are surely linked to the digits they become; every letter of a month's
    name possibly to both digits of the month; the digit of a day below 10 surely to the last target
    character, possibly to the zero before it. The hyphens and END have no link.

    Raises ValueError for a batch below 1 or an unknown format.
    """
    if batch < 1 or not formats or not set(formats) <= set(range(len(FORMATS))):
        raise ValueError(
            f"batch must be at least 1 and formats in 0..{len(FORMATS) - 1}, "
            f"got {batch} and {list(formats)}"
        )
    device = generator.device

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (batch,), generator=generator, device=device)

    year, month, day, chosen = draw(1900, 2100), draw(1, 13), draw(1, 29), draw(0, len(formats))
    pieces = _pieces(year, month, day)
    rows, roles = [], []
    for number in formats:  # every row in every format; below, each row keeps one
        parts = []
        for name in FORMATS[number]:
            if name not in pieces:
                text = DATE_SOURCE.encode(name).to(device).expand(batch, -1)
                parts.append((text, torch.zeros_like(text)))
            else:
                parts.append(pieces[name])
        rows.append(torch.cat([numbers for numbers, _ in parts], dim=1))
        roles.append(torch.cat([role for _, role in parts], dim=1))
    source, role = (_choose(layouts, chosen) for layouts in (rows, roles))
    # move the padding behind the text
    order = (source == PAD).to(torch.uint8).argsort(dim=1, stable=True)
    source, role = source.gather(1, order), role.gather(1, order)
    longest = int((source != PAD).sum(1).max())
    source, role = source[:, :longest], role[:, :longest].masked_fill(source[:, :longest] == PAD, 0)
    sure, possible = (
        torch.nn.functional.pad(table.to(device)[role], (0, 1)).transpose(1, 2)  # [B, 11, S]
        for table in (SURE, POSSIBLE)
    )
    return _translation(source, _iso(year, month, day), sure, possible)


def _choose(layouts: list[Tensor], chosen: Tensor) -> Tensor:
    """Row b of layout chosen[b], padded: F tensors [B, w_f] -> [B, max w]."""
    width = max(layout.size(1) for layout in layouts)
    padded = [torch.nn.functional.pad(layout, (0, width - layout.size(1))) for layout in layouts]
    return torch.stack(padded)[chosen, torch.arange(len(chosen), device=chosen.device)]


def _iso(year: Tensor, month: Tensor, day: Tensor) -> Tensor:
    """YYYY-MM-DD and END as target numbers [B, 11]."""
    number = (year * 100 + month) * 100 + day  # eight digits
    powers = 10 ** torch.arange(7, -1, -1, device=year.device)
    digits = DATE_TARGET.number["0"] + number.unsqueeze(1) // powers % 10
    hyphen = torch.full_like(digits[:, :1], DATE_TARGET.number["-"])
    end = torch.full_like(hyphen, END)
    return torch.cat([digits[:, :4], hyphen, digits[:, 4:6], hyphen, digits[:, 6:], end], dim=1)


def digit_cipher(
    batch: int, length: int, generator: Generator, *, shortest: int | None = None
) -> Translation:
    """Digits to be said as letters, one by one: 0 is a, 1 is b, ..., 9 is j; then END.

    The alignment is the diagonal (sure); END has none. length: of every source, or with `shortest`
    the most, lengths then being equally likely from `shortest` to `length`. T = S + 1.

    Raises ValueError for a count below 1 or shortest > length.
    """
    shortest = length if shortest is None else shortest
    if batch < 1 or not 1 <= shortest <= length:
        raise ValueError(
            f"batch and length must be at least 1 and shortest in 1..length, "
            f"got {batch}, {length} and {shortest}"
        )
    device = generator.device
    lengths = torch.randint(shortest, length + 1, (batch, 1), generator=generator, device=device)
    digits = torch.randint(10, (batch, length), generator=generator, device=device)
    longest = int(lengths.max())
    place = torch.arange(longest + 1, device=device)
    mask = place[:-1] < lengths  # [B, S]
    numbers = (3 + digits[:, :longest]).masked_fill(~mask, PAD)  # both vocabularies in one order
    target = torch.nn.functional.pad(numbers, (0, 1)).masked_fill(place == lengths, END)
    sure = torch.eye(longest + 1, longest, dtype=torch.bool, device=device) & mask.unsqueeze(1)
    return _translation(numbers, target, sure, sure)
