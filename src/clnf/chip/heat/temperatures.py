"""How warm a chip gets by what its ledger says it did: one call for runs and for pictures.

    chip_temperatures(chip, "lesson-3", Housing(limit_k=358.15)) -> Temperatures

What was done is taken as repeated without end, so these are the temperatures a chip comes to rest
at; :mod:`clnf.chip.heat.course` follows them in time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from clnf.chip.heat.effects import conduction_laws
from clnf.chip.heat.network import Cooling, State, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import Work, work
from clnf.chip.heat.throttle import throttle
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Housing", "Temperatures", "chip_temperatures", "thermal_network"]


@final
@dataclass(frozen=True, kw_only=True)
class Housing:
    """How a chip is built in, and how hot it may get.

    Attributes:
        cooling: package and coolant, and how finely the map is cut.
        pitch_m: from cell to cell; None for the technology's.
        at_once: tiles that work together; None for all.
        limit_k: what the hottest cell may reach; None for no limit.
    """

    cooling: Cooling = field(default_factory=Cooling)
    pitch_m: float | None = quantity("m", None)
    at_once: int | None = quantity("1", None)
    limit_k: float | None = quantity("K", None)


@final
@dataclass(frozen=True, kw_only=True)
class Temperatures:
    """How warm a chip is at rest under some work.

    Attributes:
        tiles_k: mean temperature of each tile's cells, by name; what
            :func:`clnf.chip.heat.effects.warm` takes.
        peaks_k: of the hottest cell of each tile.
        hottest_k: of all cells.
        hottest: the tile with that cell.
        slower: how many times as long the work must take to stay below the limit; 1 where it
            stays below anyway, or has none.
        state: powers and time at these temperatures. It is the one at full speed, and so are all
            temperatures here; only where heat would run away the one held below the limit. None
            where no tile did anything and all are as warm as the coolant.
    """

    tiles_k: dict[str, float]
    peaks_k: dict[str, float]
    hottest_k: float = quantity("K")
    hottest: str
    slower: float = quantity("1", 1.0)
    state: State | None


def thermal_network(chip: Chip, housing: Housing | None = None) -> ThermalNetwork:
    """A chip's tiles on a plan in their housing, to be made once and handed on."""
    housing = housing or Housing()
    return ThermalNetwork(place(chip, pitch_m=housing.pitch_m), housing.cooling)


def chip_temperatures(
    chip: Chip,
    did: str | Mapping[str, Work],
    housing: Housing | None = None,
    *,
    network: ThermalNetwork | None = None,
) -> Temperatures:
    """Where a chip's temperatures come to rest while it does something again and again.

    Nothing is changed. Cells whose material says how they conduct in warmth draw accordingly.

    Args:
        chip: whose ledger and materials count.
        did: a lesson in the ledger; or work by tile, from :func:`clnf.chip.heat.power.work`, for
            instance between two states of the ledger.
        housing: package, pitch, tiles at once, limit.
        network: from :func:`thermal_network` for the same chip and housing, which spares solving
            it anew in every lesson.

    Raises:
        ConfigError: no such lesson; the limit is not above the coolant's temperature, or no
            waiting keeps below it.
        DeviceLimitError: heat runs away, and there is no limit to hold it.
    """
    housing = housing or Housing()
    done = _of_lesson(chip, did) if isinstance(did, str) else dict(did)
    network = network or thermal_network(chip, housing)
    if not any(one.busy_s > 0 for one in done.values()):
        idle = dict.fromkeys(network.plan.names, network.cooling.ambient_k)
        first = network.plan.names[0]
        return Temperatures(
            tiles_k=idle, peaks_k=dict(idle), hottest_k=idle[first], hottest=first, state=None
        )
    limit, laws = housing.limit_k, conduction_laws(chip)
    if limit is None:
        state, slower = network.rest(done, at_once=housing.at_once, laws=laws), 1.0
    else:
        found = throttle(network, done, limit, "slower", at_once=housing.at_once, laws=laws)
        state, slower = found.free or found.held, found.slower
    return Temperatures(
        tiles_k=dict(zip(state.names, state.mean_k.tolist(), strict=True)),
        peaks_k=dict(zip(state.names, state.hottest_k.tolist(), strict=True)),
        hottest_k=state.peak_k,
        hottest=state.names[int(state.hottest_k.argmax())],
        slower=slower,
        state=state,
    )


def _of_lesson(chip: Chip, lesson: str) -> dict[str, Work]:
    rows = chip.ledger.state()
    if lesson not in {row[1] for row in rows}:
        raise ConfigError(f"nothing was charged to a lesson {lesson!r}; name one of the ledger")
    return work(rows, lesson=lesson)
