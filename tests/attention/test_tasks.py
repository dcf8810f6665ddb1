"""Dates and a cipher: what is said, how it is spelt, and the gold alignment, by other means."""

from __future__ import annotations

import re
from datetime import date, datetime

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention import tasks
from course_lib.attention.tasks import (
    CIPHER_SOURCE,
    CIPHER_TARGET,
    DATE_SOURCE,
    DATE_TARGET,
    END,
    PAD,
    START,
    Vocabulary,
    date_translation,
    digit_cipher,
)
from tests.devices import devices

SPELLINGS = ("%d %B %Y", "%B %d, %Y", "%A, %B %d, %Y", "%A %d %B %Y", "%d %b %Y", "%m/%d/%Y")
SEEDS = st.integers(0, 2**31 - 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def said_as(day: date, spelling: str) -> str:
    """The date in words by the standard library, the day without its zero."""
    return day.strftime(spelling.replace("%d", "DAY")).replace("DAY", str(day.day)).lower()


def gold(text: str, day: date) -> tuple[set, set]:
    """(sure, possible) links (target place, source place), found by looking for the pieces."""
    sure, possible = set(), set()
    year = re.search(r"\d{4}", text).start()
    sure |= {(k, year + k) for k in range(4)}
    if "/" in text:
        sure |= {(5, 0), (6, 1)}
        number = text.index("/") + 1
    else:
        name = day.strftime("%B").lower()
        name = name if name in text else name[:3]
        begin = re.search(rf"\b{name}\b", text).start()
        possible |= {(t, begin + k) for t in (5, 6) for k in range(len(name))}
        number = re.search(rf"\b{day.day}\b", text).start()
    if day.day < 10:
        sure.add((9, number))
        possible.add((8, number))
    else:
        sure |= {(8, number), (9, number + 1)}
    return sure, sure | possible


@pytest.mark.parametrize("kind", range(len(tasks.FORMATS)))
def test_dates_are_spelt_and_aligned_as_the_standard_library_says(kind):
    batch = date_translation(60, generator(kind), formats=[kind])
    for row in range(60):
        text, iso = DATE_SOURCE.decode(batch.source[row]), DATE_TARGET.decode(batch.target[row])
        day = datetime.strptime(iso, "%Y-%m-%d").date()
        assert text == said_as(day, SPELLINGS[kind])
        sure, possible = gold(text, day)
        assert {tuple(link) for link in batch.sure[row].nonzero().tolist()} == sure
        assert {tuple(link) for link in batch.possible[row].nonzero().tolist()} == possible


def test_mixed_formats_in_one_batch_are_each_of_them():
    batch = date_translation(300, generator())
    seen = set()
    for row in range(300):
        text, iso = DATE_SOURCE.decode(batch.source[row]), DATE_TARGET.decode(batch.target[row])
        day = date.fromisoformat(iso)
        seen.add([said_as(day, spelling) for spelling in SPELLINGS].index(text))
        sure, _ = gold(text, day)
        assert {tuple(link) for link in batch.sure[row].nonzero().tolist()} == sure
    assert seen == set(range(len(SPELLINGS)))
    only = date_translation(50, generator(), formats=[5, 0])
    texts = [DATE_SOURCE.decode(row) for row in only.source]
    assert {"/" in text for text in texts} == {True, False} and not any("," in t for t in texts)


def test_every_year_month_and_day_is_drawn():
    batch = date_translation(6000, generator(), formats=[5])
    days = [date.fromisoformat(DATE_TARGET.decode(row)) for row in batch.target]
    assert {day.year for day in days} == set(range(1900, 2100))
    assert {day.month for day in days} == set(range(1, 13))
    assert {day.day for day in days} == set(range(1, 29))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), SEEDS, st.sampled_from(["date", "cipher"]))
