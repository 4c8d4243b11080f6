"""Density against joules, seconds, kelvins and what the bundled model draws.

    python benchmarks/heat_density.py                       JSON lines
    python benchmarks/heat_density.py draw ROWS FILE.png    a picture of such lines

The bundled core lies on phase-change cells, in tiles of 288 x 64, and draws the same pictures at
each density, from the same noise and with the same read noise. Every cell is read at its own
temperature. Wires are left out, as solving them anew for each state would take minutes.

density      cell pitch and tiles at once; ``knee`` by the curve of time and temperature of a pitch;
             ``match`` (share of pictures the judge names rightly), ``off_cold`` (root-mean-square
             difference to the pictures of the same chip at the coolant's temperature; its floor is
             "other read noise": the cold chip draws once more) and ``off_digital`` (to those of the
             weights before they were written)
calibrated   the warmest point again, after its columns were calibrated at temperature, and its cost
throttle     seconds that a limit costs, by slower work and by fewer tiles at once, with the limit
             half way up at most tiles at once
in time      the same from a cold start, over five time constants: how long at full speed, and the
             share of the work that is done, beside that at a steady pace; the limit lies at three
             quarters
temperature  all tiles at one temperature: read there at once, and after a month there; each then
             calibrated at temperature, and its cost
balance      heat that leaves below over the power of all tiles, less 1

Assumed, as nobody published them: 40 or 400 K/W from chip to air, packages without a heat sink; a
conductance of cells that grows by 0.2 % a kelvin; reads at 0.2 V; and states kept for the published
ten years at 85 degrees Celsius, lost with the 1.5 eV of an oxide. Pitches are two feature sizes at
40, 22 and 14 nm. The coolant is at 300 K, where cells were written.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clnf.chip import ChipSpec, host
from clnf.chip.heat.ageing import OXIDE_ACTIVATION_J, age
from clnf.chip.heat.calibrate import answers, calibrate
from clnf.chip.heat.course import Pacing, follow, settling_s
from clnf.chip.heat.effects import conduction_laws, warm, warm_cells
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
AT_ONCE, EACH, STEPS, SLOPE = (1, 2, 4, 8, 16, 32), 8, 6, 0.002
KELVINS, MONTH_S = (300.0, 330.0, 360.0, 390.0, 420.0), 30 * 86400.0
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
    cells = material("gst_pcm").supply(
        conductance_temperature_coefficient=SLOPE, read_voltage_v=0.2,
        retention_temperature_k=358.15, retention_activation=OXIDE_ACTIVATION_J,
    )  # fmt: skip
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
    in_time(chip, done, network, here)


def in_time(
    chip: Chip, done: dict[str, Work], network: ThermalNetwork, here: dict[str, float]
) -> None:
    """A limit held from a cold start on, beside a steady pace."""
    laws = conduction_laws(chip)
    rest = network.rest(done, laws=laws)
    limit, tau = 300.0 + 0.75 * (rest.peak_k - 300.0), settling_s(network, done)
    whole = 5 * tau
    free = whole / rest.span_s
    for how in ("slower", "fewer"):
        pacing = Pacing(
            seconds=whole, step_s=whole / 400, repeats=None, limit_k=limit, how=how
        )  # fmt: skip
        found = follow(network, [done], pacing, laws=laws)
        steady = throttle(network, done, limit, how, laws=laws)
        say(
            arm="in time", **here, how=how, time_constant_s=round(tau, 2),
            limit_rise_k=round(limit - 300.0, 2), full_speed_s=round(found.full_speed_s, 2),
            most_rise_k=round(float(found.peaks_k.max()) - 300.0, 2),
            work_done=round(found.turns / free, 4),
            work_at_steady_pace=round(rest.span_s / steady.held.span_s, 4),
        )  # fmt: skip


def at_temperatures(digital: Tensor) -> None:
    """Pictures against temperature, at once and after a month, before and after calibration."""
    one = drawing()
    chip = hosted(one)
    cold = drawn(one, chip)
    again = quality(one, one.pictures(), cold, digital)
    say(arm="temperature", kelvin=300.0, when="other read noise", calibrated=False, **again)
    wanted, state = answers(chip, reads=READS[0]), chip.state_dict()
    for kelvin in KELVINS:
        for when, seconds in (("now", 0.0), ("month", MONTH_S)):
            warm(chip, None)
            chip.load_state_dict(state)
            places = dict.fromkeys(chip.tiles, kelvin)
            if seconds:
                age(chip, seconds, places)
            warm(chip, places)
            found = drawn(one, chip)
            here = {"kelvin": kelvin, "when": when}
            say(arm="temperature", **here, calibrated=False, **quality(one, found, cold, digital))
            done = calibrate(chip, wanted, reads=READS[1])
            found = drawn(one, chip)
            say(
                arm="temperature", **here, calibrated=True,
                products_off_before=round(done.off_before, 4),
                products_off=round(done.off_after, 4),
                cost_j=done.cost.energy_j, cost_s=done.cost.time_s,
                **quality(one, found, cold, digital),
            )  # fmt: skip


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


def picture(rows: Path, path: Path) -> None:
    """Density and temperature against what they cost and what is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(12.6, 3.9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    first, second, third = figure.subplots(1, 3)
    for (pitch, package), colour, mark in zip(
        CASES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), "os^v", strict=True
    ):
        mine = [r for r in lines if r["arm"] == "density" and r["package_k_w"] == package]
        mine = [r for r in mine if r["pitch_nm"] == round(pitch * 1e9)]
        kind = {"color": colour, "marker": mark, "ms": 4}
        x, y = [r["seconds"] * 1e3 for r in mine], [r["hottest_rise_k"] for r in mine]
        first.plot(x, y, label=f"{pitch * 1e9:.0f} nm, {package:.0f} K/W", **kind)
        off = [r["off_cold"] for r in mine]
        second.plot(y, off, label=f"{pitch * 1e9:.0f} nm, {package:.0f} K/W", **kind)
        for r in mine:
            if r["knee"]:
                ring = {"ms": 12, "mfc": "none", "mec": colour}
                first.plot([r["seconds"] * 1e3], [r["hottest_rise_k"]], "o", **ring)
                second.plot([r["hottest_rise_k"]], [r["off_cold"]], "o", **ring)
    floor = max(r["off_cold"] for r in lines if r["arm"] == "other read noise")
    second.axhline(floor, color="#555555", ls=":", label="other read noise")
    first.set(xscale="log", yscale="log", xlabel="time of the work, ms")
    first.set(ylabel="hottest cell above air, K", title="1 to 32 tiles at once; rings: knees")
    second.set(xscale="log", xlabel="hottest cell above air, K")
    second.set(ylabel="pictures off those of a cold chip", title="what is drawn")
    kinds = (
        ("now", False, "#0072B2", "-"), ("now", True, "#0072B2", "--"),
        ("month", False, "#D55E00", "-"), ("month", True, "#D55E00", "--"),
    )  # fmt: skip
    for when, calibrated, colour, dash in kinds:
        mine = [r for r in lines if r["arm"] == "temperature" and r["when"] == when]
        mine = [r for r in mine if r["calibrated"] == calibrated]
        text = f"{'at once' if when == 'now' else 'after a month'}{', calibrated' * calibrated}"
        third.plot(
            [r["kelvin"] - 273.15 for r in mine], [r["match"] for r in mine], color=colour,
            ls=dash, marker="o", ms=4, label=text,
        )  # fmt: skip
    third.set(xlabel="all tiles at °C", ylabel="share named rightly", title="class match")
    third.set_ylim(-0.03, 1.05)
    first.set_xticks([30, 100, 300], ["30", "100", "300"])
    first.set_xticks([], minor=True)
    for axes in (first, second):
        axes.legend(fontsize=8)
    third.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.93))
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    torch.set_num_threads(1)
    digital = drawing().pictures()
    for pitch, package in CASES:
        case(pitch, package, digital)
    at_temperatures(digital)


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        picture(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
