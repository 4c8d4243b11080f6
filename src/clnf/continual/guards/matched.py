"""Feature-matched replay for GANs: the old generator draws, the old judge compares."""

import copy
from dataclasses import dataclass
from typing import Any, Protocol, cast, final, runtime_checkable

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.protocols import Learnable
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["Drawing", "MatchedReplay", "MatchedReplayParams"]

_PIECE = 256  # samples whose conditions are looked at together


@runtime_checkable
class Drawing(Learnable, Protocol):
    """A generator in one pass beside a judge whose features can be seen: a GAN."""

    @property
    def latent(self) -> int:
        """Numbers Z that a sample is drawn from."""
        ...

    def draw(self, z: Tensor, cond: Tensor) -> Tensor:
        """Samples from latent numbers [B, Z] under conditions [B], with gradients."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """What the judge sees in samples, [B, F], with gradients."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class MatchedReplayParams:
    """How much is replayed.

    Attributes:
        samples: of earlier conditions, drawn anew in each step.
        coefficient: factor on their weight in the batch, where they stand for real ones.
        strength: lambda, on the distance of features.
    """

    samples: int = quantity("1", 16)
    coefficient: float = quantity("1", 1.0)
    strength: float = quantity("1", 1.0)

    def __post_init__(self) -> None:
        good = all(0 <= one < float("inf") for one in (self.coefficient, self.strength))
        if self.samples < 1 or not good:
            raise ConfigError(
                f"matched replay needs samples >= 1 and a finite coefficient and strength >= 0, "
                f"got {self.samples}, {self.coefficient} and {self.strength}"
            )


@final
class MatchedReplay:
    """Earlier samples x' = G_T(z, c) join the batch as real ones, and G is held to them.

    The penalty, with features phi_T of the judge as the last lesson left it:

        lambda mean over samples of |phi_T(G(z, c)) - phi_T(G_T(z, c))|^2,

    |.|^2 a mean over features, the same z and c on both sides. The teacher T is a frozen copy of
    both networks after the last lesson; no sample of the data is kept.

    Not for a chip: a chip holds one set of weights, and a copy of its model would read the same
    cells.

    Args:
        model: the GAN being taught.
        params: amounts.

    Source: replay and its alignment sample by sample Wu et al. 2018 (Memory Replay GANs), there
    in pixels; features of a discriminator Salimans et al. 2016, section 3.1.
    """

    def __init__(self, model: Drawing, params: MatchedReplayParams | None = None) -> None:
        self.params = params or MatchedReplayParams()
        self._model = model
        self._teacher: nn.Module | None = None
        self._met: list[int] = []
        self._drawn: tuple[Tensor, Tensor, Tensor] | None = None

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch followed by what the teacher draws of earlier conditions."""
        self._drawn = None
        if self._teacher is None:
            return batch
        params, teacher = self.params, cast(Drawing, self._teacher)
        pick = torch.randint(len(self._met), (params.samples,), generator=rng)
        cond = torch.tensor(self._met)[pick]
        z = torch.randn((params.samples, teacher.latent), generator=rng)
        with torch.no_grad():
            x = teacher.draw(z, cond)
        self._drawn = z, cond, x
        old = Batch.of(x.to(batch.x.device), cond.to(batch.x.device))
        weight = params.coefficient * old.weight.to(batch.x.device)
        return Batch.cat([batch, Batch(x=old.x, cond=old.cond, weight=weight)])

    def penalty(self) -> Tensor | None:
        """The distance of features; None before any lesson."""
        if self._drawn is None or not self.params.strength:
            return None
        (z, cond, x), self._drawn = self._drawn, None
        judge = cast(Drawing, self._teacher)
        with torch.no_grad():
            then = judge.features(x)
        now = judge.features(self._model.draw(z, cond))
        return self.params.strength * (now - then).square().mean()

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """The model as it is now becomes the teacher, of all conditions met so far."""
        met = set(self._met)
        for piece in torch.arange(len(experience.data)).split(_PIECE):
            met.update(torch.unique(experience.data.take(piece).cond).tolist())
        self._met = sorted(met)
        self._teacher = self._copy()

    def _copy(self) -> nn.Module:
        teacher = copy.deepcopy(cast(nn.Module, self._model)).requires_grad_(False).eval()
        for parameter in teacher.parameters():
            parameter.grad = None
        return teacher

    def state_dict(self) -> dict[str, Any]:
        """The teacher's tensors, and the conditions met."""
        state: dict[str, Any] = {"met": list(self._met)}
        if self._teacher is not None:
            state |= {f"teacher.{k}": v.clone() for k, v in self._teacher.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._met, self._teacher = list(state["met"]), None
        prefix = "teacher."
        tensors = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if tensors:
            self._teacher = self._copy()
            self._teacher.load_state_dict(tensors)
