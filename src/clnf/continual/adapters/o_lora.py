"""O-LoRA: each lesson learns in directions that earlier ones did not use."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from clnf.continual.adapters.closed_form import with_gradients
from clnf.continual.adapters.lessons import check_lessons, check_state, lessons_of
from clnf.core.errors import ConfigError, RunError
from clnf.core.records import Batch, Experience
from clnf.core.units import quantity

__all__ = ["OLoRA", "OLoRAParams"]


@final
@dataclass(frozen=True, kw_only=True)
class OLoRAParams:
    """How firmly directions are held apart.

    Attributes:
        strength: lambda_1 of the paper; 0.5 is what its code takes.
        squared: sum squares, as the paper writes, instead of absolute values, as its code does.
            Squares let go of a direction as it nears zero; absolute values pull to the end.
    """

    strength: float = quantity("1", 0.5)
    squared: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ConfigError(f"O-LoRA needs a finite strength >= 0, got {self.strength}")


class _Term(NamedTuple):
    """One layer's part: earlier directions [R, I] and the weight [r, I, ...] that learns."""

    before: Tensor
    down: nn.Parameter


@final
class OLoRA:
    """Adds lambda sum_layers sum_(t' < t) sum_jk | A_t' A_t^T |_jk, A the ``down`` factors [r, I].

    Rows of A span the inputs a lesson looks at. Held orthogonal, lessons answer to different
    parts of their inputs; orthogonal factors are not orthogonal gradients. ``up`` is free. The
    gradient is worked out by hand: lambda sign(A_t P^T) P with all earlier rows in P, or
    2 lambda (A_t P^T) P for squares. No sample is kept; P grows by r rows a lesson.

    Each lesson needs an adapter of its own: the next of a
    :class:`~clnf.continual.adapters.Stack`, or one that
    :func:`~clnf.continual.adapters.settle` has started anew. The paper's code also adds lambda_2
    times the norms of new factors; that is an optimizer's weight decay in all but form and not
    here. On a chip directions are what cells read, and pulses made of outer products, which ask
    no gradient, do not hear of it.

    Args:
        model: with adapters; may get them on a chip later.
        params: strength and form.

    Raises:
        ConfigError: the model has none, or only switched ones, which never meet.

    Source: Wang et al. 2023 (arXiv 2310.14152), section 3.2; their A is [I, r].
    """

    def __init__(self, model: nn.Module, params: OLoRAParams | None = None) -> None:
        check_lessons(model, "O-LoRA")
        self.params = params or OLoRAParams()
        self._model = model
        self._before: dict[str, Tensor] = {}
        self._terms: list[_Term] | None = None

    @torch.no_grad()
    def begin(self, experience: Experience) -> None:
        """Take the directions of earlier adapters from a stack.

        Raises:
            RunError: an adapter goes on from the last lesson; it would have to unlearn itself.
        """
        before, self._terms = self._before, None
        self._before = {}
        for key, lesson in lessons_of(self._model).items():
            now = lesson.learning.weights[1].detach().flatten(1)
            rows = before.get(key)
            if lesson.earlier is not None:
                old = [held.weights[1].detach().flatten(1) for held in lesson.earlier]
                rows = torch.cat(old) if old else None
            elif rows is not None and torch.equal(rows[-len(now) :], now):
                raise RunError(
                    f"the adapter of {key} has learned a lesson and goes on; O-LoRA needs a fresh "
                    "one: settle(model, seed=...), or the next of a stack"
                )
            if rows is not None:
                self._before[key] = rows

    def mix(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch as it is."""
        return batch

    @torch.no_grad()
    def penalty(self) -> Tensor | None:
        """The penalty now; None before anything was learned."""
        strength = self.params.strength
        if not self._before or not strength:
            return None
        if self._terms is None:
            lessons = lessons_of(self._model)
            self._terms = [
                _Term(rows, lessons[key].learning.weights[1]) for key, rows in self._before.items()
            ]
        weights, gradients, values = [], [], []
        for before, down in self._terms:
            overlap = down.detach().flatten(1) @ before.t()
            if self.params.squared:
                values.append(torch.dot(overlap.view(-1), overlap.view(-1)))
                overlap.mul_(2 * strength)
            else:
                values.append(torch.linalg.vector_norm(overlap, 1))
                overlap.sign_().mul_(strength)
            weights.append(down)
            gradients.append((overlap @ before).view_as(down))
        with torch.enable_grad():
            return with_gradients(sum(values[1:], values[0]) * strength, weights, gradients)

    def constrain(self, lr: float) -> None:
        """Nothing: the gradient comes with the loss."""

    @torch.no_grad()
    def consolidate(self, experience: Experience) -> None:
        """Keep the directions of the lesson, where the layer itself does not keep its adapter."""
        kept = {}
        for key, lesson in lessons_of(self._model).items():
            if lesson.earlier is not None:
                continue
            rows = [self._before[key]] if key in self._before else []
            up, down = lesson.learning.weights
            if bool(up.any()):  # one that has not learned, as in the core lesson, takes no room
                rows.append(down.detach().flatten(1))
            if rows:
                kept[key] = torch.cat(rows)
        self._before, self._terms = kept, None

    def energy(self) -> float:
        """Lambda times the sum now, for reports; 0 before anything was learned."""
        value = self.penalty()
        return 0.0 if value is None else value.item()

    def state_dict(self) -> dict[str, Any]:
        """Earlier directions, by adapter."""
        return {f"before.{key}": value.clone() for key, value in self._before.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            RunError: the state is of layers or adapters that the model does not have.
        """
        found = {entry.removeprefix("before."): value for entry, value in state.items()}
        known = check_state(self._model, "O-LoRA", set(found))
        for key, value in found.items():
            down = known[key].weights[1]
            if value.dim() != 2 or value.shape[1] != down[0].numel():
                raise RunError(f"this O-LoRA state was saved for another shape of {key}")
            found[key] = value.to(down.device, copy=True)
        self._before, self._terms = found, None
