"""Random histories of a gradebook: its views say what the slow and obvious computation says."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.grading.gradebook import Gradebook
from tests.grading.books import UNIT, Model, scores


def agree(book, model):
    assert [t.student for t in book.totals(UNIT)] == model.everybody()
    for now in book.totals(UNIT):
        attempt, state, earned = model.standing(now.student)
        assert (now.attempt, now.state) == (attempt, state), now
        assert scores(book, now.student) == earned
        assert now.provisional == sum(points or 0.0 for points in earned.values())
        assert now.unscored == sum(points is None for points in earned.values())
        final = bool(earned) and None not in earned.values()
        assert now.score == (now.provisional if final else None)
        assert now.enrolled == (now.student in model.enrolled)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_gradebooks_say_what_the_model_says(chance):
    with Gradebook("sqlite://") as book:
        agree(book, Model(chance, book))


@pytest.mark.parametrize("seed", range(3))
def test_both_engines_say_what_the_model_says(url, seed):
    with Gradebook(url) as book:
        agree(book, Model(random.Random(seed), book))
