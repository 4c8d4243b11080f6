"""Keeping cells below a temperature: work slower, or let fewer tiles work at once.

Slower means that every tile waits between its reads; fewer means that tiles take turns. Both cut
the mean power of the chip. Where the time is the longest tile's anyway, a few tiles fewer at once
cost nothing, which slowing cannot do; but turns change the power of all tiles alike only on
average over the whole work, and bursts shorter than the chip's time constants are not resolved.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

from clnf.chip.heat.network import Law, State, ThermalNetwork
from clnf.chip.heat.power import Work, span_s
from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.units import quantity

__all__ = ["Throttled", "throttle"]

_FINE = 1e-6
_SLOWEST = 1e9


@final
@dataclass(frozen=True, kw_only=True)
class Throttled:
    """What it takes to stay below a limit.

    Attributes:
        how: slower or fewer.
        limit_k: what the hottest cell may reach.
        at_once: tiles that work together.
        slower: factor on the time.
        cost_s: seconds more than at full speed.
        free: the state at full speed; None where heat would run away.
        held: the state below the limit.
    """

    how: Literal["slower", "fewer"]
    limit_k: float = quantity("K")
    at_once: int = quantity("1")
    slower: float = quantity("1")
    cost_s: float = quantity("s")
    free: State | None
    held: State


def throttle(
    network: ThermalNetwork,
    done: Mapping[str, Work],
    limit_k: float,
    how: Literal["slower", "fewer"],
    *,
    at_once: int | None = None,
    laws: Mapping[str, Law] | None = None,
) -> Throttled:
    """Find the least throttling that keeps every cell below a limit.

    Args:
        network: the chip's.
        done: the work that is repeated.
        limit_k: for the hottest cell.
        how: longer waits, to a millionth; or the most tiles at once.
        at_once: tiles that work together at full speed; None for all of them.
        laws: see :meth:`ThermalNetwork.rest`.

    Raises:
        ConfigError: the limit is not above the coolant's temperature, or one tile at a time is
            still too hot.
    """
    if not limit_k > network.cooling.ambient_k:
        raise ConfigError(
            f"a limit lies above the coolant's {network.cooling.ambient_k:g} K, got {limit_k:g} K"
        )
    tiles = at_once or len(network.plan.sites)

    def at(number: int, slower: float = 1.0) -> State | None:
        try:
            return network.rest(done, at_once=number, slower=slower, laws=laws)
        except DeviceLimitError:  # heat runs away
            return None

    def holds(state: State | None) -> bool:
        return state is not None and state.peak_k <= limit_k

    free = at(tiles)
    number, slower = tiles, 1.0
    if how == "fewer" and not holds(free):
        number = _most(lambda n: holds(at(n)), tiles)
    elif not holds(free):
        slower = _least(lambda factor: holds(at(tiles, factor)))
    held = network.rest(done, at_once=number, slower=slower, laws=laws)
    return Throttled(
        how=how,
        limit_k=limit_k,
        at_once=number,
        slower=slower,
        cost_s=held.span_s - span_s(dict(done), tiles),
        free=free,
        held=held,
    )


def _most(holds: Callable[[int], bool], tiles: int) -> int:
    """The largest number of tiles for which it holds, as it does for all below."""
    low, high = 0, tiles
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    if low == 0:
        raise ConfigError(
            "even one tile at a time is hotter than the limit; work slower, or cool better"
        )
    return low


def _least(holds: Callable[[float], bool]) -> float:
    """The smallest factor for which it holds, as it does for all above."""
    low, high = 1.0, 2.0
    while not holds(high):
        low, high = high, high * 2
        if high > _SLOWEST:
            raise ConfigError("no waiting keeps the cells below the limit; cool better")
    while high / low > 1 + _FINE:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
