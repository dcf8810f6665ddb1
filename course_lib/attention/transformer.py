"""The transformer: layers of attention and a small network a token, with torch's names and values.

A layer has two sublayers (a decoder's three), each with a way around it that adds its input:

    norm_first=False, post-norm: x <- norm(x + sublayer(x))      (Vaswani et al. 2017)
    norm_first=True,  pre-norm:  x <- x + sublayer(norm(x))      (Xiong et al. 2020: trains without warm-up)

    encoder layer: self-attention, then linear2(activation(linear1(x))) on each token
    decoder layer: self-attention, cross-attention (queries from the decoder, keys and values from
        the encoder's output), then the network a token

Parameters carry torch.nn's names and shapes and are drawn in the same order: the same seed gives the
same weights, and a state_dict loads in both directions. Values and gradients are torch's too.

Settings, in torch's order:
    d_model, nhead: features d of a token, and heads H, which must divide d.
    dim_feedforward: hidden units of the network a token.
    dropout: share that training drops of the attention's weights, of the hidden units, and of what
        a sublayer adds.
    activation: "relu", "gelu" or a function.
    layer_norm_eps: added to the variance in each norm.
    batch_first: [B, T, d] instead of [T, B, d]. Without a batch, [T, d].
    norm_first: pre-norm.
    bias: learn biases.

Masks are those of `MultiheadAttention` (bool: True may NOT be attended).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.attention.multihead import MultiheadAttention
from course_lib.attention.norms import LayerNorm

if TYPE_CHECKING:
    from course_lib.attention.generate import KeyValueCache

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = str | Callable[[Tensor], Tensor]
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class _Layer(nn.Module):
    """What both layers share: the self-attention, the network a token, norms and dropouts."""

    attentions = ("self_attn",)  # the names of its attention sublayers

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f'activation must be "relu", "gelu" or a function, got {activation!r}')
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.norm_first = norm_first
        options = {"bias": bias, "device": device, "dtype": dtype}
        for name in self.attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, batch_first=batch_first, **options
            )
            self.add_module(name, attention)
        self.linear1 = nn.Linear(d_model, dim_feedforward, **options)
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model, **options)
        sublayers = range(1, len(self.attentions) + 2)
        for number in sublayers:
            self.add_module(f"norm{number}", LayerNorm(d_model, layer_norm_eps, **options))
        for number in sublayers:
            self.add_module(f"dropout{number}", nn.Dropout(dropout))

    def _around(self, number: int, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Sublayer `number` with its norm, its dropout and the way around it."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(sublayer(norm(x)))
        return norm(x + dropout(sublayer(x)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        """linear2(activation(linear1(x))): [..., d] -> [..., dim_feedforward] -> [..., d]."""
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a network a token: as torch.nn.TransformerEncoderLayer."""

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """[T, B, d] (or [B, T, d]) -> the same shape.

        src_mask [T, T], src_key_padding_mask [B, T], is_causal: as `MultiheadAttention`'s.
        cache: ours alone; keys and values of the positions before src.
        """

        def attend(x: Tensor) -> Tensor:
            masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
            return self.self_attn(
                x, x, x, **masks, is_causal=is_causal, need_weights=False, cache=cache
            )[0]

        return self._around(2, self._around(1, src, attend), self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder, a network a token: as torch.nn.TransformerDecoderLayer."""

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Target [T, B, d] and the encoder's output [S, B, d] (or batch first) -> [T, B, d].

        tgt_mask [T, T], tgt_key_padding_mask [B, T]: who attends whom in the target; to be causal,
        pass tgt_is_causal=True (with or without the mask). memory_mask [T, S] and
        memory_key_padding_mask [B, S]: which part of the encoder's output is attended.
        """

        def attend(x: Tensor) -> Tensor:
            masks = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask}
            return self.self_attn(x, x, x, **masks, is_causal=tgt_is_causal, need_weights=False)[0]

        def attend_memory(x: Tensor) -> Tensor:
            masks = {"attn_mask": memory_mask, "key_padding_mask": memory_key_padding_mask}
            return self.multihead_attn(
                x, memory, memory, **masks, is_causal=memory_is_causal, need_weights=False
            )[0]

        x = self._around(1, tgt, attend)
        return self._around(3, self._around(2, x, attend_memory), self._feed_forward)


class _Stack(nn.Module):
    """num_layers copies of a layer, with its weights to begin with, and a norm at the end."""

    def __init__(self, layer: nn.Module, num_layers: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.norm = norm

    def _run(self, x: Tensor, *others: Tensor, **masks: Tensor | bool | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, *others, **masks)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """A stack of encoder layers: as torch.nn.TransformerEncoder.

    Every layer starts as a copy of `encoder_layer`, weights included. A pre-norm stack needs a
    `norm` at the end, or its output is never normalised.
    """

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """[T, B, d] (or [B, T, d]) -> the same shape; masks as the layer's, the same for all."""
        masks = {"src_mask": mask, "src_key_padding_mask": src_key_padding_mask}
        return self._run(src, **masks, is_causal=is_causal)


class TransformerDecoder(_Stack):
    """A stack of decoder layers, all of which attend to the same memory: as torch.nn.TransformerDecoder."""

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Target [T, B, d] and memory [S, B, d] -> [T, B, d]; the rest as the layer's."""
        return self._run(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )


class Transformer(nn.Module):
    """Encoder and decoder, each with a norm at the end: as torch.nn.Transformer, without embeddings.

    num_encoder_layers, num_decoder_layers: how many layers; the other settings are the layers'.
    Matrices are drawn from Glorot's uniform distribution, each layer its own.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        **settings,
    ) -> None:
        super().__init__()
        layer = (d_model, nhead, dim_feedforward, dropout, activation)
        norm = {key: settings[key] for key in ("bias", "device", "dtype") if key in settings}
        norm["eps"] = settings.get("layer_norm_eps", 1e-5)
        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(*layer, **settings),
            num_encoder_layers,
            LayerNorm(d_model, **norm),
        )
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(*layer, **settings),
            num_decoder_layers,
            LayerNorm(d_model, **norm),
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Source [S, B, d] and target [T, B, d] (or batch first) -> [T, B, d]."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
