"""Text: there and back, the split, the real file's facts, and a twin in the same characters."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data import ChecksumError, MalformedFile
from course_lib.data.text import (
    CHARACTERS,
    Corpus,
    decode,
    encode,
    generated_play,
    tiny_shakespeare,
)
from tests.requirements import require


@given(st.text(CHARACTERS))
def test_decode_is_the_inverse_of_encode(text):
    tokens = encode(text)
    assert tokens.dtype == torch.int64 and tokens.shape == (len(text),)
    assert decode(tokens) == text == decode(tokens.tolist())


def test_the_alphabet_is_in_the_order_of_code_points():
    assert list(CHARACTERS) == sorted(set(CHARACTERS)) and len(CHARACTERS) == 65
    assert encode("ba", "abc").tolist() == [1, 0] and decode([2, 0], "abc") == "ca"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode("Zoë"), r"holds 'ë', which is not among the 65 characters"),
        (lambda: decode(torch.tensor([65])), r"must lie in 0\.\.64, got 65\.\.65"),
        (lambda: decode(torch.tensor([-1])), r"must lie in 0\.\.64"),
        (lambda: decode(torch.tensor([[1]])), r"whole numbers \[N\], got torch.int64 \[1, 1\]"),
        (lambda: decode(torch.tensor([1.0])), r"whole numbers \[N\], got torch.float32 \[1\]"),
        (lambda: tiny_shakespeare(validation=1.0), "between 0 and 1, got 1.0"),
        (lambda: tiny_shakespeare(validation=0.0), "between 0 and 1, got 0.0"),
        (lambda: generated_play(0), "at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_facts_of_the_real_text(capsys):
    mirror = require("data")
    corpus = tiny_shakespeare()
    assert capsys.readouterr().out.startswith("real: ")
    whole = (mirror / "text/tinyshakespeare.txt").read_text("ascii")
    assert corpus.source == "real" and corpus.characters == "".join(sorted(set(whole)))
    assert corpus.decode(torch.cat([corpus.train, corpus.validation])) == whole
    assert len(corpus.validation) == round(0.1 * len(whole)) and len(whole) == 1_115_394
    assert corpus.decode(corpus.train[:14]) == "First Citizen:"


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No mirror, an empty cache and no network."""

    def refuse(*arguments, **options):
        raise OSError("no network in this test")

    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", refuse)


def test_the_twin_has_the_same_characters_and_says_so(alone, capsys):
    corpus = tiny_shakespeare(validation=0.25, seed=1)
    said = capsys.readouterr().out
    assert said.startswith("twin: ") and "set COURSE_DATA" in said
    assert corpus.source == "twin" and corpus.characters == CHARACTERS
    assert (len(corpus.train), len(corpus.validation)) == (300_000, 100_000)
    assert corpus.train.unique().tolist() == list(range(65))
    assert torch.equal(corpus.train, tiny_shakespeare(validation=0.25, seed=1).train)
    assert not torch.equal(corpus.train, tiny_shakespeare(validation=0.25, seed=2).train)


def test_a_play_is_speeches_of_names_and_sentences():
    play = generated_play(60_000, seed=0)
    assert len(play) == 60_000 and set(play) == set(CHARACTERS)
    assert generated_play(100, seed=0) == play[:100]
    for speech in play.split("\n\n")[:-1]:
        name, *lines = speech.split("\n")
        assert name.endswith(":") and name[:-1].isalpha()
        assert lines and all(line[0].isupper() and line[-1] in ".,;:!?" for line in lines)


def entropy(counts: torch.Tensor) -> float:
    share = counts[counts > 0].double() / counts.sum()
    return float(-(share * share.log2()).sum())


def test_context_pays_in_the_twin_as_it_does_in_the_real_text():
    tokens = encode(generated_play(100_000))
    single = entropy(torch.bincount(tokens))
    bigram = entropy(torch.bincount(tokens[:-1] * 65 + tokens[1:])) - single
    assert 4 < single < 5 and bigram < single - 1


def test_a_damaged_file_is_no_reason_for_the_twin(monkeypatch, tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "tinyshakespeare.txt").write_text("To be, or")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(ChecksumError):
        tiny_shakespeare()


def test_another_text_under_that_name_is_malformed(monkeypatch, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("naïve", encoding="utf-8")
    monkeypatch.setattr("course_lib.data.text.fetch", lambda name: path)
    with pytest.raises(MalformedFile, match="not among its 65"):
        tiny_shakespeare()


def test_a_corpus_encodes_in_its_own_alphabet():
    corpus = Corpus(torch.tensor([0]), torch.tensor([1]), "ab", "two", "twin")
    assert corpus.encode("ba").tolist() == [1, 0] and corpus.decode([0, 1]) == "ab"
