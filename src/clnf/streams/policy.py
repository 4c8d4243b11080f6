"""What to do when something changed: consolidate, recalibrate, roll back, or nothing.

A detector says that a number changed. What that means depends on which: pictures that look
different are news to be learned with care; a probe that fell with no news is hardware that
drifted; a probe that fell with a lesson is a lesson that did harm. :func:`decide` holds that
table, and a caller with other wishes passes its own :class:`DriftPolicy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Change", "Decision", "DriftPolicy", "Response", "Signals", "decide"]

Change = Literal["data", "step", "hardware", "harm"]
Response = Literal["nothing", "consolidate", "recalibrate", "rollback"]

_RESPONSES = ("nothing", "consolidate", "recalibrate", "rollback")


@final
@dataclass(frozen=True, kw_only=True)
class Signals:
    """What was seen.

    Attributes:
        data: quantities of the stream in which drift was found, as in ``Admission.drift``.
        news: what a lesson brings, in sentences, as ``drift_lessons.News`` says it.
        step: what was odd about a step's loss or gradient norm, as ``Sentry.judge`` says it.
        probe_drop: fall of the worst probe of what is known, >= 0, as a share.
        taught: whether weights were taught since the probe was last measured.
        hardware: worst drift of a tile's products off those wanted of it, as a share of them;
            0 without hardware.
    """

    data: tuple[str, ...] = ()
    news: tuple[str, ...] = ()
    step: str = ""
    probe_drop: float = quantity("1", 0.0)
    taught: bool = True
    hardware: float = quantity("1", 0.0)


@final
@dataclass(frozen=True, kw_only=True)
class DriftPolicy:
    """Which change is answered how.

    Attributes:
        probe_tolerance: fall of a probe that is none, >= 0.
        hardware_tolerance: drift of read weights that is none, >= 0.
        responses: to the stream's data, to an odd step, to drifted hardware, to harm done by a
            lesson. Consolidating keeps importance and examples of what is known before the
            changed stream is learned.
    """

    probe_tolerance: float = quantity("1", 0.02)
    hardware_tolerance: float = quantity("1", 0.02)
    responses: Mapping[Change, Response] = field(
        default_factory=lambda: {
            "data": "consolidate",
            "step": "nothing",
            "hardware": "recalibrate",
            "harm": "rollback",
        }
    )

    def __post_init__(self) -> None:
        known = set(self.responses) == {"data", "step", "hardware", "harm"}
        if not known or not set(self.responses.values()) <= set(_RESPONSES):
            raise ConfigError(
                f"a policy answers data, step, hardware and harm by {', '.join(_RESPONSES)}, got "
                f"{dict(self.responses)}"
            )
        if not (self.probe_tolerance >= 0.0 and self.hardware_tolerance >= 0.0):
            raise ConfigError(
                f"tolerances are at least 0, got {self.probe_tolerance} for probes and "
                f"{self.hardware_tolerance} for hardware"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, what for, and why in one sentence."""

    response: Response
    change: Change | None
    reason: str


def decide(signals: Signals, policy: DriftPolicy | None = None) -> Decision:
    """The response to what was seen: the gravest change that the policy answers.

    In order: harm (a probe fell and something was taught), hardware (a probe fell though nothing
    was taught, or weights read otherwise than they were written), data, step. Hardware comes
    before harm where both would explain the fall: a roll-back would write cells that only need
    another scale.

    Args:
        signals: what was seen.
        policy: the usual one where not given.

    >>> decide(Signals(probe_drop=0.2)).response, decide(Signals(data=("edges",))).response
    ('rollback', 'consolidate')
    """
    rules = policy or DriftPolicy()
    # The negated forms take a value that is not a number for the worst.
    fell = not signals.probe_drop <= rules.probe_tolerance
    drifted = not signals.hardware <= rules.hardware_tolerance
    found: list[tuple[Change, str]] = []
    drop = f"a probe fell by {signals.probe_drop:.1%}"
    if drifted:
        found.append(("hardware", f"weights read {signals.hardware:.1%} off what was written"))
    elif fell and not signals.taught:
        found.append(("hardware", f"{drop} though nothing was taught"))
    if fell and signals.taught:
        found.append(("harm", f"{drop} while something was taught"))
    if signals.news:
        found.append(("data", "; ".join(signals.news)))
    elif signals.data:
        found.append(("data", f"the stream changed in {', '.join(signals.data)}"))
    if signals.step:
        found.append(("step", signals.step))
    for change, reason in found:
        response = rules.responses[change]
        if response != "nothing":
            return Decision(response=response, change=change, reason=reason)
    reason = "; ".join(reason for _, reason in found) or "nothing changed"
    return Decision(response="nothing", change=None, reason=reason)
