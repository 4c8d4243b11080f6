"""Hard attention to the task: learned gates say which units a lesson may change."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from clnf.continual.optimizer_state import still_moments
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.core.units import quantity

__all__ = ["HAT", "HATParams"]

# cosh beyond it overflows what the quotient of two of them can use.
_STEEPEST = 50.0


@final
@dataclass(frozen=True, kw_only=True)
class HATParams:
    """How gates harden.

    Attributes:
        lessons: number of lessons there will be, one embedding each.
        steps: steps over which s goes from 1/steepness to steepness, then again; an epoch.
        steepness: s_max.
        sparsity: c, factor on the share of free units a lesson takes.
        reach: largest |e| of an embedding.
    """

    lessons: int = quantity("1", 10)
    steps: int = quantity("1", 100)
    steepness: float = quantity("1", 400.0)
    sparsity: float = quantity("1", 0.75)
    reach: float = quantity("1", 6.0)

    def __post_init__(self) -> None:
        if self.lessons < 1 or self.steps < 2 or not 1 < self.steepness < math.inf:
            raise ConfigError(
                f"HAT needs lessons >= 1, steps >= 2 and a finite steepness > 1, "
                f"got {self.lessons}, {self.steps} and {self.steepness}"
            )
        if not (0 <= self.sparsity < math.inf and 0 < self.reach < math.inf):
            raise ConfigError(
                f"HAT needs a finite sparsity >= 0 and reach > 0, "
                f"got {self.sparsity} and {self.reach}"
            )


@final
class HAT:
    """Gates a = sigma(s e_t) on the units of each hidden layer, and masks from past gates.

    Units are multiplied by a while the lesson is learned, s rising from 1/s_max to s_max. With
    A = max over past lessons of sigma(s_max e), gradients of a weight from unit j to unit i are
    multiplied by 1 - min(A_i, A_j); inputs count as A = 1, and the last layer, where each lesson
    has rows of its own, is left alone. The penalty is c sum a (1 - A) / sum (1 - A), and the
    embeddings' gradients are set right by s_max (cosh(s e) + 1) / (s (cosh(e) + 1)).

    Momentum, and Adam's means, would move what gets no gradient any more. Where the optimizer is
    given, each lesson begins with these moments masked too, those of the head and of earlier
    embeddings cleared: where a mask is 0 a weight stays to the bit, and so do earlier lessons'
    embeddings and rows of the head that get no gradient. Adam divides a mask between 0 and 1 out
    again: gates that end between 0 and 1 hold little under it. Where it is not given, give
    :meth:`parameters` to the optimizer yourself, without weight decay, and only SGD without
    momentum holds what is shut. Weight decay of the layers is outside the masks' reach.

    To answer, it must be told which lesson is asked, :meth:`as_of`: accuracy so measured is
    task-incremental. On a chip the gates stay digital beside the columns, and where a mask is 0
    cells get no pulse.

    Args:
        layers: linear layers from input to head, with activations that commute with a positive
            factor (ReLU) between them: the gate multiplies before the activation.
        params: steepness and sparsity.
        seed: places the embeddings' normal start.
        optimizer: made for the layers. The embeddings join it as a group of their own, with the
            settings of its last group but no weight decay; moments of what is shut are cleared.

    Source: Serra et al. 2018, eq. 1 to 6.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        params: HATParams | None = None,
        *,
        seed: int,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        if len(layers) < 2:
            raise ConfigError(f"HAT gates layers before a head, got {len(layers)} layer in all")
        self.params = params or HATParams()
        self._layers = list(layers)
        self._embeddings: list[nn.Parameter] = []
        self._taken: list[Tensor] = []
        for number, layer in enumerate(self._layers[:-1]):
            weight = cast(Tensor, layer.weight)
            start = torch.randn(
                self.params.lessons, len(weight), generator=torch_rng(seed, "hat", number)
            )
            self._embeddings.append(nn.Parameter(start.to(weight.device)))
            self._taken.append(torch.zeros(len(weight), device=weight.device))
            layer.register_forward_hook(self._gate(number))
        self._lesson = -1
        self._asked: int | None = None
        self._step = 0
        self._optimizer = optimizer
        if optimizer is not None:
            self._join(optimizer)

    def _join(self, optimizer: torch.optim.Optimizer) -> None:
        last = optimizer.param_groups[-1]
        group = {k: v for k, v in last.items() if k not in ("params", "param_names")}
        # A chip's optimizer tells pulsed groups from others; gates are numbers beside the cells.
        fixed = {"weight_decay": 0.0, "kind": "digital"}
        group |= {key: value for key, value in fixed.items() if key in group}
        named = [(f"hat.{i}", e) for i, e in enumerate(self._embeddings)]
        optimizer.add_param_group(
            {**group, "params": named if "param_names" in last else self._embeddings}
        )

    def parameters(self) -> list[nn.Parameter]:
        """The embeddings, [lessons, units] for each gated layer."""
        return list(self._embeddings)

    @property
    def gates(self) -> list[Tensor]:
        """The gates of the lesson now asked or learned, hardened, one a layer."""
        return [self._attention(i, self.params.steepness).detach() for i in range(len(self._taken))]

    @property
    def masks(self) -> Mapping[int, Tensor]:
        """Factor on writes of each gated layer's weight, by its number; 0 is a fence."""
        return {i: self._mask(i) for i in range(len(self._taken))}

    def _mask(self, number: int) -> Tensor:
        out = self._taken[number]
        if number == 0:
            return (1 - out)[:, None].expand_as(cast(Tensor, self._layers[0].weight))
        return 1 - torch.minimum(out[:, None], self._taken[number - 1][None, :])

    def _slope(self) -> float:
        """S of the step under way."""
        least, share = 1 / self.params.steepness, self._step % self.params.steps
        return least + (self.params.steepness - least) * share / (self.params.steps - 1)

    def _attention(self, number: int, slope: float) -> Tensor:
        row = self._lesson if self._asked is None else self._asked
        return torch.sigmoid(slope * self._embeddings[number][max(0, row)])

    def _gate(self, number: int) -> Any:
        def hook(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
            if self._lesson < 0:
                return output
            teaching = layer.training and self._asked is None
            slope = self._slope() if teaching else self.params.steepness
            return output * self._attention(number, slope)

        return hook

    def begin(self, experience: Experience) -> None:
        """Go on to the next embedding.

        Raises:
            ConfigError: there is none left.
        """
        if self._lesson + 1 >= self.params.lessons:
            raise ConfigError(f"HAT has embeddings for {self.params.lessons} lessons only")
        self._lesson += 1
        self._step = 0
        self._still()

    @torch.no_grad()
    def _still(self) -> None:
        """Mask moments as gradients will be; the head's rows and old embeddings start from 0."""
        for number, past in enumerate(self._taken):
            layer, embedding = self._layers[number], self._embeddings[number]
            own = torch.zeros_like(embedding)
            own[self._lesson] = 1
            still_moments(self._optimizer, embedding, own)
            still_moments(self._optimizer, cast(Tensor, layer.weight), self._mask(number))
            if layer.bias is not None:
                still_moments(self._optimizer, cast(Tensor, layer.bias), 1 - past)
        for weight in self._layers[-1].parameters(recurse=False):
            still_moments(self._optimizer, weight, torch.zeros_like(weight))

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is; embeddings are brought back within reach."""
        self._clamp()
        return batch

    @torch.no_grad()
    def _clamp(self) -> None:
        for embedding in self._embeddings:
            embedding.clamp_(-self.params.reach, self.params.reach)

    def penalty(self) -> Tensor | None:
        """C times the share of free units that the lesson takes."""
        if self._lesson < 0:
            return None
        slope = self._slope()
        taken = torch.zeros(())
        room = 0.0
        for number, past in enumerate(self._taken):
            taken = taken.to(past.device) + (self._attention(number, slope) * (1 - past)).sum()
            room += float((1 - past).sum())
        return self.params.sparsity * taken / max(room, 1e-12)

    @torch.no_grad()
    def constrain(self, lr: float) -> None:
        """Mask gradients by past gates; set the embeddings' gradients right."""
        if self._lesson < 0:
            return
        for number, past in enumerate(self._taken):
            layer = self._layers[number]
            weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", layer.bias)
            if weight.grad is not None:
                weight.grad.mul_(self._mask(number))
            if bias is not None and bias.grad is not None:
                bias.grad.mul_(1 - past)
        slope = self._slope()
        for embedding in self._embeddings:
            if embedding.grad is not None:
                steep = torch.cosh((slope * embedding).clamp(-_STEEPEST, _STEEPEST)) + 1
                flat = torch.cosh(embedding) + 1
                embedding.grad.mul_(self.params.steepness / slope * steep / flat)
        self._step += 1

    @torch.no_grad()
    def consolidate(self, experience: Experience) -> None:
        """The lesson's gates join those of the past.

        Raises:
            RunError: no lesson was begun.
        """
        if self._lesson < 0:
            raise RunError("HAT saw no beginning of this lesson; call begin first")
        self._clamp()
        for past, gate in zip(self._taken, self.gates, strict=True):
            torch.maximum(past, gate, out=past)

    @contextmanager
    def as_of(self, lesson: int) -> Iterator[None]:
        """Within it the gates are those of lesson ``lesson``, from 0, hardened.

        Raises:
            ConfigError: that lesson was not begun.
        """
        if not 0 <= lesson <= self._lesson:
            raise ConfigError(f"lesson {lesson} has no gates; there are 0 to {self._lesson}")
        self._asked = lesson
        try:
            yield
        finally:
            self._asked = None

    def state_dict(self) -> dict[str, Any]:
        """Embeddings, past gates and the position."""
        state: dict[str, Any] = {"lesson": self._lesson, "step": self._step}
        for number, past in enumerate(self._taken):
            state[f"taken.{number}"] = past.clone()
            state[f"embedding.{number}"] = self._embeddings[number].detach().clone()
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of other layers or another number of lessons.
        """
        own = {f"embedding.{i}": e.shape for i, e in enumerate(self._embeddings)}
        if own != {k: v.shape for k, v in state.items() if k.startswith("embedding.")}:
            raise RunError("this HAT state was saved for other layers or lessons")
        self._lesson, self._step = state["lesson"], state["step"]
        for number, past in enumerate(self._taken):
            past.copy_(state[f"taken.{number}"])
            self._embeddings[number].copy_(state[f"embedding.{number}"])
