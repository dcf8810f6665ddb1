"""What every experiment shares: a device, a seed, a budget, and one training loop that can resume."""

from __future__ import annotations

import copy
import math
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

T = TypeVar("T")


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, or belongs to another model or optimizer. It is left as it is."""


@dataclass
class History:
    """What happened in each epoch, by epoch number 0, 1, ...

    Args:
        train_loss: mean of the loss over the batches of an epoch, as trained (with dropout).
        validation: what `validate` returned after each epoch; empty without it.
        best_epoch: the epoch of the lowest validation, None without `validate`.
        stopped_early: whether patience ran out.
    """

    train_loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs were trained."""
        return len(self.train_loss)


def pick_device(name: str | None = None) -> torch.device:
    """The device to work on: `name`, else $COURSE_DEVICE, else the first of cuda, mps, cpu there is.

    Raises ValueError for a name other than "cpu", "cuda", "cuda:1", "mps", and RuntimeError where
    the device is not there.
    """
    wanted = name or os.environ.get("COURSE_DEVICE") or ""
    said_by = "pick_device" if name else "COURSE_DEVICE"
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if not wanted:
        return torch.device(next((kind for kind, count in there.items() if count), "cpu"))
    matched = re.fullmatch(r"(cpu|cuda|mps)(?::(\d+))?", wanted)
    if matched is None:
        raise ValueError(f'{said_by} got {wanted!r}: use "cpu", "cuda", "cuda:1" or "mps"')
    count = there.get(matched[1], 1)
    if int(matched[2] or 0) >= count:
        raise RuntimeError(
            f"{said_by} asks for {wanted!r}, but torch {torch.__version__} finds {count} such "
            'devices here: choose "cpu", or install a torch built for your accelerator'
        )
    return torch.device(wanted)


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, numpy and torch (all devices), and return a CPU generator with the same seed.

    Raises ValueError unless 0 <= seed < 2^32 (numpy's bound).
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0..2^32 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for code that draws from numpy's global generator
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def budget(*, full: T, fast: T) -> T:
    """`fast` where COURSE_FAST=1 asks for a quick run, else `full`. Use it for counts only.

    Raises ValueError where COURSE_FAST is neither 0, 1 nor empty.
    """
    switch = os.environ.get("COURSE_FAST", "")
    if switch not in ("", "0", "1"):
        raise ValueError(f"COURSE_FAST must be 0 or 1, got {switch!r}")
    return fast if switch == "1" else full


def fit(
    model: nn.Module,
    loss_fn: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    *,
    epochs: int,
    optimizer: Optimizer,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 1,
    progress: bool = True,
    on_epoch: Callable[[int, History], None] | None = None,
    generators: Sequence[torch.Generator] = (),
) -> History:
    """Minimise `loss_fn(model, batch)` over `batches`, `epochs` times.

    Args:
        batches: gone through anew each epoch; `[graph]` or `[None]` for full-batch training.
        validate: a number to be lowered, computed after each epoch without gradients and with the
            model in evaluation mode.
        patience: stop after so many epochs without a lower validation. With it, the model ends
            with its best weights, stopped early or not; without it, with its last ones.
        checkpoint: a file written every `checkpoint_every` epochs and at the end. Where it
            exists, training goes on from it, on CPU bit for bit as if it had never stopped; where
            all epochs are done, it is only loaded. Delete it to start anew.
        on_epoch: called with the epoch's number and the history so far.
        generators: whatever else `batches`, `loss_fn` and `validate` draw from; their states are
            kept in the checkpoint, as are those of Python, numpy and torch.

    The model is left in evaluation mode. An interrupt (Ctrl-C) leaves the checkpoint of the last
    whole epoch that was written.

    Raises:
        TypeError: `batches` is an iterator, which one epoch uses up; a generator is not torch's.
        ValueError: no batches; patience without validate; a loss that is not a single number.
        FloatingPointError: the loss, or validation, is not finite. The last checkpoint stays.
        CheckpointError: the checkpoint is damaged, or of another model or optimizer.
    """
    if isinstance(batches, Iterator):
        raise TypeError("batches is an iterator, used up after one epoch: give a list or a loader")
    if patience is not None and (validate is None or patience < 1):
        raise ValueError(f"patience={patience} must be at least 1, and needs validate=")
    if epochs < 0 or checkpoint_every < 1:
        raise ValueError("epochs must be at least 0 and checkpoint_every at least 1")
    if not all(isinstance(generator, torch.Generator) for generator in generators):
        raise TypeError("generators must be torch.Generator objects")
    path = None if checkpoint is None else Path(checkpoint)
    history, best = History(), None
    if path is not None and path.exists():
        history, best = _load(path, model, optimizer, generators, validate is not None)
        if progress:
            print(f"going on after {history.epochs} epochs, from {path}")
    with tqdm(
        range(history.epochs, epochs), initial=history.epochs, total=epochs, disable=not progress
    ) as bar:
        for epoch in bar:
            if _out_of_patience(history, patience):
                break
            history.train_loss.append(_train_epoch(model, loss_fn, batches, optimizer, epoch))
            if validate is not None and _improves(model, validate, history, epoch):
                best = copy.deepcopy(model.state_dict())
            if on_epoch is not None:
                on_epoch(epoch, history)
            bar.set_postfix(loss=f"{history.train_loss[-1]:.4g}", refresh=False)
            last = epoch + 1 == epochs or _out_of_patience(history, patience)
            if path is not None and (last or (epoch + 1) % checkpoint_every == 0):
                _save(
                    path,
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "optimizer_type": type(optimizer).__name__,
                        "history": asdict(history),
                        "best": best,
                        "random": _random_states(generators),
                    },
                )
    history.stopped_early = _out_of_patience(history, patience)
    if best is not None and patience is not None:
        model.load_state_dict(best)
    model.eval()
    return history