def test_a_batch_is_padded_masked_and_shifted_as_it_says(rows, seed, kind):
    if kind == "date":
        batch = date_translation(rows, generator(seed))
    else:
        batch = digit_cipher(rows, 7, generator(seed), shortest=2)
    for tokens, mask in ((batch.source, batch.source_mask), (batch.target, batch.target_mask)):
        assert torch.equal(mask, tokens != PAD)
        lengths = mask.sum(1)
        assert torch.equal(mask, torch.arange(tokens.size(1)) < lengths.unsqueeze(1))
        assert int(lengths.max()) == tokens.size(1)
    assert not (batch.source == END).any() and not (batch.source == START).any()
    for said, read in zip(batch.target.tolist(), batch.target_in.tolist()):
        words = said[: said.index(END)]
        assert read == [START, *words] + [PAD] * (len(said) - len(words) - 1)
        assert set(said[len(words) + 1 :]) <= {PAD}
    pairs = batch.target_mask.unsqueeze(2) & batch.source_mask.unsqueeze(1)
    assert not (batch.possible & ~pairs).any() and not (batch.sure & ~batch.possible).any()
    unlinked = batch.possible.masked_select((batch.target == END).unsqueeze(2))
    assert not unlinked.any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), SEEDS)
def test_the_cipher_says_letter_k_for_digit_k_on_the_diagonal(rows, length, seed):
    batch = digit_cipher(rows, length, generator(seed))
    assert batch.source.shape == (rows, length) and batch.target.shape == (rows, length + 1)
    for source, target in zip(batch.source, batch.target):
        digits = CIPHER_SOURCE.decode(source)
        assert CIPHER_TARGET.decode(target) == "".join("abcdefghij"[int(d)] for d in digits)
    assert torch.equal(batch.sure, torch.eye(length + 1, length).bool().expand_as(batch.sure))
    assert torch.equal(batch.possible, batch.sure)


def test_the_ciphers_lengths_and_digits_are_equally_likely():
    batch = digit_cipher(6000, 6, generator(), shortest=3)
    lengths = batch.source_mask.sum(1)
    assert set(lengths.tolist()) == {3, 4, 5, 6}
    torch.testing.assert_close(
        lengths.bincount()[3:] / 6000, torch.full((4,), 0.25), atol=0.02, rtol=0
    )
    digits = batch.source[batch.source_mask] - 3
    torch.testing.assert_close(
        digits.bincount() / len(digits), torch.full((10,), 0.1), atol=0.01, rtol=0
    )
    for row, length in enumerate(lengths.tolist()):
        assert int(batch.sure[row].sum()) == length == int(batch.sure[row].diagonal().sum())


def test_the_same_generator_draws_the_same_batch():
    for draw in (date_translation, lambda rows, g: digit_cipher(rows, 5, g, shortest=1)):
        one, same, other = (draw(8, generator(seed)) for seed in (0, 0, 1))
        assert all(torch.equal(a, b) for a, b in zip(one, same))
        assert one.target.shape != other.target.shape or not torch.equal(one.target, other.target)


def test_a_vocabulary_reads_and_writes():
    vocabulary = Vocabulary("ab-")
    assert len(vocabulary) == 6 and vocabulary.tokens[:3] == ["<pad>", "<start>", "<end>"]
    assert vocabulary.encode("b-a").tolist() == [4, 5, 3]
    row = torch.tensor([START, 4, 5, END, 3, PAD])
    assert vocabulary.decode(row) == "b-"
    assert vocabulary.labels(row) == ["<start>", "b", "-", "<end>", "a"]
    assert vocabulary.decode(vocabulary.encode("")) == "" == vocabulary.decode(row[5:])
    with pytest.raises(ValueError, match="'c' is not in this vocabulary"):
        vocabulary.encode("bc")
    assert CIPHER_SOURCE.number["0"] == CIPHER_TARGET.number["a"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: date_translation(0, g), "batch must be at least 1"),
        (lambda g: date_translation(2, g, formats=[]), r"formats in 0..5, got 2 and \[\]"),
        (lambda g: date_translation(2, g, formats=[6]), r"got 2 and \[6\]"),
        (lambda g: digit_cipher(0, 3, g), "got 0, 3 and 3"),
        (lambda g: digit_cipher(2, 0, g), "length must be at least 1"),
        (lambda g: digit_cipher(2, 3, g, shortest=4), r"shortest in 1..length, got 2, 3 and 4"),
    ],
)
def test_wrong_counts_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(generator())


@pytest.mark.parametrize("device", devices())
def test_batches_are_drawn_where_the_generator_is(device):
    there = torch.Generator(device).manual_seed(0)
    for batch in (date_translation(5, there), digit_cipher(5, 4, there, shortest=2)):
        assert {part.device.type for part in batch} == {device.type}
        assert {part.device.type for part in batch.to("cpu")} == {"cpu"}
