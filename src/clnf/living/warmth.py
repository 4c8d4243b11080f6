"""Heat of a lesson: from its joules to the temperature at which what it taught is measured."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from torch import Tensor

from clnf.chip.heat.ageing import Activations, age, shorten_lives
from clnf.chip.heat.calibrate import answers, calibrate
from clnf.chip.heat.effects import cell_temperatures, conduction_laws, feel, warm, warm_cells
from clnf.chip.heat.network import Cooling, State, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import work
from clnf.chip.heat.throttle import throttle
from clnf.chip.hosting import Chip
from clnf.core.ledger import PICOSECONDS_PER_SECOND
from clnf.living.recipe import HeatPart

__all__ = ["Warmth", "supplied"]

_EV_J = 1.602176634e-19
# What is charged to it stands for the chip as a whole: it has no place on the plan.
_WHOLE = "the whole chip"


def supplied(part: HeatPart) -> dict[str, float]:
    """What a recipe supplies for the cells, by key of the catalogue, in SI units.

    >>> supplied(HeatPart(on=True, ageing=True, retention_hours=10.0, retention_k=358.15))
    {'retention_s': 36000.0, 'retention_temperature_k': 358.15}
    """
    found = {
        "conductance_temperature_coefficient": part.slope,
        "retention_s": part.retention_hours * 3600.0,
        "retention_temperature_k": part.retention_k,
        "retention_activation": part.retention_ev * _EV_J,
    }
    return {key: value for key, value in found.items() if value}


@final
class Warmth:
    """Lets a chip come to rest at the power of a lesson, and reads its cells that warm.

    The lesson's joules over its time are taken as a power that lasts, all tiles at once; from its
    end on the chip keeps that temperature until the end of the next lesson. What digital arithmetic
    off the tiles draws has no place on the plan and heats nothing.

    With ageing, time is time: a lesson takes as long as its longest tile, cells drift, lose states
    and live by the temperatures it made, waiting below a limit is in the bill, and a chip that
    rests between two lessons has cooled down to what cools it. Simplified: it is as warm from a
    lesson's first step on, and cools at once; both take some tens of seconds.

    Args:
        chip: with all its tiles.
        part: the recipe's.
    """

    def __init__(self, chip: Chip, part: HeatPart) -> None:
        self.chip, self.part = chip, part
        cooling = Cooling(package_k_w=part.package_k_w or None, ambient_k=part.ambient_k)
        self.network = ThermalNetwork(place(chip), cooling)
        self.activations = Activations(
            drift_j=part.drift_ev * _EV_J or None, endurance_j=part.wear_ev * _EV_J or None
        )
        # Factors of columns when the chip was cold, by tile; a calibration changed them since.
        self._cold: dict[str, Tensor] = {}
        # Temperature that cells last lived at, by tile; only where an energy of wear is known.
        self._lived_k: dict[str, float] = {}

    def rest(self, seconds: float) -> None:
        """Let the chip lie at the temperature of what cools it.

        Args:
            seconds: >= 0; at 0 it stays as warm as it is.
        """
        if not seconds:
            return
        for name, factors in self._cold.items():
            self.chip.tiles[name].compensation = factors
        self._cold = {}
        ambient_k = dict.fromkeys(self.chip.tiles, self.part.ambient_k)
        warm(self.chip, ambient_k)
        age(self.chip, seconds, ambient_k, activations=self.activations)

    def after(self, lesson: str) -> dict[str, Any]:
        """Warm the cells by what a lesson drew, and throttle or calibrate where asked to.

        Args:
            lesson: its name in the ledger.

        Returns:
            What the verdict says of it, as JSON values.

        Raises:
            ConfigError: nothing keeps the cells below the limit.
            DeviceLimitError: heat runs away and no limit was set.
        """
        chip, names = self.chip, set(self.network.plan.names)
        done = {
            name: one
            for name, one in work(chip.ledger.state(), lesson=lesson).items()
            if name in names
        }
        laws = conduction_laws(chip)
        facts: dict[str, Any] = {}
        if self.part.limit_k:
            held = throttle(self.network, done, self.part.limit_k, self.part.throttle, laws=laws)
            state = held.held
            facts = {
                "free_k": None if held.free is None else held.free.peak_k,
                "slower": held.slower,
                "at_once": held.at_once,
                "slow_down_s": held.cost_s,
            }
        else:
            state = self.network.rest(done, laws=laws)
        if self.part.ageing:
            facts |= self._age(state, facts.get("slow_down_s", 0.0))
        wanted = answers(chip, reads=self.part.calibrate) if self.part.calibrate else {}
        stay = warm_cells(chip, self.network, state)
        facts |= _figures(state) | {"tiles_unaffected": len(stay)}
        if stay:
            facts["why"] = next(iter(stay.values()))
        if wanted:
            if self.part.ageing:
                new = [name for name in wanted if name not in self._cold]
                self._cold |= {name: chip.tiles[name].compensation.clone() for name in new}
            found = calibrate(chip, wanted, reads=self.part.calibrate)
            facts["calibrated"] = {
                "off_before": found.off_before,
                "off_after": found.off_after,
                "energy_aj": found.cost.energy_aj,
            }
        return facts

    def _age(self, state: State, waited_s: float) -> dict[str, Any]:
        """Let the lesson's time pass at its temperatures."""
        chip = self.chip
        if waited_s > 0:
            waited_ps = round(waited_s * PICOSECONDS_PER_SECOND)
            chip.ledger.charge_total("wait", tile=_WHOLE, count=1, time_ps=waited_ps)
        kelvins = cell_temperatures(chip, self.network, state)
        stay = age(chip, state.span_s, kelvins, activations=self.activations)
        facts: dict[str, Any] = {"aged_s": state.span_s, "tiles_that_lose_nothing": len(stay)}
        if stay:
            facts["why_nothing_is_lost"] = next(iter(stay.values()))
        if self.activations.endurance_j is not None:
            self._lived_k = {name: float(np.mean(each)) for name, each in kelvins.items()}
            shorten_lives(chip, self._lived_k, self.activations)
        return facts

    def state_dict(self) -> dict[str, Any]:
        """Factors of columns when the chip was cold, and at what temperatures cells last lived."""
        cold = {"cold": dict(self._cold)} if self._cold else {}
        return cold | ({"lived_k": dict(self._lived_k)} if self._lived_k else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave, and the noise and lives of a chip that is warm."""
        tiles, cold = self.chip.tiles, state.get("cold", {})
        self._cold = {n: value.to(tiles[n].wear.device, copy=True) for n, value in cold.items()}
        self._lived_k = dict(state.get("lived_k", {}))
        shorten_lives(self.chip, self._lived_k, self.activations)
        feel(self.chip)


def _figures(state: State) -> dict[str, Any]:
    return {
        "hottest_k": state.peak_k,
        "hottest_tile": state.names[int(state.hottest_k.argmax())],
        "mean_k": float(state.mean_k.mean()),
        "power_w": float((state.cells_w + state.logic_w).sum()),
        "span_s": state.span_s,
    }
