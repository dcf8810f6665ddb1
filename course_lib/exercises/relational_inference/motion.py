"""Unit 09, exercise 1: a leapfrog step for bodies on springs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.exercises.answer import Observation
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, difference
from course_lib.exercises.engine import Unit
from course_lib.exercises.relational_inference import reference

unit = Unit(
    "09_relational_inference",
    forbids=(
        "course_lib.relations",
        "course_lib.exercises",
        ".reference",
        "torch.distributions",
        "torch.nn.functional.kl_div",
        "torch.nn.KLDivLoss",
        "torch.nn.functional.gaussian_nll_loss",
        "torch.nn.GaussianNLLLoss",
        "torch_geometric",
        "sklearn",
        "torch.ops",
        "torch._C",
        "torch._VF",
    ),
)


def gradient_is_cut(*names: str) -> Callable[[Sequence[Observation]], bool]:
    """A symptom: all values are right, and no right gradient reaches one of the named arguments (or any, unnamed)."""
    labels = {f"gradient for `{name}`" for name in names}

    def predicate(observations: Sequence[Observation]) -> bool:
        wrong = [o for o in observations if o.failure() is not None]
        return (
            bool(wrong)
            and all("gradient" in o.label and not isinstance(o.got, Raised) for o in wrong)
            and (not labels or {o.label for o in wrong} <= labels)
            and not any(g.isnan().any() for o in wrong for g in o.got if g is not None)
        )

    return predicate


# 1 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=10,
    reference=reference.leapfrog,
    hints=[
        "A body with the springs s_ij feels -k sum_j s_ij (x_i - x_j): its own position counts once for each spring.",
        "With the matrix of springs the sum over j is (springs.sum(-1, keepdim=True) * x - springs @ x).",
        "Each step: half a kick, a whole drift, and half a kick with the acceleration at the NEW position.",
    ],
)
def leapfrog(answer, case: Case) -> None:
    """Position and velocity [S, N, 2] of bodies on springs, after `steps` of half a kick, a drift, half a kick."""
    simulations, bodies = case.size(2, 3), case.size(3, 4)
    dt, stiffness = (case.uniform(1, low=0.3, high=0.5).item() for _ in range(2))
    moving = _moving(case, simulations, bodies)
    for steps, label in ((1, "one step"), (case.size(2, 4), "several steps")):
        given = *moving, stiffness + 0.4, dt, steps
        case.expect(answer(*given), reference.leapfrog(*given), label=label)
    given = *(t[:1] for t in moving), stiffness, dt, 2
    case.expect(answer(*given), reference.leapfrog(*given), label="one simulation")
    _expect_a_quarter(answer, case, [t.double() for t in moving], 2 * stiffness)
    extra = stiffness, dt, 2
    for argument in (0, 1):
        case.expect_gradient(answer, reference.leapfrog, *moving, wrt=argument, extra=extra)
    _expect_gradient_for_springs(answer, case, moving, extra)


def _moving(case: Case, simulations: int, bodies: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions and velocities [S, N, 2], and springs [S, N, N] of different strengths; some are missing."""
    strength = case.uniform(simulations, bodies, bodies, low=0.5, high=1.5)
    strength = strength * (case.uniform(simulations, bodies, bodies) < 0.6)
    strength[:, 0, 1] = 1.0
    springs = strength.triu(1) + strength.triu(1).mT
    return case.normal(simulations, bodies, 2), case.normal(simulations, bodies, 2), springs


def _expect_gradient_for_springs(answer, case: Case, moving: tuple, extra: tuple) -> None:
    """Each spring stands at two places of the matrix, and an answer may read either: their sum is compared."""
    x, v, springs = moving
    leaf = springs.clone().requires_grad_()
    out = torch.stack(reference.leapfrog(x, v, leaf, *extra))
    probe = case.normal(out.numel())
    (right,) = torch.autograd.grad((out.flatten() * probe).sum(), leaf)

    def judge(gradients) -> str | None:
        if gradients[0] is None:
            return "no gradient reaches `springs`: was the graph cut by .detach(), .data, .item() or numpy?"
        got = gradients[0]
        return difference(got + got.mT, right + right.mT)

    got = answer.gradient_of_argument(probe, 2, *moving, *extra)
    case.expect_that("gradient for `springs`", judge, got)


def _expect_a_quarter(answer, case: Case, moving: list[Tensor], stiffness: float) -> None:
    """With half the time step the distance from the exact motion must be a quarter, float64."""
    time, steps = 1.2, 6
    right = torch.cat(reference.exact(*moving, stiffness, time))
    runs = tuple(answer(*moving, stiffness, time / (f * steps), f * steps) for f in (1, 2))

    def share(both) -> float:
        coarse, fine = (float((torch.cat(tuple(run)) - right).norm()) for run in both)
        return fine / coarse

    def judge(both) -> str | None:
        if not 0.15 < share(both) < 0.35:
            return (
                f"with half the time step the error against the exact motion is {share(both):.2f} times as large; "
                "a leapfrog has a quarter of it"
            )
        return None

    case.expect_that("half the time step", judge, runs, given={"share": share})


def _pull(x: Tensor, springs: Tensor, stiffness: float) -> Tensor:
    """The accelerations [S, N, 2] at the positions x."""
    return -stiffness * (springs.sum(-1, keepdim=True) * x - springs @ x)


