"""C-LoRA: what is learned now keeps off the weights that earlier lessons changed."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters.closed_form import with_gradients
from clnf.continual.adapters.lessons import check_lessons, check_state, lessons_of
from clnf.continual.adapters.sums import LowRankSum, change_of, moved_on, sum_of
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["CLoRA", "CLoRAParams"]


@final
@dataclass(frozen=True, kw_only=True)
class CLoRAParams:
    """How firmly earlier changes are kept off.

    Attributes:
        strength: lambda. Changes of weights are small and come in at the fourth power, so useful
            values are large and hang on the model; 1000 was best in
            ``benchmarks/adapter_lessons.py``.
    """

    strength: float = quantity("1", 1e3)

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ConfigError(f"C-LoRA needs a finite strength >= 0, got {self.strength}")


class _Term(NamedTuple):
    """One layer's part, for the bare product up @ down, with room that every step uses anew.

    Attributes:
        stiffness: 2 lambda scale^2 S^2, shape [O, I].
        start: the product at the start of the lesson; None for zero.
        up: the weights that learn.
        down: the same.
        change: room for the product, [O, I].
        pushed: room for the derivative by it, [O, I].
    """

    stiffness: Tensor
    start: Tensor | None
    up: nn.Parameter
    down: nn.Parameter
    change: Tensor
    pushed: Tensor

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """The part's value, and its gradients by up and down."""
        up, down = self.up.detach().flatten(1), self.down.detach().flatten(1)
        if self.start is None:
            torch.mm(up, down, out=self.change)
        else:
            torch.addmm(self.start, up, down, beta=-1, out=self.change)
        torch.mul(self.stiffness, self.change, out=self.pushed)
        by_up, by_down = self.pushed @ down.t(), up.t() @ self.pushed
        # <P, up @ down> = <P @ down^T, up>: the small one is summed, where there is no start.
        if self.start is None:
            value = torch.dot(by_up.view(-1), up.reshape(-1))
        else:
            value = torch.dot(self.pushed.view(-1), self.change.view(-1))
        return value, by_up.view_as(self.up), by_down.view_as(self.down)


