"""Digits as events, learned in several ways: accuracy, operations and joules, three seeds.

    python benchmarks/spiking_digits.py                    JSON lines, all runs
    python benchmarks/spiking_digits.py run WAY CODE SEED  one run as one line: run bptt latency 1
    python benchmarks/spiking_digits.py rates WAY CODE     how its learning rate was chosen
    python benchmarks/spiking_digits.py into FILE          runs that the file lacks, added to it
    python benchmarks/spiking_digits.py table FILE         runs of a file as a table

8,000 digits of ``digits10k`` teach, 2,000 test, averaged to 14 x 14; 20 steps of 1 ms. Codes:
latency (a spike a pixel), rate (200 Hz at most, frozen draws), delta (columns read out one after
the other, 14 signals). 128 LIF cells of 20 ms, a leaky read-out, its mean over time. Batches of 32,
Adam, three passes; learning rates of bptt and local by 1,000 of the training digits on seed 77 and
five passes,
eprop takes those of bptt. Ways:

    bptt     gradients through time
    eprop    e-prop, errors at each step, the read-out's own weights send them back
    local    a local loss at the hidden layer (a fixed random read-out, at each step); the read-out
             behind it learns its own gradient, which needs nothing from elsewhere
    stdp HfO2, stdp ECRAM   100 cells behind memristive synapses, ten a class; in teaching only
             those of the class may spike. Waves overlap, the cells' physics does the rest: no
             gradient, no error. One pass. The class is that of the cells which spike; votes by
             their responses to 3,000 training digits.

``synops`` are synaptic operations for one digit: events times the cells each reaches. ``joules`` is
what these take on published digital chips, from 1.54 to 45 pJ each (Tianjic, SpiNNaker); on
memristive cells, a read of V^2 G t by the ledger. ``front_j`` is what events of a delta front end
take (60.73 nJ each, arXiv 2604.08758); no figure is known for the other codes.

``lesson_ops`` are multiplications and additions to teach one digit once, counted from what each
rule does, dense where it is dense; ``lesson_j`` takes 4.6 pJ each for the arithmetic alone in
45 nm up to 104 pJ where each fetches a weight of four bytes (24.96 pJ a byte). On memristive cells
it is the ledger's: reads and waves, writes included; ``lesson_ops`` are then writes.

Materials lack a window and pulses: STAND_IN fills them, and the law of steps in volts is an
example. Energies of cells hang on these.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from peers.rows import command, mean, span
from peers.spiking_costs import MAC_J, SYNOP_J, lesson_ops
from torch import Tensor
from torch.nn import functional as F

from clnf.core.rng import torch_rng
from clnf.devices.cell import Cell
from clnf.devices.families import cell
from clnf.devices.materials import material
from clnf.devices.voltage import Threshold
from clnf.spiking.learning import EProp, LocalLosses
from clnf.spiking.memristive import CellArray, Competition, Lay, MemristivePopulation, Overlap
from clnf.spiking.tasks import EventClassifier, PictureCode
from clnf.streams.digits import digits_part

SEEDS, BATCH, PASSES, HIDDEN = (1, 2, 3), 32, 3, 128
RATES = {
    ("bptt", "latency"): 0.005, ("bptt", "rate"): 0.005, ("bptt", "delta"): 0.01,
    ("eprop", "latency"): 0.005, ("eprop", "rate"): 0.005, ("eprop", "delta"): 0.01,
    ("local", "latency"): 0.0025, ("local", "rate"): 0.0025, ("local", "delta"): 0.005,
}  # fmt: skip
LADDER = (0.001, 0.0025, 0.005, 0.01, 0.02)
FRONT_J = 60.73e-9
STAND_IN = {
    "conductance_min_s": 1e-6, "conductance_max_s": 1e-4, "write_voltage_v": 1.5,
    "write_time_s": 1e-7, "dead_fraction": 0.0,
}  # fmt: skip
# Row of the catalogue, doses of a spike behind, speed of lines against spikes.
CELLS: dict[str, tuple[str, tuple[float, float], float]] = {
    "HfO2": ("hfo2_array_optimised", (0.3, 0.12), 1000.0),
    "ECRAM": ("ecram_li", (30.0, 12.0), 10.0),
}
ARMS = [*RATES, *((f"stdp {name}", "latency") for name in CELLS)]


def digits(code: PictureCode, *, tune: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
    """Events [T, N, I] and classes, to learn from and to test with."""
    parts = {}
    for name in ("train", "held_out"):
        part = digits_part(name)  # type: ignore[arg-type]
        batch = part.take(torch.arange(len(part)))
        parts[name] = code.events(batch.x), batch.cond
    if tune:
        x, y = parts["train"]
        order = torch.randperm(len(y), generator=torch_rng(77, "tuning digits"))
        x, y = x[:, order], y[order]
        return {"train": (x[:, 1000:], y[1000:]), "held_out": (x[:, :1000], y[:1000])}
    return parts


def net_of(code: PictureCode, seed: int) -> EventClassifier:
    """The net of all gradient arms."""
    return EventClassifier(code, hidden=HIDDEN, seed=10 * seed)


def teach(way: str, net: EventClassifier, x: Tensor, y: Tensor, local: LocalLosses) -> None:
    """Gradients of one batch, events [T, B, I]."""
    steps, hot = len(x), F.one_hot(y, 10).float()

    def error_of(p: Tensor, t: int) -> Tensor:
        return (p.softmax(1) - hot) / (len(y) * steps)

    if way == "bptt":
        F.cross_entropy(net.potentials(x).mean(0), y).backward()
    elif way == "eprop":
        EProp(net.layer, net.out, net.readout).lesson(x, error_of)
    else:
        local.lesson(x, error_of)
        spikes = net.layer(x).detach()
        F.cross_entropy(net.readout(net.out(spikes)).mean(0), y).backward(inputs=[net.out.weight])


@torch.no_grad()
def right(net: EventClassifier, split: tuple[Tensor, Tensor]) -> float:
    """Share named rightly."""
    x, y = split
    found = torch.cat([net.potentials(part).mean(0).argmax(1) for part in x.split(500, 1)])
    return float((found == y).float().mean())


def trained(
    way: str, code: PictureCode, seed: int, rate: float, split: tuple[Tensor, Tensor]
) -> EventClassifier:
    """A net that learned."""
    net, (x, y) = net_of(code, seed), split
    local = LocalLosses([net.layer], outputs=10, seed=10 * seed + 5)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for n in range(PASSES):
        order = torch.randperm(len(y), generator=torch_rng(seed, "order", n))
        for index in order.split(BATCH):
            optimizer.zero_grad()
            teach(way, net, x[:, index], y[index], local)
            optimizer.step()
    return net


def gradient_run(way: str, kind: str, seed: int) -> dict[str, Any]:
    """One of the arms with gradients."""
    code = PictureCode(kind=kind)  # type: ignore[arg-type]
    sets, rate = digits(code), RATES[way, kind]
    net = trained(way, code, seed, rate, sets["train"])
    x, y = sets["held_out"]
    first, last = net.operations(x)
    synops, spikes = (first + last) / len(y), last / len(y) / 10
    ops = synops + lesson_ops(way, (code.channels, HIDDEN, 10), code.steps, spikes)
    ops += synops * (way == "bptt")
    events = float(x.sum()) / len(y)
    return {
        "accuracy": right(net, (x, y)), "rate": rate, "passes": PASSES, "events": events,
        "spikes": spikes, "synops": synops, "joules": [synops * one for one in SYNOP_J],
        "front_j": events * FRONT_J if kind == "delta" else None, "lesson_ops": ops,
        "lesson_j": [ops * one for one in MAC_J],
    }  # fmt: skip


def memristive(name: str) -> tuple[Cell, Overlap]:
    """A cell and the waves around it."""
    row, doses, speed = CELLS[name]
    made = cell(material(row).supply(**STAND_IN))
    law = Threshold(threshold_v=1.0, exponent=2.0, source="an example of this benchmark")
    return made, Overlap.simplified(
        made, law, window_s=20e-3, width_s=1e-3, doses=doses, speed=speed
    )


def population(name: str, code: PictureCode, seed: int) -> MemristivePopulation:
    """A hundred cells that compete."""
    made, waves = memristive(name)
    cells = CellArray((100, code.channels), made, seed=seed, lay=Lay(kind="single"))
    draws = torch.rand((100, code.channels), generator=torch_rng(seed, "first weights"))
    cells.write(0.25 + 0.5 * draws)
    rule = Competition(
        tau_s=1.0, threshold_v=12.0, jump_v=0.1, lift_tau_s=100.0, inhibit_s=20e-3, rest_s=2e-3
    )
    return MemristivePopulation(cells, waves, rule, dt_s=code.dt_s)


def stdp_run(name: str, kind: str, seed: int) -> dict[str, Any]:
    """Waves and cells alone."""
    code = PictureCode(kind=kind)  # type: ignore[arg-type]
    sets, layer = digits(code), population(name, code, seed)
    ledger, (x, y) = layer.cells.ledger, sets["train"]
    ledger.lesson = "teaching"
    order = torch.randperm(len(y), generator=torch_rng(seed, "order", 0))
    classes = torch.arange(100) % 10
    for n in order.tolist():
        push = torch.where(classes == y[n], 0.0, -1e3).expand(code.steps, -1)
        layer.run(x[:, n], push=push)
    ledger.lesson = "test"
    said = torch.zeros(10, 100)
    for n in order[:3000].tolist():
        said[y[n]] += layer.run(x[:, n], learn=False).sum(0)
    votes, begun = (said / said.sum(0).clamp(min=1.0)).t(), ledger.total(lesson="test").energy_j
    (tx, ty), found, spikes = sets["held_out"], [], 0.0
    for n in range(len(ty)):
        answer = layer.run(tx[:, n], learn=False).sum(0)
        spikes += float(answer.sum())
        found.append(int((answer @ votes).argmax()))
    read = (ledger.total(lesson="test").energy_j - begun) / len(ty)
    events = float(tx.sum()) / len(ty)
    taught = ledger.total(lesson="teaching")
    return {
        "accuracy": float((torch.tensor(found) == ty).float().mean()), "rate": None, "passes": 1,
        "events": events, "spikes": spikes / len(ty), "synops": events * 100,
        "joules": [read, read], "front_j": None,
        "lesson_ops": ledger.total(lesson="teaching", op="wave").count / len(y),
        "lesson_j": [taught.energy_j / len(y)] * 2, "worn": layer.cells.most_worn(),
    }  # fmt: skip


def row_of(way: str, code: str, seed: int) -> dict[str, Any]:
    """One run."""
    begun = time.process_time()
    name = way.removeprefix("stdp ")
    found = stdp_run(name, code, seed) if name in CELLS else gradient_run(way, code, seed)
    seconds = round(time.process_time() - begun, 1)
    row = {"benchmark": "spiking_digits", "way": way, "code": code, "seed": seed}
    return {**row, **found, "seconds": seconds}


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that are not there yet."""
    have = {(one["way"], one["code"], one["seed"]) for one in done}
    for seed in SEEDS:
        for way, code in ARMS:
            if (way, code, seed) not in have:
                yield row_of(way, code, seed)


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over seeds."""
    for way, code in ARMS:
        own = [one for one in rows if (one["way"], one["code"]) == (way, code)]
        if not own:
            continue
        keys = [key for key in own[0] if key not in ("benchmark", "way", "code", "seed")]
        line = {key: mean([one[key] for one in own]) for key in keys}
        each = [round(one["accuracy"], 4) for one in own]
        line |= {"accuracy": statistics.mean(each), "each": each}
        yield {"benchmark": "spiking_digits", "way": way, "code": code, **line}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over seeds as a table of a page."""
    yield "| way | code | accuracy | events | spikes | operations | inference, nJ | lesson, uJ |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for one in summed(rows):
        low, high = 100 * min(one["each"]), 100 * max(one["each"])
        yield (
            f"| {one['way']} | {one['code']} "
            f"| {100 * one['accuracy']:.1f} ({low:.1f} to {high:.1f}) "
            f"| {one['events']:.0f} | {one['spikes']:.0f} | {one['synops']:.0f} "
            f"| {span(one['joules'], 1e-9)} | {span(one['lesson_j'], 1e-6)} |"
        )


def rates(way: str, kind: str) -> Iterator[dict[str, Any]]:
    """Accuracy on tuning digits by learning rate."""
    code = PictureCode(kind=kind)  # type: ignore[arg-type]
    sets = digits(code, tune=True)
    for rate in LADDER:
        net = trained(way, code, 77, rate, sets["train"])
        yield {"way": way, "code": kind, "rate": rate, "tuning": right(net, sets["held_out"])}


def main() -> None:
    """See the head of this script."""
    asked = sys.argv[1:]
    if asked[:1] == ["run"]:
        torch.set_num_threads(1)
        print(json.dumps(row_of(asked[1], asked[2], int(asked[3]))))
    elif asked[:1] == ["rates"]:
        torch.set_num_threads(1)
        for line in rates(asked[1], asked[2]):
            print(json.dumps(line), flush=True)
    else:
        command("spiking_digits", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
