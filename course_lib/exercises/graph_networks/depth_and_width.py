"""Unit 05, exercises 7 and 8: what depth and width cost."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, describe
from course_lib.exercises.graph_networks import reference
from course_lib.exercises.graph_networks.experiments import unit

# 7 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.smoothing_distance,
    hints=[
        "The limit of M^k X is not constant: node v ends proportional to sqrt(degree + 1).",
        "Make that vector u of unit length; u u^T h is the part of h that has already reached the limit.",
        "Divide the Frobenius norm of the rest by that of h.",
    ],
)
def smoothing_distance(answer, case: Case) -> None:
    """Distance of h [N, F] to the limit of M^k X: ||h - u u^T h|| / ||h|| with unit u ~ sqrt(degree + 1)."""
    nodes = case.size(3, 9)
    adjacency = case.random_graph(nodes)
    adjacency[0, 1:], adjacency[1:, 0] = 0.0, 0.0  # a node of degree one, so that degrees differ
    adjacency[0, 1], adjacency[1, 0] = 1.0, 1.0
    h = case.normal(nodes, case.size(1, 4)) + 1.0
    smooth = reference.normalized_adjacency(adjacency)
    case.expect(answer(h, adjacency), reference.smoothing_distance(h, adjacency))
    later = torch.linalg.matrix_power(smooth, 8) @ h
    case.expect(
        answer(later, adjacency),
        reference.smoothing_distance(later, adjacency),
        label="after 8 steps",
    )
    case.expect_equivariant(answer, h, adjacency, axes=((0,), (0, 1)), out_axes=())


def _distance(h: Tensor, u: Tensor) -> Tensor:
    u = (u / u.norm()).unsqueeze(1)
    return (h - u @ (u.T @ h)).norm() / h.norm()


@smoothing_distance.mistake(
    "That is the distance to a constant vector. Under symmetric normalisation hubs end larger: sqrt(degree + 1)."
)
def to_constant(h, adjacency):
    return _distance(h, torch.ones(len(h)))


@smoothing_distance.mistake("Your degrees leave out the self-loop; the limit belongs to A + I.")
def loops_forgotten(h, adjacency):
    return _distance(h, adjacency.sum(1).sqrt())


@smoothing_distance.mistake(
    "The limit goes with the square root of degree + 1, not with degree + 1 itself."
)
def not_rooted(h, adjacency):
    return _distance(h, adjacency.sum(1) + 1)


@smoothing_distance.mistake(
    "u must have unit length before you project, or u u^T is no projection."
)
def not_unit(h, adjacency):
    u = (adjacency.sum(1) + 1).sqrt().unsqueeze(1)
    return (h - u @ (u.T @ h)).norm() / h.norm()


@smoothing_distance.mistake(
    "This is the absolute distance. Divide by ||h||, else shrinking alone looks like smoothing."
)
def absolute(h, adjacency):
    return _distance(h, (adjacency.sum(1) + 1).sqrt()) * h.norm()


@smoothing_distance.mistake(
    "This is the part that has arrived, u u^T h; the distance measures what is left of h without it."
)
def the_other_part(h, adjacency):
    u = (adjacency.sum(1) + 1).sqrt()
    u = (u / u.norm()).unsqueeze(1)
    return (u @ (u.T @ h)).norm() / h.norm()


# 8 ----------------------------------------------------------------------------------------------

DRAWS = 6000


@unit.exercise(
    points=2,
    minutes=10,
    reference=reference.sampled_sum,
    cases=4,
    hints=[
        "A row drawn with probability q stands for 1 / q rows.",
        "Draw a [draws, k] table of row numbers with torch.multinomial(..., replacement=True, generator=generator).",
        "Each estimate is the mean over its k draws of h[i] / q[i].",
    ],
)
def sampled_sum(answer, case: Case) -> None:
    """`draws` unbiased estimates [draws, F] of h.sum(0), each from k rows of h drawn with probabilities q."""
    n, wide = case.size(4, 9), case.size(1, 3)
    h = case.uniform(n, wide, low=0.5, high=2.0)
    q = case.uniform(n, low=0.5, high=2.0)
    q = q / q.sum()
    each = h / q.unsqueeze(1)
    exact = h.sum(0)
    spread = (q.unsqueeze(1) * (each - exact) ** 2).sum(0)  # variance of one draw

    one = answer(h, q, 1, 50, case.generator())
    case.expect_that("every estimate from k = 1 is some h[i] / q[i]", _one_of(each), one)
    k = case.size(2, 4)
    many = answer(h, q, k, DRAWS, case.generator())
    given = {"exact": exact, "h": h, "q": q, "k": k, "spread": spread}
    judge = _mean_and_variance(exact, spread / k, wide)
    case.expect_that(
        f"mean and variance over {DRAWS} estimates", judge, many, kind="score", given=given
    )

    same, other = case.generator(), case.generator()
    state = same.get_state()
    first = answer(h, q, 2, 20, same)
    same.set_state(state)
    again, different = answer(h, q, 2, 20, same), answer(h, q, 2, 20, other)
    case.expect_that("the generator decides", _follows_generator, (first, again, different))


def _follows_generator(results) -> str | None:
    first, again, different = results
    if not torch.equal(first, again):
        return "the same state of the generator gives other estimates: pass generator=generator to every draw"
    if torch.equal(first, different):
        return "another generator gives the very same estimates: pass generator=generator to every draw"
    return None


def _one_of(rows: Tensor):
    def judge(got) -> str | None:
        if not isinstance(got, Tensor) or tuple(got.shape) != (50, rows.shape[1]):
            return f"{describe(got)}; expected [50, {rows.shape[1]}]"
        gap = (got.unsqueeze(1) - rows).abs().amax(2).amin(1)
        return (
            None
            if bool((gap < 1e-4).all())
            else "an estimate from one draw must be a single h[i] / q[i]"
        )

    return judge


def _mean_and_variance(exact: Tensor, variance: Tensor, wide: int):
    def judge(got) -> str | None:
        if not isinstance(got, Tensor) or tuple(got.shape) != (DRAWS, wide):
            return f"{describe(got)}; expected [{DRAWS}, {wide}]"
        off = (got.mean(0) - exact).abs() / (variance / DRAWS).sqrt()
        if not bool((off < 5).all()):
            return f"biased: the mean is {float(off.max()):.0f} standard errors away from the exact sum"
        ratio = got.var(0) / variance
        if not bool(((ratio > 0.85) & (ratio < 1.18)).all()):
            return f"the mean is right, but the variance is {float(ratio.min()):.2f} times that of k independent draws"
        neighbors = torch.corrcoef(torch.stack([got[:-1, 0], got[1:, 0]]))[0, 1]
        if float(neighbors.abs()) > 6 / DRAWS**0.5:
            return "an estimate tells something about the next one: draw each of them anew"
        return None

    return judge


def _many(observations) -> tuple[Tensor, dict]:
    seen = observations[1]
    if isinstance(seen.got, Raised):
        raise ValueError("raised")
    return seen.got, seen.given


def _mean_is(observations, expected) -> bool:
    got, given = _many(observations)
    wanted = expected(given)
    return bool(got.std(0).min() > 1e-4 and ((got.mean(0) - wanted).abs() < 0.03 * wanted).all())


def _drawn(q, k, draws, generator):
    return torch.multinomial(q, draws * k, replacement=True, generator=generator).view(draws, k)


@sampled_sum.symptom(
    lambda seen: torch.allclose(_many(seen)[0], _many(seen)[1]["exact"], rtol=1e-3),
    "All your estimates are the exact sum: nothing was sampled.",
)
def exact_sum(h, q, k, draws, generator):
    return h.sum(0).expand(draws, -1)


@sampled_sum.symptom(
    lambda seen: bool(_many(seen)[0].std(0).max() < 1e-4),
    "All your estimates are one and the same: draw k rows anew for each of them.",
)
def one_for_all(h, q, k, draws, generator):
    return reference.sampled_sum(h, q, k, 1, generator).expand(draws, -1)


@sampled_sum.symptom(
    lambda seen: "generator" in (seen[2].failure() or ""),
    "Your draws do not come from the generator that was given: pass generator=generator to torch.multinomial.",
)
def own_randomness(h, q, k, draws, generator):
    return reference.sampled_sum(h, q, k, draws, torch.Generator().manual_seed(1))


@sampled_sum.symptom(
    lambda seen: _mean_is(seen, lambda g: (g["q"].unsqueeze(1) * g["h"]).sum(0)),
    "You averaged the rows you drew. That estimates sum q_i h_i; divide each row by its probability.",
)
def not_reweighted(h, q, k, draws, generator):
    return h[_drawn(q, k, draws, generator)].mean(1)


@sampled_sum.symptom(
    lambda seen: _mean_is(seen, lambda g: (g["q"].unsqueeze(1) * g["h"]).sum(0) * len(g["q"])),
    "n times the mean of the rows is right for uniform draws only; these come with probabilities q.",
)
def as_if_uniform(h, q, k, draws, generator):
    return h[_drawn(q, k, draws, generator)].mean(1) * len(h)


@sampled_sum.symptom(
    lambda seen: _mean_is(seen, lambda g: g["exact"] * g["k"]),
    "Your estimates are k times too large: take the mean over the k draws, not their sum.",
)
def not_divided(h, q, k, draws, generator):
    return (h / q.unsqueeze(1))[_drawn(q, k, draws, generator)].sum(1)


@sampled_sum.symptom(
    lambda seen: (
        _mean_is(seen, lambda g: g["exact"])
        and bool((_many(seen)[0].var(0) > 0.9 * _many(seen)[1]["spread"]).all())
    ),
    "Right on average, but as noisy as a single draw: k is ignored, or the k draws are one and the same row.",
)
def one_draw(h, q, k, draws, generator):
    return (h / q.unsqueeze(1))[_drawn(q, 1, draws, generator)].expand(-1, k, -1).mean(1)
