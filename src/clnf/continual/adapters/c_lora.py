"""C-LoRA: what is learned now keeps off the weights that earlier lessons changed."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters.closed_form import with_gradients
from clnf.continual.adapters.lessons import check_lessons, check_state, lessons_of
from clnf.continual.adapters.pairs import Held
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
            values are large: thousands and more.
    """

    strength: float = quantity("1", 1e4)

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ConfigError(f"C-LoRA needs a finite strength >= 0, got {self.strength}")


class _Term(NamedTuple):
    """One layer's part: lambda S^2, the change at the start of the lesson, the factors."""

    square: Tensor
    start: Tensor | None
    held: Held


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
        self._before: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}
        self._terms: list[_Term] | None = None

    @torch.no_grad()
    def begin(self, experience: Experience) -> None:
        """Note what is changed already."""
        before, self._start, self._terms = self._before, {}, None
        self._before = {}
        for key, lesson in lessons_of(self._model).items():
            own = lesson.learning.change()
            if bool(own.any()):
                self._start[key] = own
            if lesson.earlier is None:
                known = before.get(key)
                changed = [] if known is None else [known]
            else:
                changed = [held.change() for held in lesson.earlier]
                changed += [own] if key in self._start else []
            if changed:
                self._before[key] = torch.stack(changed).sum(0) if changed[1:] else changed[0]

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
        for square, start, held in self._terms:
            up_weight, down_weight = held.weights
            up, down = up_weight.detach().flatten(1), down_weight.detach().flatten(1)
            change = up @ down
            if held.scale != 1:
                change.mul_(held.scale)
            if start is not None:
                change.sub_(start)
            pushed = square * change
            values.append(torch.dot(pushed.view(-1), change.view(-1)))
            pushed.mul_(2 * held.scale)
            weights += [up_weight, down_weight]
            gradients.append((pushed @ down.t()).view_as(up_weight))
            gradients.append((up.t() @ pushed).view_as(down_weight))
        with torch.enable_grad():
            return with_gradients(sum(values[1:], values[0]), weights, gradients)

    def _prepared(self) -> list[_Term]:
        terms = []
        for key, lesson in lessons_of(self._model).items():
            if key in self._before:
                square = self._before[key].square() * self.params.strength
                terms.append(_Term(square, self._start.get(key), lesson.learning))
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
            moved = lesson.learning.change()
            if key in self._start:
                moved -= self._start[key]
            if key in self._before:
                moved += self._before[key]
            if bool(moved.any()):
                kept[key] = moved
        self._before, self._start, self._terms = kept, {}, None

    def energy(self) -> float:
        """Lambda times the sum now, for reports; 0 before anything was learned."""
        value = self.penalty()
        return 0.0 if value is None else value.item()

    def state_dict(self) -> dict[str, Any]:
        """Earlier changes, and where the lesson under way began."""
        return {
            **{f"before.{key}": value.clone() for key, value in self._before.items()},
            **{f"start.{key}": value.clone() for key, value in self._start.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of layers or adapters that the model does not have.
        """
        known = check_state(self._model, "C-LoRA", {entry.partition(".")[2] for entry in state})
        found: dict[str, dict[str, Tensor]] = {"before": {}, "start": {}}
        for entry, value in state.items():
            kind, _, key = entry.partition(".")
            up, down = known[key].weights
            if value.shape != (len(up), down[0].numel()):
                raise RunError(f"this C-LoRA state was saved for another shape of {key}")
            found[kind][key] = value.to(up.device, copy=True)
        self._before, self._start, self._terms = found["before"], found["start"], None
