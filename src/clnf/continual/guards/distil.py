"""Generative distillation: a flow or diffusion model held to what it said along its own way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn

from clnf.continual.fisher import standing_still
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.core.units import quantity

__all__ = ["Distillation", "DistillationParams", "Walking"]

# Starts of a lesson's conditions are looked for in pieces, so a large folder is never in memory.
_PIECE = 256
# Walks taken together: a guided field sees twice as many samples.
_AT_ONCE = 16


@runtime_checkable
class Walking(Protocol):
    """A generator whose field can be asked anywhere, and that shows the way its sampler takes."""

    def velocity(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The field at x [B, ...], t [B] under conditions [B], shape of x."""
        ...

    def walk(
        self, cond: Tensor, *, noise: Tensor, steps: int, guidance: float
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Points x [B, ...], times t [B] and the field there, at each step of the sampler."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class DistillationParams:
    """How much is distilled.

    Attributes:
        strength: factor lambda on the distance.
        samples: points drawn for each step of learning.
        walks: of each condition, kept at the end of a lesson.
        steps: of the sampler in a walk; as many points of each are kept.
        guidance: of the sampler in a walk.
        renew: take the walks of all known conditions anew after each lesson, so that the teacher
            is the whole model of then, as published. Else a condition keeps the walks taken right
            after the lesson that taught it: no copy of a copy, and a teacher that is asked less.
    """

    strength: float = quantity("1", 1.0)
    samples: int = quantity("1", 8)
    walks: int = quantity("1", 4)
    steps: int = quantity("1", 4)
    guidance: float = quantity("1", 2.0)
    renew: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf") or not 0 < self.guidance < float("inf"):
            raise ConfigError(
                f"distillation needs a finite strength >= 0 and guidance > 0, got "
                f"{self.strength} and {self.guidance}"
            )
        for name in ("samples", "walks", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"distillation needs {name} of at least 1, got {getattr(self, name)}"
                )


@final
class Distillation:
    """L = mean_new l + lambda mean over points of |f(x_t, t, c) - f_T(x_t, t, c)|^2.

    The points lie on ways of the teacher's own sampler for conditions of earlier lessons; the
    teacher f_T is the model as the last lesson left it; |.|^2 is a mean over elements, as in the
    loss. No sample of the data is kept. Training on the teacher's finished samples instead, with
    the plain loss, is what collapses.

    Points and what the teacher said there are kept, in half precision, and no copy of the model:
    cells of a chip hold one model only. The paper asks both in each step, with new samples, at
    points where a finished sample of the teacher is noised anew; points on the teacher's way are
    a form that its code has as well ("partial generation").

    Args:
        model: the model being taught.
        shape: of one sample.
        params: amounts.
        seed: places the noise that ways start from.
        also: conditions that are known from the start, such as the one for "nothing asked".

    Source: Masip et al. 2024 (2311.14028), for the noise that a DDPM predicts; here for the
    velocity of a flow.
    """

    def __init__(
        self,
        model: Walking,
        shape: Sequence[int],
        params: DistillationParams | None = None,
        *,
        seed: int,
        also: Sequence[int] = (),
    ) -> None:
        self.params = params or DistillationParams()
        self._model = model
        self._shape = tuple(shape)
        self._seed = seed
        self._also = list(also)
        self._lessons = 0
        self._points: dict[str, Tensor] = {}
        self._chosen: Tensor | None = None

    @property
    def known(self) -> list[int]:
        """Conditions whose ways are kept."""
        return torch.unique(self._points["cond"]).tolist() if self._points else []

    def begin(self, experience: Experience) -> None:
        """Nothing to prepare: the teacher has spoken."""

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is; points are drawn."""
        self._chosen = None
        if self._points:
            total = len(self._points["cond"])
            self._chosen = torch.randint(total, (self.params.samples,), generator=rng)
        return batch

    def penalty(self) -> Tensor | None:
        """How far the model is from its teacher at the points drawn; None before any lesson."""
        if self._chosen is None:
            return None
        drawn = {key: value[self._chosen] for key, value in self._points.items()}
        self._chosen = None
        said = self._model.velocity(drawn["x"].float(), drawn["t"], drawn["cond"])
        away = said.float() - drawn["v"].float().to(said.device)
        return self.params.strength * away.square().mean()

    def constrain(self, lr: float) -> None:
        """Gradients stay as they are."""

    def consolidate(self, experience: Experience) -> None:
        """Walk the ways of what is known now; the model as it is becomes the teacher."""
        met: set[int] = set()
        for piece in torch.arange(len(experience.data)).split(_PIECE):
            met.update(torch.unique(experience.data.take(piece).cond).tolist())
        before = self.known
        wanted = sorted({*self._also, *before, *met})
        if not self.params.renew:
            # What was taught again is another thing now: its ways are new ones.
            wanted = [cond for cond in wanted if cond not in before or cond in met]
        if wanted and self.params.strength:
            self._take(wanted)
        self._lessons += 1

    def _take(self, conditions: list[int]) -> None:
        params = self.params
        cond = torch.tensor(conditions).repeat_interleave(params.walks)
        rng = torch_rng(self._seed, "walks", self._lessons)
        noise = torch.randn((len(cond), *self._shape), generator=rng)
        model = self._model
        assert isinstance(model, nn.Module)
        parts: dict[str, list[Tensor]] = {"x": [], "t": [], "v": [], "cond": []}
        with torch.no_grad(), standing_still(model):
            for c, n in zip(cond.split(_AT_ONCE), noise.split(_AT_ONCE), strict=True):
                way = model.walk(c, noise=n, steps=params.steps, guidance=params.guidance)
                for x, t, v in way:
                    found = {"x": x.half(), "t": t, "v": v.half(), "cond": c}
                    for key, value in found.items():
                        parts[key].append(value.to("cpu", copy=True))
        taken = {key: torch.cat(values) for key, values in parts.items()}
        if self._points:
            kept = ~torch.isin(self._points["cond"], torch.tensor(conditions))
            taken = {key: torch.cat([self._points[key][kept], taken[key]]) for key in taken}
        self._points = taken

    def state_dict(self) -> dict[str, Any]:
        """Lessons so far, and the points with what the teacher said there."""
        points = {f"point.{key}": value.clone() for key, value in self._points.items()}
        return {"lessons": self._lessons, **points}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the points are of samples of another shape.
        """
        points = {k.removeprefix("point."): v for k, v in state.items() if k != "lessons"}
        if points and tuple(points["x"].shape[1:]) != self._shape:
            raise RunError(
                f"this distillation was saved for samples of shape {list(points['x'].shape[1:])}, "
                f"the model's have {list(self._shape)}"
            )
        self._lessons = state["lessons"]
        self._points = {key: value.clone() for key, value in points.items()}
