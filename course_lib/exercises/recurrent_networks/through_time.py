"""Unit 02, exercises 2 and 3: the gradient through time, and its clipping."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.recurrent_networks import reference
from course_lib.exercises.recurrent_networks.states import small_weights, unit

# 2 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=13,
    reference=reference.backpropagate,
    forbids=("torch.autograd", "torch.Tensor.backward", "torch.func", "functorch", ".backward"),
    hints=[
        "Go backward. `g` is what arrives at h_t; through tanh it becomes delta = g * (1 - h_t ** 2).",
        "delta @ w_hh is what arrives at h_{t-1}: the whole story of vanishing gradients is this line, repeated.",
        "Each step used the same W_hh, so its gradient is the sum over steps of delta.T @ states[t - 1].",
    ],
)
def backpropagate(answer, case: Case) -> None:
    """Gradients (W_ih [H, I], W_hh [H, H], h0 [B, H]) from x [T, B, I], states h_0 ... h_T, W_hh and dL/dh_T."""
    batch, inputs = case.size(1, 3), case.size(1, 3)
    hidden = inputs + case.size(1, 3)
    weights = small_weights(case, inputs, hidden)
    for steps in (3, case.size(1, 6)):
        x, h0 = case.normal(steps, batch, inputs), torch.tanh(case.normal(batch, hidden))
        states = torch.cat([h0.unsqueeze(0), reference.rnn_states(x, h0, *weights)])
        given = (x, states, weights[1], case.normal(batch, hidden))
        case.expect(answer(*given), reference.backpropagate(*given), label=f"{steps} steps")


def _deltas(states, w_hh, grad_last, slopes):
    """delta_1 ... delta_T [T, B, H], and what arrives at h0."""
    arriving, deltas = grad_last, []
    for slope in reversed(slopes):
        deltas.append(arriving * slope)
        arriving = deltas[-1] @ w_hh
    return torch.stack(deltas[::-1]), arriving


def _copies(deltas, inputs):
    """One gradient [H, I] for each step's copy of a weight: [T, H, I]."""
    return torch.einsum("tbh,tbi->thi", deltas, inputs)


def _slopes(states):
    return [1 - h**2 for h in states[1:]]


@backpropagate.mistake(
    "The derivative of tanh is missing: multiply what arrives at h_t by 1 - h_t ** 2."
)
def no_slope(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, torch.ones_like(states[1:]).unbind())
    return _copies(deltas, x).sum(0), _copies(deltas, states[:-1]).sum(0), at_h0


@backpropagate.mistake(
    "tanh was applied twice: the states are tanh's output already, so its derivative is 1 - h ** 2."
)
def squashed_again(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(torch.tanh(states)))
    return _copies(deltas, x).sum(0), _copies(deltas, states[:-1]).sum(0), at_h0


@backpropagate.mistake(
    "The slope of tanh is taken at h_{t-1}; step t ends in h_t, so it is 1 - h_t ** 2."
)
def early_slope(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(states.roll(1, 0)))
    return _copies(deltas, x).sum(0), _copies(deltas, states[:-1]).sum(0), at_h0


@backpropagate.mistake(
    "Going back you multiplied by W_hh transposed. Forward it was h @ w_hh.T, so backward it is delta @ w_hh."
)
def forward_matrix(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh.T, grad_last, _slopes(states))
    return _copies(deltas, x).sum(0), _copies(deltas, states[:-1]).sum(0), at_h0


@backpropagate.mistake(
    "Only the last step's copy of the weights counts here. They are one weight: sum over all copies."
)
def last_copy(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(states))
    return _copies(deltas, x)[-1], _copies(deltas, states[:-1])[-1], at_h0


@backpropagate.mistake(
    "You averaged over the copies of a weight. A change of the weight changes every copy: sum."
)
def averaged_copies(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(states))
    return _copies(deltas, x).mean(0), _copies(deltas, states[:-1]).mean(0), at_h0


@backpropagate.mistake(
    "You averaged over the batch. L is the loss of the whole batch: delta.T @ ... has the sum, leave it so."
)
def averaged_batch(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(states))
    means = [_copies(deltas, inputs).sum(0) / x.shape[1] for inputs in (x, states[:-1])]
    return *means, at_h0


