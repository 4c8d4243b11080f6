"""Heat of a lesson: from its joules to the temperature at which what it taught is measured."""

from typing import Any, final

from clnf.chip.heat.calibrate import answers, calibrate
from clnf.chip.heat.effects import conduction_laws, warm_cells
from clnf.chip.heat.network import Cooling, State, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import work
from clnf.chip.heat.throttle import throttle
from clnf.chip.hosting import Chip
from clnf.living.recipe import HeatPart

__all__ = ["Warmth"]


@final
class Warmth:
    """Lets a chip come to rest at the power of a lesson, and reads its cells that warm.

    The lesson's joules over its time are taken as a power that lasts, all tiles at once; from its
    end on the chip keeps that temperature until the end of the next lesson. What digital arithmetic
    off the tiles draws has no place on the plan and heats nothing.

    Args:
        chip: with all its tiles.
        part: the recipe's.
    """

    def __init__(self, chip: Chip, part: HeatPart) -> None:
        self.chip, self.part = chip, part
        cooling = Cooling(package_k_w=part.package_k_w or None, ambient_k=part.ambient_k)
        self.network = ThermalNetwork(place(chip), cooling)

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
        wanted = answers(chip, reads=self.part.calibrate) if self.part.calibrate else {}
        stay = warm_cells(chip, self.network, state)
        facts |= _figures(state) | {"tiles_unaffected": len(stay)}
        if stay:
            facts["why"] = next(iter(stay.values()))
        if wanted:
            found = calibrate(chip, wanted, reads=self.part.calibrate)
            facts["calibrated"] = {
                "off_before": found.off_before,
                "off_after": found.off_after,
                "energy_aj": found.cost.energy_aj,
            }
        return facts


def _figures(state: State) -> dict[str, Any]:
    return {
        "hottest_k": state.peak_k,
        "hottest_tile": state.names[int(state.hottest_k.argmax())],
        "mean_k": float(state.mean_k.mean()),
        "power_w": float((state.cells_w + state.logic_w).sum()),
        "span_s": state.span_s,
    }
