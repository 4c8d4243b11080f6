"""What a gate on errors saves in writes and joules, and what it costs in accuracy; a figure.

    python benchmarks/spiking_gate.py                  JSON lines, all runs
    python benchmarks/spiking_gate.py into FILE        runs that the file lacks, added to it
    python benchmarks/spiking_gate.py table FILE       runs of a file as a table
    python benchmarks/spiking_gate.py picture FILE PNG the curve, and windows of STDP, from runs or
                                                       from their means in benchmarks/RESULTS.md

The digits, code and net of ``spiking_digits.py`` on pairs of HfO2 cells (``hfo2_array_optimised``,
dead cells as published), gradients through time, rate 0.3, three passes in batches of 32, seeds 1
to 3. Arms:

    samples T  a sample teaches where its largest error is T root-mean-squares of the first errors
    errors T   the same for each error by itself
    owed K     no gate, but a cell is written once K pulses are owed to it
    both T K   samples T and owed K
    budget B   samples 1 at the start, and B pulses a pass, spent as errors come
    worth B    B pulses a pass, those worth most first, in parts that fall to 0
    spared B   the same behind samples 1.5
    rate R     no gate, a learning rate of R: what fewer pulses cost without any rule

``saved`` is against ``samples 0``, which passes everything, in pulses of the same seed.
``backward`` is the share of samples that went back through the net (of errors, under errors).
``write_j`` is the ledger's; ``digital_j`` the arithmetic of the way back for samples that went, as
in the other script.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peers.rows import command, rows_in
from spiking_digits import BATCH, HIDDEN, MAC_J, STAND_IN, digits, memristive, net_of, right
from spiking_split import stand_in
from torch.nn import functional as F

from clnf.core.ledger import Ledger
from clnf.core.rng import torch_rng
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.devices.voltage import Sinh
from clnf.spiking.memristive import (
    Gate,
    GateRule,
    Lay,
    Overlap,
    PulseSGD,
    PulseUpdate,
    action,
    laid,
    window,
)
from clnf.spiking.tasks import PictureCode

SEEDS, PASSES, RATE = (1, 2, 3), 3, 0.3
ARMS = [
    *(("samples", t, 1.0) for t in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.9)),
    *(("errors", t, 1.0) for t in (0.1, 0.3, 1.0)),
    *(("owed", 0.0, k) for k in (2.0, 4.0)),
    ("both", 1.5, 4.0),
    *((kind, b, 1.0) for kind in ("budget", "worth") for b in (5000.0, 9000.0, 18000.0)),
    *(("spared", b, 1.0) for b in (9000.0, 18000.0)),
    *(("rate", r, 1.0) for r in (0.05, 0.1, 0.2)),
]
COLOURS = {
    "samples": "#0072B2", "errors": "#D55E00", "owed": "#009E73", "both": "#CC79A7",
    "budget": "#555555", "worth": "#56B4E9", "spared": "#000000", "rate": "#999999",
}  # fmt: skip
# Where the numbers at the ends of each line stand, in points from it.
ENDS = {
    "samples": ((5, 2), (5, -3)), "errors": ((5, 2), (5, -3)), "owed": ((4, 4), (-3, -11)),
    "both": ((-18, 2),), "budget": ((4, -8), (5, -6)), "worth": ((4, -8), (-14, 6)),
    "rate": ((-20, 2), (3, 3)),
}  # fmt: skip


def gates(kind: str, amount: float) -> tuple[Gate, Gate]:
    """The one that errors go through, and the one that knows the budget."""
    steps, budget = -(-8000 // BATCH), round(amount)
    if kind in ("worth", "spared"):
        rule = GateRule(on="worth", budget=budget, steps=steps, falling=True)
        return Gate(GateRule(threshold=1.5 if kind == "spared" else 0.0)), Gate(rule)
    rule = GateRule(threshold=0.0 if kind in ("owed", "rate") else amount)
    if kind == "errors":
        rule = GateRule(threshold=amount, on="errors")
    if kind == "budget":
        rule = GateRule(threshold=1.0, budget=budget, steps=steps)
    gate = Gate(rule)
    return gate, gate


def row_of(kind: str, amount: float, least: float, seed: int) -> dict[str, Any]:
    """One run."""
    begun, code = time.process_time(), PictureCode()
    sets, net, ledger = digits(code), net_of(code, seed), Ledger()
    (x, y), (gate, budget) = sets["train"], gates(kind, amount)
    one = cell(material("hfo2_array_optimised").supply(**stand_in()))
    arrays = laid(net, one, seed=seed, lay=Lay(range_v=0.6), ledger=ledger)
    update, rate = PulseUpdate(least=least), amount if kind == "rate" else RATE
    optimizer = PulseSGD(net.parameters(), arrays, lr=rate, rule=update, gate=budget)
    ledger.lesson = "teaching"
    for n in range(PASSES):
        gate.lesson()
        budget.lesson()
        for index in torch.randperm(len(y), generator=torch_rng(seed, "order", n)).split(BATCH):
            optimizer.zero_grad()
            out = gate(net.potentials(x[:, index]).mean(0))
            F.cross_entropy(out, y[index]).backward()
            optimizer.step()
    first, last = net.operations(sets["held_out"][0])
    went = gate.share if kind != "errors" else 1.0
    ops = PASSES * len(y) * went * (code.steps * 10 * HIDDEN + (first + last) / 2000)
    if budget is not gate:
        ops += 3 * int(budget.steps) * PASSES * sum(one.numel() for one in arrays)
    return {
        "benchmark": "spiking_gate", "kind": kind, "amount": amount, "least": least, "seed": seed,
        "accuracy": right(net, sets["held_out"]), "pulses": optimizer.pulses,
        "backward": gate.share, "write_j": ledger.total(lesson="teaching", op="pulse").energy_j,
        "digital_j": [ops * each for each in MAC_J],
        "worn": max(array.most_worn() for array in arrays.values()),
        "seconds": round(time.process_time() - begun, 1),
    }  # fmt: skip


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that are not there yet."""
    have = {(one["kind"], one["amount"], one["least"], one["seed"]) for one in done}
    for seed in SEEDS:
        for arm in ARMS:
            if (*arm, seed) not in have:
                yield row_of(*arm, seed)


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over seeds."""
    every = {one["seed"]: one for one in rows if (one["kind"], one["amount"]) == ("samples", 0.0)}
    for arm in ARMS:
        own = [one for one in rows if (one["kind"], one["amount"], one["least"]) == arm]
        own = [one for one in own if one["seed"] in every]
        if not own:
            continue
        line: dict[str, Any] = dict(zip(("kind", "amount", "least"), arm, strict=True))
        for key in ("accuracy", "pulses", "backward", "write_j", "worn"):
            line[key] = float(f"{statistics.mean(one[key] for one in own):.4g}")
        saved = [1 - one["pulses"] / every[one["seed"]]["pulses"] for one in own]
        lost = [every[one["seed"]]["accuracy"] - one["accuracy"] for one in own]
        sides = zip(*(one["digital_j"] for one in own), strict=True)
        line["digital_j"] = [float(f"{statistics.mean(side):.3g}") for side in sides]
        line |= {"saved": statistics.mean(saved), "points": 100 * statistics.mean(lost)}
        line["each"] = [round(one["accuracy"], 4) for one in own]
        yield {"benchmark": "spiking_gate", **line}


def name_of(one: dict[str, Any]) -> str:
    """An arm in words."""
    if one["kind"] == "owed":
        return f"owed {one['least']:g}"
    return f"{one['kind']} {one['amount']:g}" + (f" {one['least']:g}" * (one["kind"] == "both"))


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over seeds as a table of a page."""
    heads = "gate", "accuracy", "went back", "pulses", "saved", "write, nJ", "way back, mJ"
    yield f"| {' | '.join(heads)} |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for one in summed(rows):
        low, high = 100 * min(one["each"]), 100 * max(one["each"])
        back = " to ".join(f"{1e3 * side:.3g}" for side in one["digital_j"])
        yield (
            f"| {name_of(one)} | {100 * one['accuracy']:.1f} ({low:.1f} to {high:.1f}) "
            f"| {100 * one['backward']:.0f} % | {one['pulses']:.0f} | {100 * one['saved']:.0f} % "
            f"| {1e9 * one['write_j']:.0f} | {back} |"
        )