@backpropagate.mistake(
    "W_hh multiplied h_{t-1} at step t; in its gradient you paired delta_t with h_t."
)
def same_step(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(states))
    return _copies(deltas, x).sum(0), _copies(deltas, states[1:]).sum(0), at_h0


@backpropagate.mistake(
    "The gradient for W_hh is transposed: row i belongs to the unit that receives, as in W_hh itself."
)
def turned(x, states, w_hh, grad_last):
    deltas, at_h0 = _deltas(states, w_hh, grad_last, _slopes(states))
    return _copies(deltas, x).sum(0), _copies(deltas, states[:-1]).sum(0).T, at_h0


@backpropagate.mistake(
    "The gradient for h0 stops one step short: that is delta_1, and W_hh still lies between it and h0."
)
def one_short(x, states, w_hh, grad_last):
    deltas, _ = _deltas(states, w_hh, grad_last, _slopes(states))
    return _copies(deltas, x).sum(0), _copies(deltas, states[:-1]).sum(0), deltas[0]


# 3 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=6,
    reference=reference.clip_gradients,
    forbids=("torch.nn.utils",),
    hints=[
        "The norm is that of one long vector which holds all entries of all gradients.",
        "Norms add in squares: sum the squares of all entries, then take one square root.",
        "Above max_norm multiply every gradient by max_norm / norm; at or below it change nothing.",
    ],
)
def clip_gradients(answer, case: Case) -> None:
    """The gradients, a list of tensors, scaled by one number so that their global norm is at most max_norm."""
    wide = case.size(2, 4)
    gradients = [case.normal(wide, case.size(1, 3)), 3 * case.normal(wide), 0.1 * case.normal(2, 1)]
    norm = float(torch.cat([g.flatten() for g in gradients]).norm())
    for share, label in ((0.3 + 0.4 * float(case.uniform(1)), "above"), (2.0, "below")):
        got = answer(gradients, share * norm)
        expected = reference.clip_gradients(gradients, share * norm)
        case.expect(got, expected, label=f"norm {label} max_norm")


def _norm(gradients):
    return torch.stack([(g**2).sum() for g in gradients]).sum().sqrt()


@clip_gradients.mistake(
    "Each tensor is clipped by its own norm, which turns the direction of the step. Use one norm for all."
)
def each_its_own(gradients, max_norm):
    return [g * min(1.0, max_norm / float(g.norm())) for g in gradients]


@clip_gradients.mistake(
    "You clipped every entry to +-max_norm. That is clipping by value: it turns the gradient."
)
def by_value(gradients, max_norm):
    return [g.clamp(-max_norm, max_norm) for g in gradients]


@clip_gradients.mistake(
    "Gradients below max_norm were scaled up to it; clipping only ever makes them smaller."
)
def scaled_up(gradients, max_norm):
    return [g * (max_norm / _norm(gradients)) for g in gradients]


@clip_gradients.mistake(
    "You added the norms of the tensors. Norms add in squares: the root of the sum of their squares."
)
def added_norms(gradients, max_norm):
    scale = min(1.0, max_norm / float(sum(g.norm() for g in gradients)))
    return [g * scale for g in gradients]


@clip_gradients.mistake("The square root is missing: you divided by the squared norm.")
def no_root(gradients, max_norm):
    return [g * min(1.0, max_norm / float(_norm(gradients) ** 2)) for g in gradients]


@clip_gradients.mistake(
    "The norm of the largest tensor is not the norm of all: the others count as well."
)
def largest_tensor(gradients, max_norm):
    scale = min(1.0, max_norm / float(max(g.norm() for g in gradients)))
    return [g * scale for g in gradients]


@clip_gradients.mistake(
    "The result has norm 1 instead of max_norm: multiply by max_norm after dividing by the norm."
)
def to_one(gradients, max_norm):
    norm = _norm(gradients)
    return [g / norm if norm > max_norm else g for g in gradients]


@clip_gradients.mistake(
    "The test is the wrong way round: what is below max_norm was scaled, and what is above it was left."
)
def wrong_way_round(gradients, max_norm):
    norm = _norm(gradients)
    return [g * (max_norm / norm) if norm < max_norm else g for g in gradients]


@clip_gradients.mistake(
    "All gradients came back unchanged, also above max_norm: is your norm the root of a sum (no mean) of squares, "
    "and the scaled list what you return?"
)
def unchanged(gradients, max_norm):
    return gradients