def _train_epoch(
    model: nn.Module,
    loss_fn: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    optimizer: Optimizer,
    epoch: int,
) -> float:
    """One pass over the batches; the mean loss. The device is waited for once, at the end."""
    model.train()
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_fn(model, batch)
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss_fn must return a single number, a tensor [], got {got}")
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    if not losses:
        raise ValueError("batches is empty: there is nothing to train on")
    values = torch.stack(losses).tolist()
    for batch_number, value in enumerate(values):
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} in epoch {epoch}, batch {batch_number}: try a smaller "
                "learning rate, torch.nn.utils.clip_grad_norm_, or look for log(0), a division by "
                "zero or inputs that are not finite"
            )
    return math.fsum(values) / len(values)


def _improves(
    model: nn.Module, validate: Callable[[nn.Module], float], history: History, epoch: int
) -> bool:
    """Validate, note the result, and say whether it is the lowest so far."""
    model.eval()
    with torch.no_grad():
        value = float(validate(model))
    if math.isnan(value):
        raise FloatingPointError(f"validate returned nan in epoch {epoch}")
    history.validation.append(value)
    if history.best_epoch is None or value < history.validation[history.best_epoch]:
        history.best_epoch = epoch
        return True
    return False


def _out_of_patience(history: History, patience: int | None) -> bool:
    waited = history.epochs - 1 - (history.best_epoch or 0)
    return patience is not None and bool(history.validation) and waited >= patience


def _save(path: Path, content: dict[str, Any]) -> None:
    """Write beside the file, then rename: an interrupt leaves the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _load(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    generators: Sequence[torch.Generator],
    validates: bool,
) -> tuple[History, dict[str, Any] | None]:
    """Restore all that `_save` wrote. Nothing is changed unless everything fits."""
    advice = "move it away to start anew, or name another checkpoint"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        history = History(**content["history"])
        kind, groups = content["optimizer_type"], content["optimizer"]["param_groups"]
        saved = {key: getattr(value, "shape", None) for key, value in content["model"].items()}
        states = content["random"]
        number = len(states["generators"])
    except Exception as error:  # a damaged file may fail in any way, and each means the same
        reason = f"{type(error).__name__}: {str(error)[:160]}"
        raise CheckpointError(f"{path} is no checkpoint of fit ({reason}): {advice}") from error
    own = {key: getattr(value, "shape", None) for key, value in model.state_dict().items()}
    if own != saved:
        differing = sorted(k for k in own.keys() | saved.keys() if own.get(k) != saved.get(k))
        raise CheckpointError(
            f"{path} is of another model, they differ in {', '.join(differing[:3])}: {advice}"
        )
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if type(optimizer).__name__ != kind or sizes != [len(group["params"]) for group in groups]:
        raise CheckpointError(f"{path} is of another optimizer ({kind}): {advice}")
    if number != len(generators) or bool(history.validation) != (validates and history.epochs > 0):
        raise CheckpointError(f"{path} was made with other generators or validation: {advice}")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    _restore_random(states, generators)
    return history, content["best"]


def _random_states(generators: Sequence[torch.Generator]) -> dict[str, Any]:
    _, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global generator's state
    return {
        "python": random.getstate(),
        "numpy": [keys.tolist(), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "generators": [generator.get_state() for generator in generators],
    }


def _restore_random(states: dict[str, Any], generators: Sequence[torch.Generator]) -> None:
    random.setstate(states["python"])
    np.random.set_state(("MT19937", *states["numpy"]))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    for generator, state in zip(generators, states["generators"], strict=True):
        generator.set_state(state)
