"""Density: how finely cells lie and how many tiles work at once, against joules, time and kelvins.

Each line of a sweep is a chip at rest. Along tiles at once, time falls while temperature rises;
the knee is the point of that curve farthest from the straight line between its ends, both axes
scaled to 0 to 1 (Satopaa et al., "Finding a Kneedle in a Haystack", 2011).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from clnf.chip.heat.effects import conduction_laws
from clnf.chip.heat.network import Cooling, State, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import Work
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Point", "density", "knee"]


@final
@dataclass(frozen=True, kw_only=True)
class Point:
    """One density.

    Attributes:
        pitch_m: from cell to cell.
        at_once: tiles that work together.
        area_m2: of the chip.
        state: where it comes to rest.
        knee: whether this is the knee of its pitch.
    """

    pitch_m: float = quantity("m")
    at_once: int = quantity("1")
    area_m2: float = quantity("m2")
    state: State
    knee: bool = False


def density(
    chip: Chip,
    done: Mapping[str, Work],
    pitches_m: Sequence[float],
    at_once: Sequence[int],
    cooling: Cooling,
) -> list[Point]:
    """Rest at each pitch and each number of tiles at once, in that order.

    Args:
        chip: whose materials say how conductance goes with temperature.
        done: the work that is repeated.
        pitches_m: from cell to cell.
        at_once: tiles that work together, rising.
        cooling: of all of them.
    """
    points = []
    laws = conduction_laws(chip)
    for pitch in pitches_m:
        plan = place(chip, pitch_m=pitch)
        network = ThermalNetwork(plan, cooling)
        states = [network.rest(done, at_once=number, laws=laws) for number in at_once]
        curve = [(state.span_s, state.peak_k) for state in states]
        best = knee(curve) if len(set(curve)) > 2 else None
        points += [
            Point(
                pitch_m=pitch,
                at_once=number,
                area_m2=plan.width_m * plan.depth_m,
                state=state,
                knee=place_of == best,
            )
            for place_of, (number, state) in enumerate(zip(at_once, states, strict=True))
        ]
    return points


def knee(curve: Sequence[tuple[float, float]]) -> int:
    """Which point of a falling curve lies farthest below the line between its ends.

    Args:
        curve: (time, temperature), in order along either.

    Raises:
        ConfigError: fewer than three points, or all of one time or temperature.

    >>> knee([(10.0, 1.0), (5.0, 2.0), (2.0, 5.0), (1.0, 10.0)])
    1
    """
    points = np.array(curve, dtype=np.float64)
    if len(points) < 3 or not (np.ptp(points, axis=0) > 0).all():
        raise ConfigError(f"a knee needs at least three points that differ, got {len(points)}")
    low = points.min(0)
    scaled = (points - low) / np.ptp(points, axis=0)
    first, last = scaled[0], scaled[-1]
    across = last - first
    off = scaled - first
    distance = across[0] * off[:, 1] - across[1] * off[:, 0]
    # Below the chord of a falling curve is the corner where both are small.
    toward = across[0] * -first[1] - across[1] * -first[0]
    return int(np.argmax(distance * np.sign(toward)))
