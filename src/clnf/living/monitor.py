"""From measurements to a verdict: a lesson stands only if what was known still holds.

What is known is drawn and judged; the cells below it answer vectors of signs. Either may be off by
itself.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

from clnf.chip.crossbar.array import Crossbar
from clnf.chip.heat.calibrate import Calibrated, answers, calibrate
from clnf.chip.hosting import Chip
from clnf.core.records import Quality, Verdict
from clnf.core.units import quantity
from clnf.devices.cell import Unknown

__all__ = ["HardwareProbe", "KeepKnowledge", "MonitorParams", "worst_fall"]


_ASKED = 8  # vectors sent to see whether anything drifted; a calibration sends all
# Noise this many deviations wide is seen once in 16,000 looks at a tile, and there are many tiles.
_SIGMAS = 4.0
_LOST = 1e9  # the factor of a tile of which nothing is left


@final
@dataclass(frozen=True, kw_only=True)
class MonitorParams:
    """What may be lost.

    Attributes:
        tolerance: largest fall of one core concept's match.
        mean_tolerance: largest fall of the mean match over the core concepts.
        learned_tolerance: largest fall of a concept learned earlier in the stream.
        kid_tolerance: largest rise of one core concept's distance to real pictures. The match
            alone can be fooled: a judge names whatever family a strange picture is nearest to.
    """

    tolerance: float = quantity("1", 0.2)
    mean_tolerance: float = quantity("1", 0.08)
    learned_tolerance: float = quantity("1", 0.6)
    kid_tolerance: float = quantity("1", 0.7)


@final
@dataclass(frozen=True, kw_only=True)
class KeepKnowledge:
    """Compare match and KID of known concepts with a reference taken before the lesson.

    Core concepts are held against the first measurement of the run, so that small allowed losses
    cannot add up to a large one; concepts learned later against the lesson before.

    Attributes:
        params: tolerances.
        core: names of the core concepts.
        origin: the first measurement of the run.
    """

    core: tuple[str, ...]
    origin: Quality
    params: MonitorParams = field(default_factory=MonitorParams)

    def judge(self, before: Quality, after: Quality) -> Verdict:
        """Commit or roll back.

        Args:
            before: measured before the lesson; names every known concept.
            after: measured after it, over at least the same concepts.

        Returns:
            A verdict whose reason names the worst fall.
        """
        broken = self._broken(before, after)
        if broken:
            return Verdict(action="rollback", reason="; ".join(broken), before=before, after=after)
        core = {c: self.origin.get("match", c) - after.get("match", c) for c in self.core}
        since = {
            c: was - after.get("match", c)
            for c, was in before.measures["match"].items()
            if c not in self.core
        }
        reason = f"core held{_worst(core, self.params.tolerance)}"
        if since:
            later = _worst(since, self.params.learned_tolerance)
            reason += f"; later lessons within tolerance{later}"
        return Verdict(action="commit", reason=reason, before=before, after=after)

    def _broken(self, before: Quality, after: Quality) -> list[str]:
        params, broken = self.params, []
        falls = {c: self.origin.get("match", c) - after.get("match", c) for c in self.core}
        for concept, fall in falls.items():
            # The negated form also catches a match that is not a number.
            if not fall <= params.tolerance:
                broken.append(_sentence(concept, fall, params.tolerance))
            if concept in self.origin.measures.get("kid", {}):
                rise = after.get("kid", concept) - self.origin.get("kid", concept)
                if not rise <= params.kid_tolerance:
                    broken.append(
                        f"{concept} moved away from real pictures (KID up by {rise:.2f}, "
                        f"more than {params.kid_tolerance:.2f})"
                    )
        mean = sum(falls.values()) / len(falls)
        if not mean <= params.mean_tolerance:
            broken.append(_sentence("the core's mean", mean, params.mean_tolerance))
        for concept, was in before.measures["match"].items():
            fall = was - after.get("match", concept)
            if concept not in self.core and not fall <= params.learned_tolerance:
                broken.append(_sentence(concept, fall, params.learned_tolerance))
        return broken


def _worst(falls: dict[str, float], allowed: float) -> str:
    """The largest fall of a commit and what was allowed: within tolerance may still be much."""
    worst = max(falls, key=lambda c: falls[c])
    if falls[worst] <= 0:
        return ""
    return f" (largest fall: {worst}, {falls[worst]:.0%} of at most {allowed:.0%})"


def _sentence(what: str, fall: float, allowed: float) -> str:
    return f"{what} fell by {fall:.0%}, more than {allowed:.0%}"


def worst_fall(verdict: Verdict, origin: Quality, core: tuple[str, ...]) -> float:
    """By how much the match of one concept fell at most, as a share; below 0 where none fell.

    Args:
        verdict: with what was seen before and after.
        origin: the first measurement, against which core concepts are held.
        core: their names.
    """
    after = verdict.after or verdict.before
    was = {**verdict.before.measures["match"], **{c: origin.get("match", c) for c in core}}
    return max(value - after.get("match", concept) for concept, value in was.items())


@final
class HardwareProbe:
    """How far the products of a chip's tiles are off those when it was last calibrated.

    Every tile of cells that can change by themselves gets eight vectors of signs, twice. With the
    answers a that are wanted and the answers y and y' that come, sums going over columns and
    vectors,

        g = <a, y + y'> / (2 <y, y'>),  s^2 = mean((y - y')^2) / 2

    are the one factor that would fit the tile best and the variance of a product. The drift of a
    tile is what g changed by since the last calibration, less what read noise can do:

        max(0, |g / g_then - 1| - 4 s / sqrt(<y, y'>))

    What cells drift apart stays out of it: no factor undoes that, and the same vectors find the
    same of it each time.

    Wanted of stored cells is what they answered when they were programmed; of cells that learn,
    what they answered when a lesson was last settled. Cells of which neither drift nor retention
    nor temperature is known never change by themselves, and are not asked.

    Args:
        chip: charged for every product, under "calibration".
    """

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self._noted: dict[str, Tensor] = {}
        self._then: dict[str, float] = {}
        layers = [(layer.plastic, tile) for layer in chip.layers.values() for tile in layer.tiles]
        self._stored = [t.name for plastic, t in layers if not plastic and _changes(t)]
        self._learning = [t.name for plastic, t in layers if plastic and _changes(t)]

    def note(self) -> None:
        """Remember what cells that learn answer now."""
        if self._learning:
            blank = self.chip.blank
            names = [name for name in self._learning if name not in blank]
            self._noted = answers(self.chip, reads=2, names=names)
            self._then = {n: g for n, g in self._then.items() if n not in self._noted}

    def wanted(self) -> dict[str, Tensor]:
        """Answers wanted by tile, [columns, vectors] each."""
        tiles = self.chip.tiles
        return {name: tiles[name].answers for name in self._stored} | self._noted

    def off(self) -> dict[str, float]:
        """Drift of each tile that can change, as a share of its products; >= 0."""
        found = {}
        for name, (factor, doubt) in self._factors().items():
            found[name] = max(0.0, abs(factor / self._then.get(name, 1.0) - 1.0) - doubt)
        return found

    def settle(self) -> None:
        """Take the chip as calibrated: what drifts from now on is drift."""
        self._then = {name: factor for name, (factor, _) in self._factors().items()}

    def recalibrate(self, *, reads: int, inputs: Callable[[], object] | None = None) -> Calibrated:
        """Give columns new factors, and with inputs converters new ranges.

        Args:
            reads: of each vector, over which answers are averaged.
            inputs: sends typical inputs through the model.
        """
        done = calibrate(self.chip, self.wanted(), reads=reads, inputs=inputs)
        self.settle()
        return done

    def _factors(self) -> dict[str, tuple[float, float]]:
        """By tile, the factor that would fit it best, and what read noise can change of that."""
        wanted = self.wanted()
        if not wanted:
            return {}
        first, second = (answers(self.chip, names=wanted, vectors=_ASKED) for _ in range(2))
        return {name: _factor(want, first[name], second[name]) for name, want in wanted.items()}

    def state_dict(self) -> dict[str, Any]:
        """What cells that learn answered, and the factors at the last calibration."""
        return {"noted": dict(self._noted), "then": dict(self._then)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        tiles = self.chip.tiles
        self._noted = {
            name: value.to(tiles[name].wear.device, copy=True)
            for name, value in state["noted"].items()
        }
        self._then = dict(state["then"])


def _changes(tile: Crossbar) -> bool:
    """Whether these cells can change without a pulse."""
    laws = (tile.cell.drift, tile.cell.retention, tile.cell.temperature)
    return not all(isinstance(law, Unknown) for law in laws)


def _factor(want: Tensor, first: Tensor, second: Tensor) -> tuple[float, float]:
    """Of one tile, from two reads; see :class:`HardwareProbe`."""
    want, first, second = (one[:, :_ASKED].double() for one in (want, first, second))
    both = float((first * second).sum())
    if not float(want.square().sum()):
        return 1.0, 0.0  # nothing is wanted of it
    if both <= 0:
        return _LOST, 0.0
    noise = float((first - second).square().mean()) / 2
    return float((want * (first + second)).sum()) / (2 * both), _SIGMAS * math.sqrt(noise / both)
