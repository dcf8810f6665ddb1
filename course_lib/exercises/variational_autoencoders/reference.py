"""The references of unit 07, by other means than the lab's.

The lab takes a singular value decomposition where this takes eigenvectors, writes densities out where this asks
torch.distributions, and trains with torch.optim where this steps by hand. Sums over pixels and latents, one value a
row, in nats; `log_var` is the logarithm of a variance.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

from course_lib.exercises.graph_networks.reference import adam_step

HIDDEN = 128  # units of the one hidden layer of an encoder or a decoder


def pca_reconstruct(train: Tensor, test: Tensor, k: int) -> Tensor:
    """test [M, D] through the k eigenvectors of train's covariance with the largest eigenvalues."""
    mean = train.double().mean(0)
    centred = train.double() - mean
    span = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -k:]  # [D, k]
    return (mean + (test.double() - mean) @ span @ span.T).to(test.dtype)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)): [B, k] -> [B]."""
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(_normal(mean, log_var), prior).sum(-1)


def _normal(mean: Tensor, log_var: Tensor) -> Normal:
    return Normal(mean, log_var.exp().sqrt(), validate_args=False)


def reparameterise(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """mean + sigma noise; noise [..., B, k] -> [..., B, k]."""
    return torch.addcmul(mean, log_var.exp().sqrt(), noise)


def elbo(
    logits: Tensor, x: Tensor, mean: Tensor, log_var: Tensor, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(reconstruction - beta KL, reconstruction, KL), each [B]."""
    reconstruction = Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)
    kl = gaussian_kl(mean, log_var)
    return reconstruction - beta * kl, reconstruction, kl


def iwae_bound(log_likelihood: Tensor, z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log 1/K sum_i p(z_i) p(x | z_i) / q(z_i | x); log_likelihood [K, B], z [K, B, k] -> [B]."""
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean)).log_prob(z).sum(-1)
    log_weights = log_likelihood + prior - _normal(mean, log_var).log_prob(z).sum(-1)
    largest = log_weights.detach().amax(0)  # [K, B] -> [B]
    return largest + (log_weights - largest).exp().mean(0).log()


def gumbel_softmax(logits: Tensor, uniform: Tensor, tau: float, hard: bool) -> Tensor:
    """softmax((logits - log(-log u)) / tau) over the last axis; hard: one-hot, with the gradient of the soft one."""
    scores = (logits - uniform.log().neg().log()) / tau
    soft = (scores - scores.logsumexp(-1, keepdim=True)).exp()
    if not hard:
        return soft
    one_hot = F.one_hot(scores.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return one_hot + soft - soft.detach()


def active_units(mean: Tensor, threshold: float) -> Tensor:
    """Which columns of mean [N, k] vary by more than threshold: bool [k]."""
    return mean.square().mean(0) - mean.mean(0).square() > threshold


def train_vae(x: Tensor, latent_size: int, epochs: int, beta: float) -> list[Tensor]:
    """The eight weights of a VAE trained on x [N, D]: encoder W1, b1, W2, b2, then the decoder's.

    The same question is answered once, and remembered.
    """
    data = x.contiguous().numpy().tobytes()
    return [w.clone() for w in _remembered(data, tuple(x.shape), latent_size, epochs, beta)]


@functools.lru_cache(maxsize=16)
def _remembered(
    data: bytes, shape: tuple[int, int], latent_size: int, epochs: int, beta: float
) -> list[Tensor]:
    x = torch.frombuffer(bytearray(data), dtype=torch.float32).view(shape)
    return fit_vae(x, latent_size, epochs, beta)


def fit_vae(
    x: Tensor, latent_size: int, epochs: int, beta: float, noise: float = 1.0
) -> list[Tensor]:
    """As `train_vae`, each time anew; `noise` multiplies what is drawn (0: no draw at all)."""
    random = torch.Generator().manual_seed(0)
    pixels = x.shape[1]
    sizes = (pixels, HIDDEN, 2 * latent_size), (latent_size, HIDDEN, pixels)
    weights = [p for a, h, b in sizes for p in (*_layer(a, h, random), *_layer(h, b, random))]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in weights]
    step = 0
    for epoch in range(epochs):
        rate = 5e-3 * (1 - epoch / epochs)
        for rows in torch.randperm(len(x), generator=random).split(64):
            step += 1
            eps = noise * torch.randn(len(rows), latent_size, generator=random)
            leaves = [p.requires_grad_() for p in weights]
            slopes = torch.autograd.grad(_loss(leaves, x[rows], eps, beta), leaves)
            weights = [p.detach() for p in leaves]
            adam_step(weights, slopes, moments, step, lr=rate, weight_decay=0.0)
    return weights


def _layer(inputs: int, outputs: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    bound = inputs**-0.5
    weight = torch.rand(outputs, inputs, generator=random)
    return bound * (2 * weight - 1), torch.zeros(outputs)


def _loss(weights: list[Tensor], x: Tensor, eps: Tensor, beta: float) -> Tensor:
    mean, log_var = encode(weights, x)
    logits = decode(weights, mean + torch.exp(log_var / 2) * eps)
    entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = (mean.square() + log_var.exp() - 1 - log_var).sum() / 2
    return (entropy + beta * kl) / len(x)


def encode(weights: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """mean and log_var, each [B, k], of the rows x [B, D]."""
    w1, b1, w2, b2 = weights[:4]
    mean, log_var = F.linear(F.linear(x, w1, b1).relu(), w2, b2).chunk(2, -1)
    return mean, log_var


def decode(weights: list[Tensor], z: Tensor) -> Tensor:
    """Logits [..., B, D] of z [..., B, k]."""
    w1, b1, w2, b2 = weights[4:]
    return F.linear(F.linear(z, w1, b1).relu(), w2, b2)


@torch.no_grad()
def judged(
    weights: list[Tensor], x: Tensor, generator: torch.Generator, draws: int = 8
) -> tuple[float, float]:
    """(reconstruction, KL) of a trained VAE on the rows x, means over the rows and over `draws` draws of z."""
    mean, log_var = encode(weights, x)
    eps = torch.randn(draws, *mean.shape, generator=generator)
    logits = decode(weights, mean + torch.exp(log_var / 2) * eps)  # [S, B, D]
    likelihood = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    kl = (mean.square() + log_var.exp() - 1 - log_var).sum(-1) / 2
    return float(likelihood.sum(-1).mean()), float(kl.mean())


@torch.no_grad()
def baseline(train: Tensor, x: Tensor) -> float:
    """The mean log-likelihood of x when each pixel is a coin of its own, counted in train by Laplace's rule."""
    chance = (train.sum(0) + 1) / (len(train) + 2)
    return float((x * chance.log() + (1 - x) * torch.log1p(-chance)).sum(-1).mean())
