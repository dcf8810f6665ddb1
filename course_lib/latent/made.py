"""An autoregressive model in one network: masks let output d see only the inputs before d.

    p(x) = product over d of p(x_d | x_1, ..., x_{d-1})

Every unit has a degree. Input d has degree d; a hidden unit of degree m may hear inputs and hidden
units of degree <= m; the outputs of entry d hear hidden units of degree < d. So all D conditionals
come from one pass, while a sample needs D passes, one entry after the other; there is no code.
One value a row [B], summed over the D entries, in nats.

Source: Germain, Gregor, Murray and Larochelle 2015, https://arxiv.org/abs/1502.03509 (MADE).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.latent.densities import bernoulli_log_likelihood, gaussian_noise

__all__ = ["MADE", "MaskedLinear", "made_masks"]

LEAST, MOST = -7.0, 7.0  # of a conditional's log-variance


def made_masks(
    size: int, hidden_sizes: Sequence[int], outputs: int = 1, order: Tensor | None = None
) -> list[Tensor]:
    """The masks of the layers, bool [out, in] each, true where a weight may stay.

    Args:
        size: D, inputs.
        hidden_sizes: units of each hidden layer; their degrees go through 1..D-1 again and again.
        outputs: numbers that the network gives for each entry; entry by entry, [D * outputs] rows.
        order: int64 [D], a permutation: order[d] is the place (0 first) of entry d. None: 0, 1, ...

    Raises ValueError where a size is below 1, no hidden layer is named or order is no permutation.
    """
    if min([size, outputs, *hidden_sizes]) < 1 or not hidden_sizes:
        raise ValueError(
            f"need sizes of at least 1 and a hidden layer, got {size}, {tuple(hidden_sizes)} and "
            f"{outputs} outputs"
        )
    places = torch.arange(size) if order is None else order.cpu()
    if places.shape != (size,) or places.sort().values.tolist() != list(range(size)):
        raise ValueError(f"order must be a permutation of 0..{size - 1}, got {places.tolist()}")
    degrees = [places + 1, *(torch.arange(n) % max(1, size - 1) + 1 for n in hidden_sizes)]
    masks = [after[:, None] >= before for before, after in itertools.pairwise(degrees)]
    last = (places + 1).repeat_interleave(outputs)
    return [*masks, last[:, None] > degrees[-1]]


class MaskedLinear(nn.Linear):
    """x (W * mask)^T + b: a linear layer in which only the weights under the mask count."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.size(1), mask.size(0))
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """p(x_d | x_1..x_{d-1}) as a coin for pixels, or as a mixture of Gaussians for real numbers.

    Args:
        size: D.
        hidden_sizes: units of the hidden layers (ReLU).
        likelihood: "gaussian" for real x, "bernoulli" for x of zeros and ones.
        components: Gaussians in each conditional's mixture; 1 is a plain Gaussian.
        order: as in `made_masks`.

    Raises ValueError for another likelihood, components below 1, or what `made_masks` refuses.
    """

    def __init__(
        self,
        size: int = 2,
        hidden_sizes: Sequence[int] = (64, 64),
        likelihood: str = "gaussian",
        components: int = 8,
        order: Tensor | None = None,
    ) -> None:
        super().__init__()
        if likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f'likelihood must be "bernoulli" or "gaussian", got {likelihood!r}')
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        self.size, self.likelihood, self.components = size, likelihood, components
        outputs = 1 if likelihood == "bernoulli" else 3 * components
        masks = made_masks(size, hidden_sizes, outputs, order)
        layers: list[nn.Module] = [MaskedLinear(masks[0])]
        for mask in masks[1:]:
            layers += [nn.ReLU(), MaskedLinear(mask)]
        self.network = nn.Sequential(*layers)
        places = torch.arange(size) if order is None else order.cpu()
        self.register_buffer("sequence", places.argsort())  # the entries in the order of sampling
        if likelihood == "gaussian":
            with torch.no_grad():  # means of a mixture start apart, or its parts would stay alike
                bias = layers[-1].bias.view(size, 3, components)
                bias[:, 1] += torch.linspace(-1, 1, components) if components > 1 else 0.0
                bias[:, 2] -= math.log(components)

    def parameters_of(self, x: Tensor) -> Tensor:
        """What the network says of each entry from those before it: x [B, D] -> [B, D, outputs].

        Bernoulli: one logit. Gaussian: `components` each of logits of the weights, means and
        log-variances, in this order.
        """
        if x.dim() != 2 or x.size(1) != self.size:
            raise ValueError(f"this MADE takes [B, {self.size}], got {list(x.shape)}")
        return self.network(x).unflatten(-1, (self.size, -1))

    def log_prob(self, x: Tensor) -> Tensor:
        """sum over d of log p(x_d | x_1..x_{d-1}): x [B, D] -> [B], in nats, exact, in one pass."""
        outputs = self.parameters_of(x)
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(outputs.squeeze(-1), x)
        log_weight, mean, log_var = self._mixture(outputs)
        squares = (x.unsqueeze(-1) - mean).square() * torch.exp(-log_var)
        parts = log_weight - (squares + log_var + math.log(2 * math.pi)) / 2  # [B, D, C]
        return parts.logsumexp(-1).sum(-1)

    @torch.no_grad()
    def sample(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """`number` draws [number, D]: D passes, each for the next entry of all rows."""
        x = self.network[0].weight.new_zeros(number, self.size)
        for entry in self.sequence.tolist():
            outputs = self.parameters_of(x)[:, entry]  # [number, outputs]
            if self.likelihood == "bernoulli":
                drawn = self._uniform(x, generator) < torch.sigmoid(outputs[:, 0])
                x[:, entry] = drawn.to(x.dtype)
                continue
            log_weight, mean, log_var = self._mixture(outputs)
            upto = log_weight.exp().cumsum(-1)
            below = upto < self._uniform(x, generator).unsqueeze(-1)
            part = below.sum(-1, keepdim=True).clamp_max(self.components - 1)
            mean, log_var = (value.gather(1, part).squeeze(1) for value in (mean, log_var))
            noise = gaussian_noise(mean, generator=generator)
            x[:, entry] = mean + torch.exp(log_var / 2) * noise
        return x

    def _mixture(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[..., 3 C] -> log weights, means and bounded log-variances, each [..., C]."""
        logits, mean, log_var = outputs.chunk(3, -1)
        return logits.log_softmax(-1), mean, log_var.clamp(LEAST, MOST)

    @staticmethod
    def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
        """One number in 0..1 for each row of x [B, D], drawn where the generator lives: [B]."""
        device = x.device if generator is None else generator.device
        return torch.rand(len(x), generator=generator, dtype=x.dtype, device=device).to(x.device)