@leapfrog.mistake(
    "Your first kick is a whole step, and there is no last one: symplectic Euler. A fine step cannot show it, but its "
    "error is of first order. Half a kick before the drift, half after it."
)
def whole_kick(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        velocity = velocity + dt * _pull(position, springs, stiffness)
        position = position + dt * velocity
    return position, velocity


@leapfrog.mistake(
    "Both kicks are whole: each step kicks for twice its time. Before and after the drift only dt / 2."
)
def two_whole_kicks(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        velocity = velocity + dt * _pull(position, springs, stiffness)
        position = position + dt * velocity
        velocity = velocity + dt * _pull(position, springs, stiffness)
    return position, velocity


@leapfrog.mistake(
    "Your first kick is a whole step, and all velocities are half a step ahead of the positions from then on. A fine "
    "step cannot show it, but the error is of first order: begin with half a kick."
)
def first_kick_whole(position, velocity, springs, stiffness, dt, steps):
    velocity = velocity + dt * _pull(position, springs, stiffness)
    for _ in range(steps):
        position = position + dt * velocity
        velocity = velocity + dt * _pull(position, springs, stiffness)
    return position, velocity


@leapfrog.mistake(
    "This drifts first and kicks after it, for the whole step: symplectic Euler, of first order. Half a kick stands "
    "before the drift, half after it."
)
def drift_then_kick(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        position = position + dt * velocity
        velocity = velocity + dt * _pull(position, springs, stiffness)
    return position, velocity


@leapfrog.mistake(
    "Position and velocity both move by their OLD values: Euler's method. Its energy grows without end."
)
def euler(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        position, velocity = (
            position + dt * velocity,
            velocity + dt * _pull(position, springs, stiffness),
        )
    return position, velocity


@leapfrog.mistake(
    "The last half of the kick uses the acceleration from before the drift. Compute it anew, at the new position."
)
def old_acceleration(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        kick = dt / 2 * _pull(position, springs, stiffness)
        velocity = velocity + kick
        position, velocity = position + dt * velocity, velocity + kick
    return position, velocity


@leapfrog.mistake(
    "The last half of the kick is missing: positions and velocities are not of the same time."
)
def no_last_kick(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        velocity = velocity + dt / 2 * _pull(position, springs, stiffness)
        position = position + dt * velocity
    return position, velocity


@leapfrog.mistake(
    "This is half a drift, a kick, half a drift: as good, but another scheme. Asked for is kick, drift, kick."
)
def drift_kick_drift(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        position = position + dt / 2 * velocity
        velocity = velocity + dt * _pull(position, springs, stiffness)
        position = position + dt / 2 * velocity
    return position, velocity


@leapfrog.mistake(
    "The first kick is a whole one, the last a half: each step kicks for one and a half times its time. Half a kick "
    "before the drift, half after it."
)
def one_kick_and_a_half(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        velocity = velocity + dt * _pull(position, springs, stiffness)
        position = position + dt * velocity
        velocity = velocity + dt / 2 * _pull(position, springs, stiffness)
    return position, velocity


@leapfrog.mistake("A step too few or too many: the loop is `for _ in range(steps)`.")
def a_step_too_few(position, velocity, springs, stiffness, dt, steps):
    return reference.leapfrog(position, velocity, springs, stiffness, dt, steps - 1)


@leapfrog.mistake("stiffness has no effect in yours: a = -stiffness times the sum over j.")
def without_stiffness(position, velocity, springs, stiffness, dt, steps):
    return reference.leapfrog(position, velocity, springs, 1.0, dt, steps)


@leapfrog.mistake(
    "Your springs push: with x_i - x_j the pull on body i has a minus sign before it."
)
def pushing(position, velocity, springs, stiffness, dt, steps):
    return reference.leapfrog(position, velocity, springs, -stiffness, dt, steps)


@leapfrog.mistake(
    "x_i counts once in yours, however many springs pull at body i: the sum over j has w_ij x_i in each term."
)
def own_position_once(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        velocity = velocity - dt / 2 * stiffness * (position - springs @ position)
        position = position + dt * velocity
        velocity = velocity - dt / 2 * stiffness * (position - springs @ position)
    return position, velocity


@leapfrog.mistake(
    "Your springs pull the sender's way alone: springs @ x sums the x_j, and x_i is missing, once for each spring."
)
def without_own_position(position, velocity, springs, stiffness, dt, steps):
    for _ in range(steps):
        velocity = velocity + dt / 2 * stiffness * (springs @ position)
        position = position + dt * velocity
        velocity = velocity + dt / 2 * stiffness * (springs @ position)
    return position, velocity


def _first_order(observations) -> bool:
    """All results are near the exact motion, and half the step has half the error."""
    shares = [o.given["share"](o.got) for o in observations if "share" in o.given]
    return all(0.4 < share < 0.65 for share in shares)


@leapfrog.symptom(
    _first_order,
    "With half the time step your error is half as large: a scheme of first order. A leapfrog is of second; is some "
    "kick a whole one, or is the acceleration that of another moment?",
)
def velocity_mended(position, velocity, springs, stiffness, dt, steps):
    velocity = velocity + dt * _pull(position, springs, stiffness)
    for _ in range(steps):
        position = position + dt * velocity
        velocity = velocity + dt * _pull(position, springs, stiffness)
    return position, velocity - dt / 2 * _pull(position, springs, stiffness)


@leapfrog.symptom(
    gradient_is_cut(),
    "The motion is right, but a gradient is cut: was there no_grad, .data, .detach() or numpy on the way?",
)
def cut_motion(position, velocity, springs, stiffness, dt, steps):
    return reference.leapfrog(position.detach(), velocity, springs, stiffness, dt, steps)
