"""How good is an alignment? The alignment error rate against links set by hand.

A link (t, s) says that target token t, one of Tq, is the translation of source token s, one of Tk.
People mark some links as sure (S) and others as merely possible (P, which contains S); the model's
links are A.

    AER = 1 - (|A and S| + |A and P|) / (|A| + |S|)

It is 0 where A holds every sure link and nothing but possible ones, and 1 where A holds no possible
link.

Source: Och and Ney 2003, section 4.1, https://aclanthology.org/J03-1002/.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["alignment_error_rate", "best_alignment"]


def best_alignment(weights: Tensor, rows: Tensor | None = None) -> Tensor:
    """Links from attention weights: each target to its heaviest source, bool [..., Tq, Tk].

    weights: [..., Tq, Tk]. rows: bool [..., Tq], the targets that get a link; left out, all. A row of
    zeros (all masked) gets none; of equal weights the first counts.
    """
    top = weights.max(-1, keepdim=True)
    links = torch.zeros_like(weights, dtype=torch.bool).scatter_(-1, top.indices, top.values > 0)
    return links if rows is None else links & rows.unsqueeze(-1)


def alignment_error_rate(alignment: Tensor, sure: Tensor, possible: Tensor | None = None) -> float:
    """AER of the links `alignment` against `sure` and `possible`, each bool [..., Tq, Tk].

    All leading axes are counted together, as over a corpus. possible: left out, the sure links are
    all there are. Padding and targets that nobody aligned must have no link in `alignment`
    (`best_alignment(weights, rows=possible.any(-1))`). Where there is no link at all the rate is 0.

    Raises ValueError for shapes that differ, tensors that are not bool, and a sure link that is not
    possible.
    """
    possible = sure if possible is None else possible
    for name, links in (("alignment", alignment), ("sure", sure), ("possible", possible)):
        if links.dtype != torch.bool or links.shape != alignment.shape:
            raise ValueError(
                f"{name} must be bool {list(alignment.shape)} as the alignment is, "
                f"got {links.dtype} {list(links.shape)}"
            )
    if (sure & ~possible).any():
        raise ValueError("every sure link is a possible one: pass possible=possible | sure")
    counted = int(alignment.sum() + sure.sum())
    hits = int((alignment & sure).sum() + (alignment & possible).sum())
    return 1 - hits / counted if counted else 0.0
