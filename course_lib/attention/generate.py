"""A small GPT: a language model of encoder layers that are causal, trained, cached, sampled.

p(x_{t+1} | x_1 ... x_t) = softmax(W norm(h_t)), where h = layers(embedding(x) + position), and no
layer lets a position attend a later one. All T predictions of a text are trained in one pass. To
write, the model is asked for one token at a time; as nothing before the new token changes, the keys
and values of what is written already are kept (`KeyValueCache`) and each step computes one position.

Letters: B batch, T tokens, H heads, d model size, V tokens in the vocabulary.

Sources: Radford et al. 2018, 2019 (GPT); top-k sampling: Fan et al. 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.attention.norms import LayerNorm
from course_lib.attention.positions import LearnedPositions
from course_lib.attention.transformer import TransformerEncoderLayer
from course_lib.training import History, fit

__all__ = [
    "GPT",
    "KeyValueCache",
    "RandomWindows",
    "bits_per_token",
    "generate",
    "language_model_loss",
    "sample_token",
    "train_gpt",
]


class KeyValueCache:
    """The keys and values [B, H, t, d/H] of the t positions that one layer has seen.

    There is room for max_length positions from the first call on, so that nothing is copied again.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length, self.length = max_length, 0
        self.keys: Tensor | None = None  # [B, H, max_length, d/H]
        self.values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new positions' keys and values [B, H, T, d/H]; return all, [B, H, t + T, d/H].

        Raises ValueError where there is no room for them, or they come from another batch.
        """
        if self.keys is None:
            room = (*keys.shape[:2], self.max_length, keys.size(3))
            self.keys, self.values = keys.new_empty(room), values.new_empty(room)
        end = self.length + keys.size(2)
        if end > self.max_length or keys.shape[:2] != self.keys.shape[:2]:
            raise ValueError(
                f"the cache has room for {self.max_length} positions of "
                f"[B, H] = {list(self.keys.shape[:2])} and holds {self.length}, got "
                f"{keys.size(2)} more of {list(keys.shape[:2])}: begin with an empty cache"
            )
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class GPT(nn.Module):
    """A decoder-only transformer: pre-norm layers, gelu, learned positions.

    Args:
        vocab_size: V.
        d_model, num_heads, num_layers: d, H and how many layers.
        max_length: the most tokens it can look at.
        dim_feedforward: hidden units of the network a token, 4 d unless given.
        dropout: see `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        num_heads: int,
        num_layers: int,
        max_length: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.positions = LearnedPositions(max_length, d_model)
        hidden = 4 * d_model if dim_feedforward is None else dim_feedforward
        settings = {"activation": "gelu", "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(d_model, num_heads, hidden, dropout, **settings)
            for _ in range(num_layers)
        )
        self.norm = LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        spread = (
            2 * d_model
        ) ** -0.5  # a sum over d features is then about as large as each of them
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=spread)
        for layer in self.layers:  # what the layers add should not grow with their number
            for added in (layer.self_attn.out_proj, layer.linear2):
                nn.init.normal_(added.weight, std=spread / math.sqrt(2 * num_layers))

    def empty_cache(self) -> list[KeyValueCache]:
        """A cache for each layer, before the first token."""
        return [KeyValueCache(self.max_length) for _ in self.layers]

    def forward(self, tokens: Tensor, caches: list[KeyValueCache] | None = None) -> Tensor:
        """Logits of each next token: int64 [B, T] -> [B, T, V].

        caches: those of `empty_cache`; tokens are then only the new ones, those since the last
        call, and the logits are theirs.

        Raises ValueError for tokens of another shape, and for more than max_length in all.
        """
        past = 0 if caches is None else caches[0].length
        if tokens.dim() != 2 or not 0 < past + tokens.size(1) <= self.max_length:
            raise ValueError(
                f"tokens must be [B, T] with T at most max_length {self.max_length}, got "
                f"{list(tokens.shape)} after {past} in the cache: keep the last ones only"
            )
        x = self.embedding(tokens) + self.positions(past + tokens.size(1))[past:]  # [B, T, d]
        for layer, cache in zip(self.layers, caches or [None] * len(self.layers)):
            x = layer(x, is_causal=True, cache=cache)
        return self.output(self.norm(x))


def language_model_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean cross entropy of each token given those before it, in nats: tokens [B, T + 1] -> [].

    The model reads the first T and is asked for the last T: -1/(B T) sum log p(x_{t+1} | x_1 ... x_t).
    """
    logits = model(tokens[:, :-1])  # [B, T, V]
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def bits_per_token(model: nn.Module, tokens: Tensor, length: int, batch: int = 64) -> float:
    """`language_model_loss` over a whole text [N], cut into pieces of `length` tokens, in bits.

    Each piece is read from its first token on, with nothing before it.
    """
    was_training = model.training
    model.eval()
    pieces = tokens[: len(tokens) - (len(tokens) - 1) % length]
    pieces = pieces[:-1].view(-1, length), pieces[1:].view(-1, length)  # 2 x [n, length]
    total = 0.0
    for asked, answers in zip(*(part.split(batch) for part in pieces)):
        logits = model(asked).flatten(0, 1)
        total += F.cross_entropy(logits, answers.flatten(), reduction="sum").item()
    model.train(was_training)
    return total / pieces[0].numel() / math.log(2)


class RandomWindows:
    """`count` batches [B, T + 1] of windows of a text [N], drawn anew each time it is gone through.

    Raises ValueError for a text shorter than a window.
    """

    def __init__(
        self, tokens: Tensor, count: int, batch: int, length: int, generator: torch.Generator
    ) -> None:
        if len(tokens) <= length:
            raise ValueError(f"the text has {len(tokens)} tokens, a window needs {length + 1}")
        self.tokens, self.count, self.batch, self.length = tokens, count, batch, length
        self.generator = generator

    def __iter__(self) -> Iterator[Tensor]:
        steps = torch.arange(self.length + 1)
        last = len(self.tokens) - self.length
        for _ in range(self.count):
            starts = torch.randint(last, (self.batch, 1), generator=self.generator)
            yield self.tokens[starts + steps]  # [B, T + 1]


def train_gpt(
    model: GPT,
    tokens: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    batch: int = 32,
    lr: float = 3e-3,
    warmup: int = 50,
    epochs: int = 10,
    progress: bool = True,
) -> History:
    """Train on random windows of a text [N] with AdamW; the mean loss of each of `epochs` parts.

    The learning rate rises in a straight line for `warmup` steps, then falls as half a cosine to a
    tenth of `lr`. Gradients are clipped to norm 1.
    """

    def share(step: int) -> float:
        fallen = min(max(step - warmup, 0) / max(steps - warmup, 1), 1.0)
        return min((step + 1) / warmup, 1.0) * (0.55 + 0.45 * math.cos(math.pi * fallen))

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    optimizer.register_step_pre_hook(clip)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    windows = RandomWindows(tokens, steps // epochs, batch, model.max_length, generator)
    return fit(
        model, language_model_loss, windows, epochs=epochs, optimizer=optimizer, progress=progress
    )


def sample_token(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw from softmax(logits / temperature) among the top_k largest logits: [B, V] -> int64 [B].

    temperature 0 takes the largest logit. Without top_k all tokens can be drawn.

    Raises ValueError for a negative temperature and for a top_k below 1.
    """
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(f"temperature is at least 0 and top_k 1, got {temperature} and {top_k}")
    if temperature == 0:
        return logits.argmax(-1)
    kept, places = logits.topk(min(top_k or logits.size(-1), logits.size(-1)), dim=-1)
    chosen = torch.multinomial((kept / temperature).softmax(-1), 1, generator=generator)
    return places.gather(-1, chosen).squeeze(-1)  # [B, 1] -> [B]


@torch.no_grad()
def generate(
    model: GPT,
    tokens: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Go on writing: int64 [B, T] -> [B, T + max_new_tokens].

    temperature, top_k, generator: see `sample_token`. use_cache=False computes all positions anew
    for each token: the same tokens, at more cost.

    The model looks at max_length tokens at most. Where it has that many before it, the earlier half
    is forgotten and the other half takes its positions, with the cache and without.
    """
    was_training = model.training
    model.eval()
    begin = max(tokens.size(1) - model.max_length, 0)  # what the model looks at begins here
    caches = model.empty_cache() if use_cache else None
    for _ in range(max_new_tokens):
        if tokens.size(1) - begin > model.max_length:
            begin = tokens.size(1) - model.max_length // 2
            caches = model.empty_cache() if use_cache else None
        seen = begin + (caches[0].length if caches else 0)
        logits = model(tokens[:, seen:], caches)[:, -1]  # [B, V]
        new = sample_token(logits, temperature, top_k, generator)
        tokens = torch.cat([tokens, new[:, None]], 1)
    model.train(was_training)
    return tokens
