"""Event-driven updates: nothing is pulsed where the error is small.

Four places for the threshold:

    worth    a pulse is given only if it lowers the loss by so much: the running gradient of its
             weight times its step (mixed mode)
    cells    a cell is pulsed only once what it is owed reaches so many pulses (mixed mode)
    samples  a sample whose largest error |d| in a layer is below threshold x scale moves nothing
             of that layer: all its columns are silent (every mode)
    errors   a single |d| below threshold x scale becomes 0: its column is silent (every mode)

The last is the plainest and the worst: under a softmax the errors of the wrong classes are many
and small, and without them nothing holds the right class back.

``scale`` is the root-mean-square error of a layer's first batch, one number beside the group, so
that one threshold serves all layers; it stays fixed, and events grow rare as errors shrink.

With a budget of pulses for a lesson the threshold follows (:mod:`clnf.devices.worth`). What pulses
are worth is known before one is given, so the threshold on it is found anew at each step: the best
come first, and no more are given than the budget allows. Any other threshold follows what is left,
and once the budget is spent nothing is an event until the next lesson. What is withheld is lost,
not owed, and is a row "withheld" in the ledger: the pulses it would have made at the same pulses
per error as what did pass, an estimate. Of "worth" and "cells" it stays in the accumulator. Under
backpropagation a silenced error is silent for the layers below as well.

After SOEL (Stewart et al., arXiv 2008.01151), where a neuron's update waits for an error large
enough; the controller is this package's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from clnf.chip.analog import AbstractAnalog
from clnf.chip.updates import PulseOptimizer
from clnf.chip.updates.mixed import charge_digital
from clnf.core.errors import ConfigError
from clnf.core.inputs import check_fields
from clnf.core.units import quantity
from clnf.devices.worth import Offer, check_budget, least_paid, part, turn

__all__ = ["EventRule", "Events"]

_LEAST = 1e-3
_BY_CELL = ("worth", "cells")


@final
@dataclass(frozen=True, kw_only=True)
class EventRule:
    """What counts as an event.

    Attributes:
        threshold: in root-mean-squares of the first errors, in pulses owed (cells, >= 1), or in
            the loss that one pulse saves (worth).
        on: where it is: see the head of this module.
        budget: pulses allowed in a lesson; None leaves the threshold as it is.
        steps: optimizer steps of a lesson, over which the budget is spread.
        falling: spread it as a rate that falls to 0 in a straight line spends it, not evenly.
        gain: how fast a threshold that is not on worth follows, in (0, 1].
    """

    threshold: float = quantity("1")
    on: Literal["worth", "cells", "samples", "errors"] = "samples"
    budget: int | None = quantity("1", None)
    steps: int = quantity("1", 1)
    falling: bool = False
    gain: float = quantity("1", 0.25)

    def __post_init__(self) -> None:
        check_fields(self)
        least = 1.0 if self.on == "cells" else 0.0
        if not least <= self.threshold < float("inf"):
            raise ConfigError(
                f"a threshold on {self.on} is at least {least:g}, got {self.threshold}"
            )
        check_budget(self.budget, self.steps, self.gain)


@final
class Events:
    """Stands between errors and an optimizer; call its :meth:`step` in place of the optimizer's.

    Args:
        optimizer: of the layers.
        rule: what counts as an event.

    Attributes:
        threshold: as it is now.
        spent: pulses in this lesson.
        seen: errors that came by, by layer.
        passed: those that were events.
    """

    def __init__(self, optimizer: PulseOptimizer, rule: EventRule) -> None:
        if rule.on in _BY_CELL and optimizer.rule.mode != "mixed":
            raise ConfigError(
                f"cells are owed pulses in the mixed mode only, not in {optimizer.rule.mode!r}; "
                "put the threshold on samples"
            )
        self.optimizer, self.rule = optimizer, rule
        self.threshold = rule.threshold
        self.spent, self.steps = 0, 0
        self.seen: dict[str, int] = {}
        self.passed: dict[str, int] = {}
        self._scale: dict[str, float] = {}
        self._mass: dict[str, list[float]] = {}
        self._given: dict[str, list[float]] = {}
        if rule.on == "worth":
            optimizer.least_worth = self._affordable
        self._hooks = [self._watch(layer) for layer in optimizer.layers.values()]

    @property
    def open(self) -> bool:
        """Whether anything may be an event: the budget is not spent."""
        return self.rule.budget is None or self.spent < self.rule.budget

    def lesson(self) -> None:
        """Begin a lesson: the budget is whole again, the threshold stays."""
        self.spent, self.steps = 0, 0

    def step(self) -> None:
        """One step of the optimizer, with the events only; the threshold follows the budget."""
        ledger, rule = self.optimizer.bill.ledger, self.rule
        before = self._pulses()
        if rule.on == "cells":
            now = float("inf") if not self.open else self.threshold
            self.optimizer.rule = replace(self.optimizer.rule, threshold=now)
        self.optimizer.step()
        after = self._pulses()
        for name, mass in self._mass.items():
            given, kept = self._given.setdefault(name, [0.0, 0.0])
            given, kept = given + after[name] - before[name], kept + mass[0]
            self._given[name] = [given, kept]
            saved = round(given * mass[1] / kept) if kept else 0
            ledger.charge_total("withheld", tile=name, count=saved)
        self._mass.clear()
        used = sum(after.values()) - sum(before.values())
        self.spent, self.steps = self.spent + used, self.steps + 1
        if rule.budget is not None and rule.on != "worth" and self.open:
            self._follow(used, rule.budget)

    def remove(self) -> None:
        """Let all errors pass again."""
        self.optimizer.least_worth = None
        for hook in self._hooks:
            hook.remove()

    def _part(self) -> float:
        """Part of what is left of the budget that the next step may take."""
        return part(self.rule.steps - self.steps, falling=self.rule.falling)

    def _follow(self, used: int, budget: int) -> None:
        found = self.threshold * turn(used, (budget - self.spent) * self._part(), self.rule.gain)
        self.threshold = max(found, 1.0 if self.rule.on == "cells" else _LEAST)

    def _affordable(self, offered: Sequence[Offer]) -> float:
        """The threshold on worth at this step: the rule's, or what the budget can pay."""
        rule, bill = self.rule, self.optimizer.bill
        # Each is worked out and compared once.
        charge_digital(bill, "digital", sum(one.worth.numel() for one in offered), 1, 1)
        if rule.budget is not None:
            allowed = int((rule.budget - self.spent) * self._part())
            self.threshold = least_paid(offered, allowed, rule.threshold)
        return self.threshold

    def _pulses(self) -> dict[str, int]:
        """Pulses so far by layer that learns now, those of cells beside its tiles included."""
        found: dict[str, int] = {}
        learn = (one for one in self.optimizer.layers.values() if one.weight.requires_grad)
        for layer in learn:
            tiles = [t for tile in layer.tiles for t in (tile, tile.fast) if t is not None]
            found[layer.tiles[0].name] = sum(int(tile.wear.sum()) for tile in tiles)
        return found

    def _watch(self, layer: AbstractAnalog) -> RemovableHandle:
        def ahead(module: nn.Module, inputs: Any, out: Tensor) -> None:
            # A read that teaches nothing, as while states relax, is none of this gate's business.
            if out.requires_grad and layer.weight.requires_grad:
                out.register_hook(lambda error: self._gate(layer.tiles[0].name, error))

        return layer.register_forward_hook(ahead)

    def _gate(self, name: str, error: Tensor) -> Tensor:
        """The error with what is no event set to 0."""
        if self.rule.on in _BY_CELL:
            return error
        size = error.detach().abs()
        if name not in self._scale and bool(size.any()):
            self._scale[name] = float(size.square().mean().sqrt())
        wanted = self.threshold * self._scale.get(name, 0.0)
        whole = size.flatten(1).amax(1).view(-1, *(1,) * (size.dim() - 1))
        event = ((whole if self.rule.on == "samples" else size) >= wanted).expand_as(size)
        event = event if self.open else torch.zeros_like(event)
        self.seen[name] = self.seen.get(name, 0) + size.numel()
        self.passed[name] = self.passed.get(name, 0) + int(event.sum())
        kept = float(size[event].sum())
        mass = self._mass.setdefault(name, [0.0, 0.0])
        mass[0], mass[1] = mass[0] + kept, mass[1] + float(size.sum()) - kept
        return error * event
