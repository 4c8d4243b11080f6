"""From measurements to a verdict: a lesson stands only if what was known still holds."""

from dataclasses import dataclass, field
from typing import final

from clnf.core.records import Quality, Verdict
from clnf.core.units import quantity

__all__ = ["KeepKnowledge", "MonitorParams"]


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
