"""Density against joules, seconds, kelvins and what the bundled model draws.

The bundled core lies on phase-change cells, in tiles of 288 x 64, and draws the same pictures at
each density, from the same noise and with the same read noise. Every cell is read at its own
temperature. Wires are left out, as solving them anew for each state would take minutes.

density      cell pitch and tiles at once; ``knee`` by the curve of time and temperature of a pitch.
             Measured at the knee and at most: ``match`` (share of pictures the judge names
             rightly), ``off_cold`` (root-mean-square difference to the pictures of the same chip
             at the coolant's temperature; its floor is "other read noise": the cold chip draws
             once more) and ``off_digital`` (to those of the weights before they were written)
calibrated   the warmest point again, after its columns were calibrated at temperature, and its cost
throttle     seconds that a limit costs, by slower work and by fewer tiles at once, with the limit
             half way up at most tiles at once
balance      heat that leaves below over the power of all tiles, less 1

Assumed, as nobody published them: 40 or 400 K/W from chip to air, packages without a heat sink, and
a conductance of cells that grows by 0.2 % a kelvin. Pitches are two feature sizes at 40, 22 and
14 nm. The coolant is at 300 K, where cells were written.
"""

import json
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clnf.chip import ChipSpec, host
from clnf.chip.heat.calibrate import answers, calibrate
from clnf.chip.heat.effects import conduction_laws, warm_cells
from clnf.chip.heat.network import Cooling, State, ThermalNetwork
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import Work, work
from clnf.chip.heat.solve import Steady
from clnf.chip.heat.sweep import density
from clnf.chip.heat.throttle import throttle
from clnf.chip.hosting import Chip
from clnf.core.rng import fold
from clnf.devices.materials import material
from clnf.media.bundled import load_core, load_judge
from clnf.media.flow import FlowModel, last, noise_for

CASES = ((80e-9, 40.0), (44e-9, 40.0), (28e-9, 40.0), (28e-9, 400.0))  # m, K/W
AT_ONCE, EACH, STEPS, SLOPE = (1, 2, 4, 8, 16, 32), 4, 6, 0.002
READS = 64, 16  # of each vector, when all is well and at temperature


class Drawing(NamedTuple):
    """A model, what it is asked for, and from what noise."""

    engine: FlowModel
    families: list[str]
    noise: Tensor

    def pictures(self) -> Tensor:
        """All pictures."""
        rows = torch.arange(1, len(self.families) + 1).repeat_interleave(EACH)
        start = self.noise.clone()
        return last(self.engine.sample(rows, noise=start, steps=STEPS, guidance=2.0))


def say(**values: Any) -> None:
    """One line of results."""
    print(json.dumps({"benchmark": "heat_density", **values}), flush=True)


def drawing() -> Drawing:
    """The bundled model, new."""
    engine, facts = load_core()
    families = facts["families"]
    seeds = [fold(1, "heat", n) for n in range(EACH * len(families))]
    return Drawing(engine.requires_grad_(False), families, noise_for(seeds, (3, 32, 32)))


def hosted(one: Drawing) -> Chip:
    """The model's chip, written at 300 K."""
    cells = material("gst_pcm").supply(conductance_temperature_coefficient=SLOPE)
    spec = ChipSpec(core=cells, tile_rows=288, tile_columns=64)
    chip = host(one.engine, assign=lambda name, leaf: "core", seed=1, spec=spec)
    chip.program_core()
    return chip


def drawn(one: Drawing, chip: Chip) -> Tensor:
    """Pictures with the read noise of a first drawing."""
    for layer in chip.layers.values():
        layer.reads = 0
    return one.pictures()


def quality(one: Drawing, found: Tensor, cold: Tensor, digital: Tensor) -> dict[str, float]:
    """How good pictures are."""
    judge, _ = load_judge()
    parts = zip(found.split(EACH), one.families, strict=True)
    return {
        "match": round(sum(judge.match(x, name) for x, name in parts) / len(one.families), 3),
        "off_cold": round(float((found - cold).square().mean().sqrt()), 4),
        "off_digital": round(float((found - digital).square().mean().sqrt()), 4),
    }


def figures(state: State) -> dict[str, float]:
    """Joules, seconds and kelvins of a state."""
    return {
        "joules": float(f"{state.energy_j:.5g}"), "seconds": float(f"{state.span_s:.4g}"),
        "mean_rise_k": round(float(state.mean_k.mean()) - 300.0, 2),
        "hottest_rise_k": round(state.peak_k - 300.0, 2),
    }  # fmt: skip


def case(pitch: float, package: float, digital: Tensor) -> None:
    """One pitch in one package."""
    one = drawing()
    chip = hosted(one)
    before = chip.ledger.state()
    cold = drawn(one, chip)
    done = work(chip.ledger.state(), before)
    here = {"pitch_nm": round(pitch * 1e9), "package_k_w": package}
    cooling = Cooling(package_k_w=package, ambient_k=300.0)
    again = quality(one, one.pictures(), cold, digital)
    say(arm="other read noise", **here, tiles_at_once=0, **again)
    points = density(chip, done, (pitch,), AT_ONCE, cooling)
    network = ThermalNetwork(place(chip, pitch_m=pitch), cooling)
    wanted = answers(chip, reads=READS[0])
    for point in points:
        shown: dict[str, float] = {}
        if point.knee or point.at_once == AT_ONCE[-1]:
            warm_cells(chip, network, point.state)
            shown = quality(one, drawn(one, chip), cold, digital)
        say(
            arm="density", **here, tiles_at_once=point.at_once, mm2=round(point.area_m2 * 1e6, 2),
            **figures(point.state), knee=point.knee, **shown,
        )  # fmt: skip
    found = calibrate(chip, wanted, reads=READS[1])
    say(
        arm="calibrated", **here, tiles_at_once=AT_ONCE[-1],
        products_off_before=round(found.off_before, 4), products_off=round(found.off_after, 4),
        cost_j=found.cost.energy_j, cost_s=found.cost.time_s,
        **quality(one, drawn(one, chip), cold, digital),
    )  # fmt: skip
    throttled(chip, done, network, here)


def throttled(
    chip: Chip, done: dict[str, Work], network: ThermalNetwork, here: dict[str, float]
) -> None:
    """What a limit costs, and the balance of heat."""
    laws = conduction_laws(chip)
    free = network.rest(done, laws=laws)
    limit = 300.0 + (free.peak_k - 300.0) / 2
    for how in ("slower", "fewer"):
        held = throttle(network, done, limit, how, laws=laws)
        say(
            arm="throttle", **here, how=how,
            limit_rise_k=round(limit - 300.0, 2), seconds_free=free.span_s,
            seconds_more=float(f"{held.cost_s:.4g}"), slower=round(held.slower, 3),
            tiles_at_once=held.at_once, **figures(held.held),
        )  # fmt: skip
    solver, power = Steady(network.stack), network.powers(free)
    out = solver.carried_w(solver.field(power))
    balance = out / (free.cells_w.sum() + free.logic_w.sum()) - 1
    say(arm="balance", **here, heat_out_over_in_less_1=float(f"{balance:.1e}"))


def main() -> None:
    torch.set_num_threads(1)
    digital = drawing().pictures()
    for pitch, package in CASES:
        case(pitch, package, digital)


if __name__ == "__main__":
    main()
