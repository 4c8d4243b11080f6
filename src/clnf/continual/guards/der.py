"""Dark experience replay: remembered samples with what the model said to them then."""

from dataclasses import dataclass
from typing import Any, Literal, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.fisher import standing_still
from clnf.continual.guards.replay import Rows, behind, check_keep
from clnf.continual.memory import AbstractMemory
from clnf.core.errors import ConfigError
from clnf.core.protocols import Answering
from clnf.core.records import Batch, Experience
from clnf.core.rng import fold
from clnf.core.units import quantity

__all__ = ["DER", "DERParams"]

_PIECE = 256


@final
@dataclass(frozen=True, kw_only=True)
class DERParams:
    """How strongly the past is held.

    Attributes:
        samples: remembered samples in each of the two draws.
        alpha: factor on the distance to the outputs of then.
        beta: factor on the loss of remembered samples; 0 is DER, above it DER++.
        keep: ``"batch"`` stores each batch as it passes, with the outputs of that step: needs no
            boundaries, but outputs stored early are immature. ``"lesson"`` stores at the end of
            a committed lesson, with the outputs of then. Name the choice beside every result.
        per_output: take the mean of squares over outputs, as the authors' code does, so that
            alpha means the same for any number of classes as theirs; False takes the sum.
    """

    samples: int = quantity("1", 32)
    alpha: float = quantity("1", 0.5)
    beta: float = quantity("1", 0.5)
    keep: Literal["lesson", "batch"] = "batch"
    per_output: bool = True

    def __post_init__(self) -> None:
        if self.samples < 1 or not (0 <= self.alpha < float("inf") and 0 <= self.beta < 1e9):
            raise ConfigError(
                f"DER needs samples >= 1 and finite alpha, beta >= 0, "
                f"got {self.samples}, {self.alpha} and {self.beta}"
            )
        check_keep(self.keep)


@final
class DER:
    """L = mean l(x, y) + alpha mean ||f(x') - z'||^2 + beta mean l(x'', y'').

    (x', z') and (x'', y'') are independent draws from the memory; z' is what the model said when
    x' was stored. All three run in one forward pass. Store samples before augmentation.

    Outputs of a head that has grown since are held to 0 in the new columns; none is cut off.
    Works on a chip: what was said is compared, wherever the weights are.

    Args:
        memory: keeps samples and outputs; its policy is part of the result.
        model: the model being taught.
        params: amounts.

    Source: Buzzega et al. 2020, eq. 5 and 6.
    """

    def __init__(
        self, memory: AbstractMemory, model: Answering, params: DERParams | None = None
    ) -> None:
        self.memory = memory
        self.params = params or DERParams()
        self._model = model
        self._rows = Rows(new=slice(0, 0), old=slice(0, 0))
        self._then: Tensor | None = None
        self._said: tuple[Tensor, Tensor] | None = None

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch followed by both draws, at weight 0."""
        self._rows = Rows(new=slice(0, len(batch)), old=slice(0, 0))
        self._then = self._said = None
        if not len(self.memory):
            return batch
        # Draws are with replacement, so one of twice the size is two independent ones.
        n = self.params.samples
        old, then = self.memory.draw_outputs(2 * n if self.params.beta else n, rng)
        mixed, self._rows = behind(batch, old)
        self._then = then[:n].to(batch.x.device)
        return mixed

    def hear(self, outputs: Tensor, losses: Tensor, batch: Batch) -> Tensor:
        """Keep what is said to remembered rows; store the step's own with what is said now."""
        new, at = self._rows.new, self._rows.old.start
        n = self.params.samples
        if self._then is not None:
            self._said = (outputs[at : at + n], losses[at + n : at + 2 * n])
        if self.params.keep == "batch":
            own = Batch(x=batch.x[new], cond=batch.cond[new], weight=batch.weight[new])
            self.memory.add(own, outputs[new])
        return losses

    def penalty(self) -> Tensor | None:
        """Alpha times the distance to then, plus beta times the loss of the second draw."""
        if self._then is None or self._said is None:
            return None
        then, (said, losses), beta = self._then.flatten(1), self._said, self.params.beta
        self._then = self._said = None
        said = said.flatten(1)
        if then.shape[1] < said.shape[1]:
            then = functional.pad(then, (0, said.shape[1] - then.shape[1]))
        far = functional.mse_loss(said, then)
        alpha = self.params.alpha * (1 if self.params.per_output else said.shape[1])
        return torch.add(alpha * far, losses.mean(), alpha=beta) if beta else alpha * far

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    @torch.no_grad()
    def consolidate(self, experience: Experience) -> None:
        """Offer the lesson with the outputs of now, unless every batch was already offered."""
        if self.params.keep != "lesson":
            return
        model = cast(nn.Module, self._model)
        device = next(model.parameters()).device
        rng = torch.Generator().manual_seed(fold(0, "der", experience.name))
        with standing_still(model):
            for index in torch.arange(len(experience.data)).split(_PIECE):
                batch = experience.data.take(index).to(device)
                self.memory.add(batch, self._model.outputs(batch, rng))

    def state_dict(self) -> dict[str, Any]:
        """The memory."""
        return {f"memory.{key}": value for key, value in self.memory.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.memory.load_state_dict({k.removeprefix("memory."): v for k, v in state.items()})