def shapes() -> Iterator[tuple[str, Cell, Overlap, float, str]]:
    """Cells, waves, where the cell is, and how it is drawn."""
    for name, style in (("HfO2", "b-"), ("ECRAM", "g-")):
        one, waves = memristive(name)
        yield f"{name}, rectangle and two levels", one, waves, 0.0, style
    one = cell(material("hfo2_array_optimised").supply(**STAND_IN))
    shape, law = action(0.80, 2e-3, 0.62, 18e-3), Sinh(scale_v=0.08, source="an example")
    waves = Overlap(pre=shape, post=shape, law=law, pulse=one.need(one.pulse), speed=1000.0)
    for weight, style in ((0.0, "r-"), (0.6, "r--"), (-0.6, "r:")):
        yield f"HfO2, actions with tails, w = {weight:g}", one, waves, weight, style


def means_in(path: Path) -> list[dict[str, Any]]:
    """Lines of :func:`summed`, as benchmarks/RESULTS.md keeps them."""
    every = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
    return [one for one in every if one.get("benchmark") == "spiking_gate" and "each" in one]


def picture(path: str, out: str) -> None:
    """Windows of STDP on the left, accuracy over pulses on the right."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, (left, right_) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    lags = torch.linspace(-25e-3, 25e-3, 401, dtype=torch.float64)
    for label, one, waves, weight, style in shapes():
        change = window(one, waves, lags, weight=weight).change_s
        share = 100 * change / one.need(one.window).span_s
        left.plot(1e3 * lags, share, style, label=label, lw=1.3)
    left.set_xlabel("spike behind the synapse later by, ms")
    left.set_ylabel("change of conductance, % of its window")
    left.axhline(0, color="k", lw=0.5)
    left.set_title("What two spikes do to a cell", fontsize=10)
    left.legend(fontsize=7)
    found = list(summed(rows_in(Path(path), "spiking_gate"))) or means_in(Path(path))
    for kind, colour in COLOURS.items():
        own = [one for one in found if one["kind"] == kind]
        style = "o-" if len(own) > 1 else "o"
        right_.plot([one["pulses"] for one in own], [100 * one["accuracy"] for one in own], style,
                    color=colour, label=kind, ms=4, lw=1)  # fmt: skip
        # The ends of a line say what is along it; spared lies where worth does, with its budgets.
        for one, shift in zip(own[:1] + own[1:][-1:], ENDS.get(kind, ()), strict=False):
            word = f"{one['least'] if kind == 'owed' else one['amount']:g}"
            place = one["pulses"], 100 * one["accuracy"]
            right_.annotate(word, place, fontsize=7, color=colour, xytext=shift,
                            textcoords="offset points")  # fmt: skip
    right_.set_xscale("log")
    right_.xaxis.set_minor_formatter(NullFormatter())
    right_.set_xlabel("pulses")
    right_.set_ylabel("accuracy, %")
    right_.set_title("What is learned with fewer pulses", fontsize=10)
    right_.legend(fontsize=7, loc="lower center")
    figure.savefig(out, dpi=110)


def main() -> None:
    """See the head of this script."""
    asked = sys.argv[1:]
    if asked[:1] == ["picture"]:
        picture(asked[1], asked[2])
    elif asked[:1] == ["run"]:
        torch.set_num_threads(1)
        print(json.dumps(row_of(asked[1], float(asked[2]), float(asked[3]), int(asked[4]))))
    else:
        command("spiking_gate", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
