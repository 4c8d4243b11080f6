"""Learning without forgetting: the model before the lesson teaches the model in it."""

import copy
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.protocols import Answering
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["LwF", "LwFParams"]


@final
@dataclass(frozen=True, kw_only=True)
class LwFParams:
    """How firmly old answers are held.

    Attributes:
        strength: factor on the distillation loss.
        temperature: T, softens both answers.
    """

    strength: float = quantity("1", 1.0)
    temperature: float = quantity("1", 2.0)

    def __post_init__(self) -> None:
        if not (0 <= self.strength < float("inf") and 0 < self.temperature < float("inf")):
            raise ConfigError(
                f"LwF needs a finite strength >= 0 and temperature > 0, "
                f"got {self.strength} and {self.temperature}"
            )


@final
class LwF:
    """Adds strength T^2 mean_x KL(p_teacher || p), both softmax(z / T) over the old classes.

    The teacher is a frozen copy of the model after the last lesson; its classes are those met
    up to then. It hears the same samples as the model, the new lesson's, and no memory is kept.
    The gradient is that of the paper's cross entropy; T^2 keeps its size the same for any T.
    Old classes that the teacher or the model shuts by a logit of minus infinity (heads of other
    lessons) are left out of both softmaxes.

    Not for a chip: a chip holds one set of weights, and a copy of its model would read the same
    cells. There, keep outputs beside samples instead (DER).

    Args:
        model: the model being taught, with class logits [B, K] as outputs.
        params: strength and temperature.

    Source: Li & Hoiem 2018, eq. 2 and 3; T^2 after Hinton et al. 2015.
    """

    def __init__(self, model: Answering, params: LwFParams | None = None) -> None:
        self.params = params or LwFParams()
        self._model = model
        self._teacher: nn.Module | None = None
        self._old: list[int] = []
        self._met: set[int] = set()
        self._loss: Tensor | None = None

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    def hear(self, outputs: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """Ask the teacher the same, and note the distance.

        Raises:
            ConfigError: the outputs are not rows of class logits.
        """
        if outputs.dim() != 2:
            raise ConfigError(f"LwF needs logits [B, K], got {tuple(outputs.shape)}")
        self._met.update(batch.cond.unique().tolist())
        self._loss = None
        if self._teacher is not None:
            with torch.no_grad():
                then = cast(Answering, self._teacher).outputs(batch, torch.Generator())
            old, heat = torch.tensor(self._old, device=outputs.device), self.params.temperature
            self._loss = self._distance(outputs[:, old], then[:, old]) * (
                self.params.strength * heat**2
            )
        return losses

    def _distance(self, now: Tensor, then: Tensor) -> Tensor:
        # Minus infinity would do as well, but 0 times it is nan, here and in the gradient.
        shut, least = (now == -torch.inf) | (then == -torch.inf), torch.finfo(now.dtype).min
        own, asked = (
            (logits.masked_fill(shut, least) / self.params.temperature)
            .log_softmax(1)
            .masked_fill(shut, 0.0)
            for logits in (now, then)
        )
        terms = asked.exp().masked_fill(shut, 0.0) * (asked - own)
        return terms.sum() / len(now)

    def penalty(self) -> Tensor | None:
        """The distillation loss of the batch just heard."""
        loss, self._loss = self._loss, None
        return loss

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """The model as it is now becomes the teacher."""
        self._teacher = self._copy()
        self._old = sorted(self._met)

    def _copy(self) -> nn.Module:
        # Gradients of the lesson are not worth copying.
        teacher = copy.deepcopy(cast(nn.Module, self._model)).requires_grad_(False).eval()
        for parameter in teacher.parameters():
            parameter.grad = None
        return teacher

    def state_dict(self) -> dict[str, Any]:
        """The teacher's tensors, and the classes met."""
        state: dict[str, Any] = {"old": self._old, "met": sorted(self._met)}
        if self._teacher is not None:
            state |= {f"teacher.{k}": v.clone() for k, v in self._teacher.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._old, self._met = list(state["old"]), set(state["met"])
        tensors = {
            k.removeprefix("teacher."): v for k, v in state.items() if k.startswith("teacher.")
        }
        self._teacher = None
        if tensors:
            self._teacher = self._copy()
            self._teacher.load_state_dict(tensors)
