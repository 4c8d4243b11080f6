"""The few contracts that join the rooms. Pass objects; there is no registry."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from clnf.core.records import Batch, Experience

__all__ = ["Answering", "Engine", "Guard", "Learnable", "Listener", "Memory"]


@runtime_checkable
class Learnable(Protocol):
    """A model that has a loss per sample, so weights of any kind just multiply."""

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Loss of each sample, shape [B], not yet weighted."""
        ...


@runtime_checkable
class Answering(Learnable, Protocol):
    """A model whose loss is made of outputs that can be seen: logits, a predicted noise.

    ``loss(batch, rng)`` equals ``loss_of(outputs(batch, rng), batch)``.
    """

    def outputs(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """What the model says to each sample, shape [B, ...]."""
        ...

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Loss of each sample given its outputs, shape [B], not yet weighted."""
        ...


@runtime_checkable
class Guard(Protocol):
    """Protects what is known while something new is learned. Each moment may do nothing."""

    def begin(self, experience: Experience) -> None:
        """Before the first step of a lesson."""
        ...

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Before the forward pass: add or reweight samples (rehearsal)."""
        ...

    def penalty(self) -> Tensor | None:
        """A scalar added to the mean loss, or None."""
        ...

    def constrain(self, lr: float) -> None:
        """After backward, before the step: change gradients in place (masks, proximal EWC).

        Working on gradients, not weights, keeps a guard ignorant of where weights live: the
        same request becomes a tensor subtraction or pulses on cells.
        """
        ...

    def consolidate(self, experience: Experience) -> None:
        """After a committed lesson: update importance, anchors, memory."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart: tensors and JSON values in a flat dict."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        ...


@runtime_checkable
class Listener(Guard, Protocol):
    """A guard with one moment more, between ``mix`` and ``penalty``; needs an `Answering` model."""

    def hear(self, outputs: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """After the forward pass: see what the model said and what it cost, sample by sample.

        The batch is the mixed one, rows in the order guards appended them. The losses [B]
        returned, changed or not, are what the next listener hears and what is weighted and
        summed; a row of weight 0 counts only where the guard's ``penalty`` brings it back.
        """
        ...


class Memory(Protocol):
    """A bounded store of past samples."""

    def __len__(self) -> int: ...

    def add(self, batch: Batch) -> None:
        """Offer samples; the policy decides which stay."""
        ...

    def draw(self, n: int, rng: torch.Generator) -> Batch:
        """``n`` samples drawn with replacement."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that must survive a restart."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        ...


class Engine(Learnable, Protocol):
    """A generative model: learns like any other and samples step by step."""

    def sample(
        self, cond: Tensor, *, noise: Tensor, steps: int, guidance: float
    ) -> Iterator[Tensor]:
        """Yield the estimate of the finished sample after each step, last one final."""
        ...
