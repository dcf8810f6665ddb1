"""Sequence to sequence: a GRU reads the source, another writes the target, attention between.

    k_s = GRU_source(x_s, k_{s-1})                       keys, and the values too
    s_t = GRU_target(y_{t-1}, s_{t-1}),  s_0 = k_S       the decoder's state
    alpha_t = softmax over s of score(query, k_s),  c_t = sum_s alpha_ts k_s
    a_t = tanh(W [c_t; s_t]),  p(y_t | ...) = softmax(R a_t)

Two conventions differ in which state asks, `timing`:

    "before" (Bahdanau)  the query is s_{t-1}, and c_t is an input of the step: GRU([y_{t-1}; c_t], s_{t-1})
    "after" (Luong)      the query is s_t, the state the step has made; c_t enters a_t only. With
                         `input_feeding`, a_{t-1} is an input of the next step.

Under teacher forcing, "after" without input feeding has no loop of its own: one call of the GRU, one
product for all scores. The other two go step by step, since c_t or a_{t-1} enters the next state.
Without attention (`score=None`) the context is c_t = c = k_S at every step, the fixed vector of the
first such models (Cho et al. 2014, https://arxiv.org/abs/1406.1078).

Sources: Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473; Luong et al. 2015,
https://arxiv.org/abs/1508.04025.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from course_lib.attention.beam import Beams, beam_step
from course_lib.attention.local import GlobalWeights
from course_lib.attention.scores import Score, context
from course_lib.attention.tasks import END, PAD, START, Translation
from course_lib.training import History, fit

__all__ = [
    "Memory",
    "Seq2Seq",
    "State",
    "exact_match",
    "seq2seq_loss",
    "token_accuracy",
    "train_seq2seq",
]


class Memory(NamedTuple):
    """What the encoder leaves to the decoder.

    keys [B, S, d_k], their projections by the score (computed once), the key mask bool [B, S], and
    the encoder's last state c [B, d_k].
    """

    keys: Tensor
    projected: Tensor | None
    mask: Tensor
    last: Tensor


class State(NamedTuple):
    """Between two target steps: s_t [B, H], a_t [B, H], and how many steps were made."""

    hidden: Tensor
    attentional: Tensor
    steps: int


class Seq2Seq(nn.Module):
    """GRU encoder and decoder with any score.

    Args:
        source_size, target_size: numbers of tokens of the two vocabularies.
        hidden_size: H of the decoder, and of the encoder in each direction.
        score: compares queries [.., H] with keys [.., d_k], d_k = H (2 H where bidirectional);
            None for no attention.
        timing: "before" or "after", see above.
        input_feeding: give a_{t-1} to step t; only with "after".
        weighting: how scores become weights: `GlobalWeights`, `LocalMWeights`, `LocalPWeights`.
        bidirectional: a second encoder reads from the end; s_0 is then tanh of a linear map of both ends.
        embedding_size: of a token, left out H.

    Raises ValueError for an unknown timing, or input feeding with timing "before".
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        hidden_size: int,
        score: Score | None = None,
        *,
        timing: str = "after",
        input_feeding: bool = False,
        weighting: nn.Module | None = None,
        bidirectional: bool = False,
        embedding_size: int | None = None,
    ) -> None:
        super().__init__()
        if timing not in ("before", "after"):
            raise ValueError(f'timing must be "before" or "after", got {timing!r}')
        if input_feeding and timing == "before":
            raise ValueError('input_feeding belongs to timing="after": "before" feeds c_t already')
        self.timing, self.input_feeding = timing, input_feeding
        self.score, self.weighting = score, weighting or GlobalWeights()
        size, width = embedding_size or hidden_size, hidden_size * (1 + bidirectional)
        fed = width if timing == "before" else hidden_size * input_feeding
        self.source_embedding = nn.Embedding(source_size, size, padding_idx=PAD)
        self.target_embedding = nn.Embedding(target_size, size, padding_idx=PAD)
        self.encoder = nn.GRU(size, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.bridge = nn.Identity()
        if bidirectional:
            self.bridge = nn.Sequential(nn.Linear(width, hidden_size), nn.Tanh())
        self.decoder = nn.GRU(size + fed, hidden_size, batch_first=True)
        self.combine = nn.Linear(width + hidden_size, hidden_size)  # W
        self.read_out = nn.Linear(hidden_size, target_size)  # R

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Read sources int64 [B, S]; mask bool [B, S] is True at tokens, which stand first.

        Raises ValueError for a row that is empty or begins with padding.
        """
        if not (mask[:, 0].all() and (mask[:, 1:] <= mask[:, :-1]).all()):
            raise ValueError("mask must be True at a row's tokens, which stand before its padding")
        embedded = self.source_embedding(source)  # [B, S] -> [B, S, E]
        packed = pack_padded_sequence(
            embedded, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, last = self.encoder(packed)
        keys, _ = pad_packed_sequence(states, batch_first=True, total_length=source.size(1))
        last = last.transpose(0, 1).flatten(1)  # [directions, B, H] -> [B, d_k]
        projected = None if self.score is None else self.score.project(keys)
        return Memory(keys, projected, mask, last)

    def start(self, memory: Memory) -> State:
        """The decoder's state before its first step."""
        hidden = self.bridge(memory.last)
        return State(hidden, torch.zeros_like(hidden), 0)

    def attend(self, query: Tensor, memory: Memory, first: int) -> tuple[Tensor, Tensor | None]:
        """Contexts [B, T, d_k] and weights [B, T, S] of queries [B, T, H], steps first, first + 1, ..."""
        if self.score is None:
            return memory.last.unsqueeze(1).expand(-1, query.size(1), -1), None
        scores = self.score.compare(query, memory.projected)
        weights = self.weighting(scores, query, memory.mask, first)
        return context(weights, memory.keys), weights

    def decode(
        self, tokens: Tensor, memory: Memory, state: State
    ) -> tuple[Tensor, Tensor | None, State]:
        """Read tokens int64 [B, T], say what comes after each: logits [B, T, V], weights, the state."""
        embedded = self.target_embedding(tokens)  # [B, T] -> [B, T, E]
        if self.timing == "after" and not self.input_feeding:
            states, hidden = self.decoder(embedded, state.hidden.unsqueeze(0))
            contexts, weights = self.attend(states, memory, state.steps)
            attentional = torch.tanh(self.combine(torch.cat([contexts, states], -1)))
            state = State(hidden[0], attentional[:, -1], state.steps + tokens.size(1))
            return self.read_out(attentional), weights, state
        steps = []
        for step in embedded.split(1, dim=1):
            attentional, weights, state = self._step(step, memory, state)
            steps.append((attentional, weights))
        attentional = torch.cat([part for part, _ in steps], 1)
        weights = None if self.score is None else torch.cat([part for _, part in steps], 1)
        return self.read_out(attentional), weights, state

    def _step(
        self, embedded: Tensor, memory: Memory, state: State
    ) -> tuple[Tensor, Tensor | None, State]:
        """One step [B, 1, E] of the forms whose step needs what attention gave."""
        hidden = state.hidden.unsqueeze(0)  # [1, B, H]
        if self.timing == "before":
            contexts, weights = self.attend(state.hidden.unsqueeze(1), memory, state.steps)
            output, hidden = self.decoder(torch.cat([embedded, contexts], -1), hidden)
        else:
            fed = torch.cat([embedded, state.attentional.unsqueeze(1)], -1)
            output, hidden = self.decoder(fed, hidden)
            contexts, weights = self.attend(output, memory, state.steps)
        attentional = torch.tanh(self.combine(torch.cat([contexts, output], -1)))  # [B, 1, H]
        return attentional, weights, State(hidden[0], attentional[:, 0], state.steps + 1)

    def forward(
        self, source: Tensor, source_mask: Tensor, target_in: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Teacher forcing: logits [B, T, V] and alignments [B, T, S] (None without attention)."""
        memory = self.encode(source, source_mask)
        logits, weights, _ = self.decode(target_in, memory, self.start(memory))
        return logits, weights

    @torch.no_grad()
    def greedy(
        self, source: Tensor, source_mask: Tensor, max_length: int
    ) -> tuple[Tensor, Tensor | None]:
        """The likeliest token at each step: tokens int64 [B, T] and alignments [B, T, S].

        T is max_length, or less where every row has said END; behind it stands PAD.
        """
        memory = self.encode(source, source_mask)
        state = self.start(memory)
        token = torch.full_like(source[:, :1], START)
        done = torch.zeros_like(token, dtype=torch.bool)
        tokens, alignments = [], []
        for _ in range(max_length):
            logits, weights, state = self.decode(token, memory, state)
            token = logits.argmax(-1).masked_fill(done, PAD)  # [B, 1]
            tokens.append(token)
            alignments.append(weights)
            done = done | _ends(token)
            if done.all():
                break
        return torch.cat(tokens, 1), None if self.score is None else torch.cat(alignments, 1)

    @torch.no_grad()
    def beam_search(
        self, source: Tensor, source_mask: Tensor, width: int, max_length: int
    ) -> Beams:
        """The `width` best translations that a beam of that width finds, by log p, best first.

        At every step each of the K kept prefixes is extended by every token, and the K likeliest
        of all stay. width = 1 is `greedy`. Raises ValueError for a width below 1.
        """
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        memory = self.encode(source, source_mask)
        batch = source.size(0)
        state, memory = self.start(memory), _repeat(memory, width)
        state = State(*(part.repeat_interleave(width, 0) for part in state[:2]), 0)
        tokens = torch.full((batch, width, 1), START, device=source.device)
        # one beam is alive at first, else K equal ones would fill the beam
        log_probs = state.hidden.new_full((batch, width), -torch.inf)
        log_probs[:, 0] = 0.0
        for _ in range(max_length):
            logits, _, state = self.decode(tokens[:, :, -1].reshape(-1, 1), memory, state)
            next_log_probs = logits.log_softmax(-1).view(batch, width, -1)
            finished = _ends(tokens[:, :, -1])
            log_probs, parent, token = beam_step(log_probs, next_log_probs, finished)
            tokens = tokens.gather(1, parent.unsqueeze(-1).expand_as(tokens))
            tokens = torch.cat([tokens, token.unsqueeze(-1)], -1)
            rows = (parent + width * torch.arange(batch, device=source.device)[:, None]).flatten()
            state = State(*(part.index_select(0, rows) for part in state[:2]), state.steps)
            if _ends(token).all():
                break
        return Beams(tokens[:, :, 1:], log_probs)


def _ends(token: Tensor) -> Tensor:
    """Is the translation over? PAD ends it too, should an untrained model say it."""
    return (token == END) | (token == PAD)


def _repeat(memory: Memory, times: int) -> Memory:
    return Memory(*(None if p is None else p.repeat_interleave(times, 0) for p in memory))


def seq2seq_loss(model: Seq2Seq, batch: Translation) -> Tensor:
    """The mean cross-entropy of the target tokens (padding apart) under teacher forcing, []."""
    logits, _ = model(batch.source, batch.source_mask, batch.target_in)
    return F.cross_entropy(logits.flatten(0, 1), batch.target.flatten(), ignore_index=PAD)


def train_seq2seq(
    model: Seq2Seq,
    draw: Callable[[], Translation],
    steps: int,
    *,
    lr: float = 3e-3,
    progress: bool = True,
) -> History:
    """`steps` steps of Adam, each on a new batch from `draw()`; a step is an epoch of the history."""
    return fit(
        model,
        lambda model, _: seq2seq_loss(model, draw()),
        [None],
        epochs=steps,
        optimizer=torch.optim.Adam(model.parameters(), lr=lr),
        progress=progress,
    )


@torch.no_grad()
def token_accuracy(model: Seq2Seq, batch: Translation) -> float:
    """Share of the target tokens (END included) that the model gives the most probability.

    Under teacher forcing: each token is judged after the right ones before it, so that one fault does
    not shift all that follow.
    """
    logits, _ = model(batch.source, batch.source_mask, batch.target_in)
    right = (logits.argmax(-1) == batch.target) & batch.target_mask
    return float(right.sum() / batch.target_mask.sum())


def exact_match(model: Seq2Seq, batch: Translation) -> float:
    """Share of the rows that greedy decoding translates without a fault, END included."""
    length = batch.target.size(1)
    tokens, _ = model.greedy(batch.source, batch.source_mask, length)
    said = F.pad(tokens, (0, length - tokens.size(1)), value=PAD)
    return float((said == batch.target).all(1).double().mean())