@final
class CLoRA:
    """Adds lambda sum_layers || S * D ||_F^2, * entry by entry.

    S is the sum of what earlier lessons changed in the layer's weight and D what this one has
    changed, scale * up @ down. Where S is large D is held down; where nothing was changed before
    learning is free. No sample is kept. The gradient is worked out by hand: with
    P = 2 lambda scale S^2 * D, that of ``up`` is P @ down^T, that of ``down`` up^T @ P.

    Adapters may be fresh for each lesson, those of a :class:`~clnf.continual.adapters.Stack` or
    ones that :func:`~clnf.continual.adapters.settle` has started anew; S is then the paper's sum.
    Or one adapter goes on through all lessons, as on cells that are there once; D is then what it
    has changed since the lesson began. Of a stack S is read from the adapters before the one that
    learns, so adapters from files count. The paper adapts the keys and values of
    cross-attention; choose layers by ``only`` when attaching.

    S is kept as factors, and so is what D counts from. An adapter that goes on, of rank r, takes
    3 r (O + I) numbers a layer at most, 2 r (O + I) where it began at zero. Adapters started anew,
    and cells that were written back or drifted between lessons, add r (O + I) or twice that each
    time; from O I numbers on S is the matrix itself. A lesson makes both matrices once, and has
    room for four of that size while it lasts.

    On a chip changes are what cells read. Pulses made of outer products ask no gradient, and so
    do not hear of it.

    Args:
        model: with adapters; may get them on a chip later.
        params: strength.

    Raises:
        ConfigError: the model has none, or only switched ones, which never meet.

    Source: Smith et al. 2024 (arXiv 2304.06027), eq. 3 and 4; with the square it is one whether
        S or |S| is taken.
    """

    def __init__(self, model: nn.Module, params: CLoRAParams | None = None) -> None:
        check_lessons(model, "C-LoRA")
        self.params = params or CLoRAParams()
        self._model = model
        self._before: dict[str, LowRankSum] = {}
        self._start: dict[str, LowRankSum] = {}
        self._terms: list[_Term] | None = None

    @torch.no_grad()
    def begin(self, experience: Experience) -> None:
        """Note what is changed already."""
        before, self._start, self._terms = self._before, {}, None
        self._before = {}
        for key, lesson in lessons_of(self._model).items():
            own = change_of(lesson.learning)
            if own.any():
                self._start[key] = own
            if lesson.earlier is None:
                known = before.get(key)
                changed = [] if known is None else [known]
            else:
                changed = [change_of(held) for held in lesson.earlier]
                changed += [own] if key in self._start else []
            if changed:
                self._before[key] = sum_of(changed)

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    @torch.no_grad()
    def penalty(self) -> Tensor | None:
        """The penalty now; None before anything was learned."""
        if not self._before or not self.params.strength:
            return None
        if self._terms is None:
            self._terms = self._prepared()
        if not self._terms:
            return None
        weights, gradients, values = [], [], []
        for term in self._terms:
            value, by_up, by_down = term.gradients()
            values.append(value)
            weights += [term.up, term.down]
            gradients += [by_up, by_down]
        with torch.enable_grad():
            return with_gradients(0.5 * sum(values[1:], values[0]), weights, gradients)

    def _prepared(self) -> list[_Term]:
        terms = []
        for key, (_, held, _) in lessons_of(self._model).items():
            if key not in self._before or not held.scale:
                continue
            earlier, begun = self._before[key].dense(), self._start.get(key)
            stiffness = earlier.square() * (2 * self.params.strength * held.scale**2)
            start = None if begun is None else begun.dense() / held.scale
            room = torch.empty_like(stiffness), torch.empty_like(stiffness)
            terms.append(_Term(stiffness, start, *held.weights, *room))
        return terms

    def constrain(self, lr: float) -> None:
        """Nothing: the gradient comes with the loss."""

    @torch.no_grad()
    def consolidate(self, experience: Experience) -> None:
        """Add what the lesson changed to what is held, where the layer itself does not keep it."""
        kept = {}
        for key, lesson in lessons_of(self._model).items():
            if lesson.earlier is not None:
                continue
            now = change_of(lesson.learning)
            total = moved_on(self._before.get(key), self._start.get(key), now)
            if total is not None:
                kept[key] = total
        self._before, self._start, self._terms = kept, {}, None

    def energy(self) -> float:
        """Lambda times the sum now, for reports; 0 before anything was learned."""
        value = self.penalty()
        return 0.0 if value is None else value.item()

    def state_dict(self) -> dict[str, Any]:
        """Earlier changes, and where the lesson under way began, as factors or matrices."""
        held = {"before": self._before, "start": self._start}
        lefts = {f"{kind}.{key}": one.left for kind, of in held.items() for key, one in of.items()}
        rights = {
            f"{kind}_right.{key}": one.right
            for kind, of in held.items()
            for key, one in of.items()
            if one.right is not None
        }
        return {entry: value.clone() for entry, value in (lefts | rights).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of layers or adapters that the model does not have.
        """
        known = check_state(self._model, "C-LoRA", {entry.partition(".")[2] for entry in state})
        found: dict[str, dict[str, LowRankSum]] = {"before": {}, "start": {}}
        for entry, value in state.items():
            kind, _, key = entry.partition(".")
            if kind not in found:
                continue
            up, down = known[key].weights
            right = state.get(f"{kind}_right.{key}")
            one = LowRankSum(
                value.to(up.device, copy=True),
                None if right is None else right.to(up.device, copy=True),
            )
            if not one.fits(len(up), down[0].numel()):
                raise RunError(f"this C-LoRA state was saved for another shape of {key}")
            found[kind][key] = one
        self._before, self._start, self._terms = found["before"], found["start"], None
