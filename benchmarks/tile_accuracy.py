"""Accuracy on tiles: digits learned by pulses on each material by each rule, and stored ones.

    python benchmarks/tile_accuracy.py             JSON lines, a process a core
    python benchmarks/tile_accuracy.py tune        how settings of the fast cells were chosen
    python benchmarks/tile_accuracy.py table FILE  JSON lines of a file as tables

The bundled digits, averaged to 14 x 14, 4,000 to learn from, 1,000 to choose settings by, 1,000 to
test on. A perceptron 196-64-10 and a small convolutional net learn for the same number of batches
of 32 from the same weights in every arm: plain torch, an ideal tile (no noise, no converters, cells
of 1,000 equal steps), and every material whose pulses are known with every rule. ``alive`` is the
same material without its dead cells, ``4x`` learns four times as long. Learning rates fall in a
straight line to 0 everywhere. Each arm climbs a ladder of rates half a decade apart until its best
has no better neighbour, in half the steps, by the validation digits and the worst of two seeds (of
six for plain torch), so that no rate is taken at which some seeds diverge; the table is from three
other seeds. Read noise and 8-bit converters are on, one pair of cells a weight.

Energy and busy time are the ledger's, summed over tiles: of training alone, and of what comes
before (first weights, symmetry points of fast cells). Wear is in pulses of the most worn cell and
of the mean one, all included. Rules with fast cells read one row for each vector. The largest
product of a vector makes ``FAST_PULSES`` pulses on a fast cell, more where cells have more than
200 steps for each: what a read of a row resolves is 1/127 of its range.

Then the digital networks are programmed into the materials that store, and read after programming,
a day and a month, with and without compensation of the mean drift.

What a row lacks of window, pulse and read noise is filled with STAND_IN and listed in the row as
``stand_in``: energy and time depend on it, learning does not, but for read noise.
"""

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import ChipSpec, PulseRule, host, ideal_chip
from clnf.chip.hosting import Chip
from clnf.chip.updates import Transfer
from clnf.core.rng import torch_rng
from clnf.devices.cell import Unknown
from clnf.devices.families import cell
from clnf.devices.materials import Material, material
from clnf.streams.bundled import digits10k

SEEDS, TUNING_SEEDS, BATCH, WORKERS = (1, 2, 3), (77, 78), 32, os.cpu_count() or 1
DIGITAL_SEEDS = (77, 78, 79, 80, 81, 82)
STEPS = {"mlp": 500, "conv": 250, "mlp 4x": 2000}
DAY_S, MONTH_S = 86400.0, 30 * 86400.0
STAND_IN = {
    "conductance_min_s": 1e-6, "conductance_max_s": 1e-4, "write_voltage_v": 1.0,
    "write_time_s": 1e-7, "read_noise_scale": 0.01, "read_voltage_v": 0.1,
}  # fmt: skip
LEARNING = (
    "hfo2_array", "hfo2_array_optimised", "hfo2_array_optimised alive", "hfo2_single",
    "gst_pcm_training", "ecram_li", "ecram_metal_oxide", "capacitor_3t1c",
)  # fmt: skip
STORING = (
    "gst_pcm", "pcm_hermes", "pcm_hermes_pair", "hfo2_1t1r", "reram_130nm", "cmo_hfox",
    "sonos_40nm",
)  # fmt: skip
PLAIN = ("mixed", "stochastic", "deterministic")
FAST = ("tiki_taka", "tiki_taka_2", "chopped", "agad")
ARMS = {
    "mlp": (LEARNING, PLAIN + FAST),
    "conv": (("hfo2_array_optimised", "ecram_li", "capacitor_3t1c"), PLAIN + FAST),
    "mlp 4x": (("hfo2_array_optimised", "hfo2_array_optimised alive"), ("mixed", *FAST[1::2])),
}
# Half a decade apart; where the climb starts.
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
PLAIN_START, FAST_START = 4, 4
FAST_PULSES, FAST_STATES, FAST_MOST = 3.0, 200.0, 20.0

Split = tuple[Tensor, Tensor]


@cache
def data() -> dict[str, Split]:
    """Digits to learn from, to tune by and to test on."""
    digits = digits10k()
    order = np.random.default_rng(0).permutation(len(digits.labels))
    x = F.avg_pool2d(torch.from_numpy(digits.images[order]).permute(0, 3, 1, 2) / 255.0, 2)
    y = torch.from_numpy(digits.labels[order])
    cuts = {"train": slice(0, 4000), "tune": slice(4000, 5000), "test": slice(5000, 6000)}
    return {name: (x[cut], y[cut]) for name, cut in cuts.items()}


def network(kind: str, seed: int) -> nn.Sequential:
    """A perceptron or a small convolutional net."""
    torch.manual_seed(seed)
    if kind != "conv":
        return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )  # fmt: skip


def train(
    net: nn.Module, optimizer: torch.optim.Optimizer, split: Split, seed: int, steps: int
) -> None:
    """Cross-entropy on batches drawn with replacement; rates fall to 0 in a straight line."""
    rng, (x, y) = torch_rng(seed, "batches"), split
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    for _ in range(steps):
        picked = torch.randint(0, len(y), (BATCH,), generator=rng)
        optimizer.zero_grad()
        F.cross_entropy(net(x[picked]), y[picked]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(net: nn.Module, split: Split) -> float:
    """Share of digits named rightly."""
    x, y = split
    return float((net(x).argmax(1) == y).float().mean())


def filled(name: str) -> tuple[Material, list[str]]:
    """A material with stand-ins for what it lacks, and their names."""
    row = material(name.removesuffix(" alive"))
    known, wanted = (
        cell(row),
        [k for k in STAND_IN if k.startswith("write") and k not in row.values],
    )
    if isinstance(known.window, Unknown):
        volts = "current_max_a" in row.values
        wanted += ["read_voltage_v"] if volts else ["conductance_min_s", "conductance_max_s"]
    row = row.supply(**{key: STAND_IN[key] for key in wanted})
    if isinstance(cell(row).noise, Unknown):
        wanted.append("read_noise_scale")
        row = row.supply(read_noise_scale=STAND_IN["read_noise_scale"])
    return row.supply(dead_fraction=0.0) if name.endswith(" alive") else row, sorted(wanted)


def digital_arm(kind: str, seed: int, rate: float, steps: int, split: Split) -> Any:
    """Plain torch."""
    net = network(kind, seed)
    train(net, torch.optim.SGD(net.parameters(), lr=rate), split, seed, steps)
    return net, None


def fast_pulses(row: Material) -> float:
    """Pulses on a fast cell of the largest product: cells of finer steps need more."""
    response = cell(row).response
    states = 0.0 if isinstance(response, Unknown) else response.states
    return min(max(FAST_PULSES, states / FAST_STATES), FAST_MOST)


def hosted_arm(spec: ChipSpec, rule: str, transfer: Transfer) -> Callable[..., Any]:
    """Learning on the cells of a chip by a rule."""

    def arm(kind: str, seed: int, rate: float, steps: int, split: Split) -> Any:
        net = network(kind, seed)
        chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
        chosen = PulseRule(
            mode=rule,  # type: ignore[arg-type]
            precondition="none",
            digital_lr=0.01,
            transfer=transfer,
        )
        optimizer = chip.optimizer(net.parameters(), lr=rate, rule=chosen)
        chip.ledger.lesson = "training"
        train(net, optimizer, split, seed, steps)
        chip.ledger.lesson = "test"
        return net, chip

    return arm


def costs(chip: Chip) -> dict[str, float]:
    """Energy, busy time and wear of one model."""
    before, spent = chip.ledger.total(lesson="setup"), chip.ledger.total(lesson="training")
    wear = chip.wear().values()
    return {
        "energy_j": spent.energy_j,
        "busy_s": spent.time_s,
        "energy_before_j": before.energy_j,
        "busy_before_s": before.time_s,
        "pulses_worst": max(tile.most for tile in wear),
        "pulses_mean": statistics.mean(tile.mean for tile in wear),
    }


def climbed(tried: Callable[[float], float], start: int) -> dict[float, float]:
    """Score of rates around the best one, which has a worse or equal neighbour on both sides."""
    found = {k: tried(RATES[k]) for k in (start - 1, start, start + 1)}
    while True:
        best = max(found, key=lambda k: found[k])
        new = {best - 1, best + 1} & set(range(len(RATES))) - found.keys()
        if not new:
            return {RATES[k]: round(found[k], 3) for k in sorted(found)}
        found |= {k: tried(RATES[k]) for k in new}


def measure(
    arm: Callable[..., Any], kind: str, start: int, trials: tuple[int, ...] = TUNING_SEEDS
) -> dict[str, Any]:
    """Choose a learning rate, then train three models."""
    sets, steps = data(), STEPS[kind]

    def tried(rate: float) -> float:
        nets = [arm(kind, seed, rate, steps // 2, sets["train"])[0] for seed in trials]
        return min(accuracy(net, sets["tune"]) for net in nets)

    scores = climbed(tried, start)
    rate = max(scores, key=lambda one: scores[one])
    models = [arm(kind, seed, rate, steps, sets["train"]) for seed in SEEDS]
    found = [accuracy(net, sets["test"]) for net, _ in models]
    line: dict[str, Any] = {
        "accuracy": round(statistics.mean(found), 4),
        "spread": round(statistics.stdev(found), 4),
        "rate": rate,
        "scores": scores,
    }
    bills = [costs(chip) for _, chip in models if chip is not None]
    for key in bills[0] if bills else ():
        line[key] = float(f"{statistics.mean(bill[key] for bill in bills):.3g}")
    return line


def show(**line: Any) -> None:
    print(json.dumps({"benchmark": "tile_accuracy", **line}), flush=True)


def learned(kind: str, name: str, rule: str) -> dict[str, Any]:
    """One arm: digital, the ideal tile, or a material with a rule."""
    torch.set_num_threads(1)
    line: dict[str, Any] = {"net": kind, "arm": name}
    if name == "digital":
        return line | measure(digital_arm, kind, PLAIN_START, DIGITAL_SEEDS)
    start = FAST_START if rule in FAST else PLAIN_START
    if name == "ideal tile":
        cells = filled("ecram_li")[0].supply(step=2e-3, slope_up=0.0, slope_down=0.0)
        spec = replace(ideal_chip(), plastic=cells, pairs=1)
        return line | {"rule": rule} | measure(hosted_arm(spec, rule, Transfer()), kind, start)
    row, lacking = filled(name)
    transfer = Transfer(every=1, fast_pulses=fast_pulses(row))
    spec = ChipSpec(plastic=row, relatives=False, pairs=1)
    line |= {"rule": rule} | measure(hosted_arm(spec, rule, transfer), kind, start)
    extra = {"fast_pulses": round(transfer.fast_pulses, 1)} if rule in FAST else {}
    return line | extra | {"stand_in": lacking}


def aged(chip: Chip, net: nn.Module, split: Split, *, compensated: bool) -> list[float]:
    """Accuracy after a day and after a month; the chip is put back afterwards."""
    start, found = chip.state_dict(), []
    for seconds in (DAY_S, MONTH_S - DAY_S):
        chip.advance(seconds)
        if compensated:
            chip.recalibrate()
        found.append(accuracy(net, split))
    chip.load_state_dict(start)
    return found


def stored(kind: str, name: str, rate: float) -> dict[str, Any]:
    """Digital networks programmed into cells that store."""
    torch.set_num_threads(1)
    sets, rows, bills = data(), [], []
    for seed in SEEDS:
        net, _ = digital_arm(kind, seed, rate, STEPS[kind], sets["train"])
        before = accuracy(net, sets["test"])
        spec = replace(ChipSpec(), core=filled(name)[0])
        chip = host(net, assign=lambda n, leaf: "core", seed=seed, spec=spec)
        chip.ledger.lesson = "training"
        chip.program_core()
        chip.ledger.lesson = "test"
        bills.append(costs(chip))
        chip.calibrating(True)
        accuracy(net, sets["tune"])
        chip.calibrating(False)
        now = accuracy(net, sets["test"])
        left = aged(chip, net, sets["test"], compensated=False)
        undone = aged(chip, net, sets["test"], compensated=True)
        rows.append([before, now, *left, *undone])
    names = ("digital", "programmed", "day", "month", "day_compensated", "month_compensated")
    columns = list(zip(*rows, strict=True))
    line: dict[str, Any] = {"net": kind, "stored_in": name}
    line |= {n: round(statistics.mean(c), 4) for n, c in zip(names, columns, strict=True)}
    line["largest_spread"] = round(max(statistics.stdev(c) for c in columns), 4)
    for key in ("energy_j", "busy_s", "pulses_worst", "pulses_mean"):
        line[key] = float(f"{statistics.mean(bill[key] for bill in bills):.3g}")
    return line | {"stand_in": filled(name)[1]}


def tune() -> None:
    """Settings of fast cells on one material of few states, by the validation digits."""
    row, sets = filled("hfo2_array_optimised")[0], data()
    spec = ChipSpec(plastic=row, relatives=False, pairs=1)
    for rule in FAST[1:]:
        for pulses, chop in ((1.0, 0.1), (3.0, 0.1), (10.0, 0.1), (3.0, 0.02), (3.0, 0.3)):
            if chop != 0.1 and rule == "tiki_taka_2":
                continue
            arm = hosted_arm(spec, rule, Transfer(every=1, fast_pulses=pulses, chop=chop))

            def tried(rate: float, arm: Callable[..., Any] = arm) -> float:
                net, _ = arm("mlp", TUNING_SEEDS[0], rate, STEPS["mlp"], sets["train"])
                return accuracy(net, sets["tune"])

            show(tuned=rule, fast_pulses=pulses, chop=chop, scores=climbed(tried, FAST_START))


def three(value: float) -> str:
    """Three digits, without powers of ten up to a million."""
    return f"{value:.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def tables(path: str) -> Iterator[str]:
    """JSON lines as tables of at most 100 columns; stand-ins as letters, told below."""
    texts = Path(path).read_text(encoding="utf-8").splitlines()
    every = [json.loads(text) for text in texts if text.startswith("{")]
    lines = [one for one in every if one.get("benchmark") == "tile_accuracy"]
    plain = {one["net"]: one["accuracy"] for one in lines if one.get("arm") == "digital"}
    letters = {"conductance": "g", "write_voltage": "v", "write_time": "t", "read_noise": "n"}
    letters["read_voltage"] = "r"

    def short(one: dict[str, Any]) -> str:
        keys = one.get("stand_in", ())
        return "".join(c for word, c in letters.items() if any(k.startswith(word) for k in keys))

    for kind in plain:
        yield f"\n{kind}, {STEPS[kind]} batches of {BATCH}"
        yield (
            f"{'cells':27}{'rule':13}{'accuracy':>9}{'+-':>6}{'drop':>7}{'rate':>6}{'uJ':>7}{'ms':>7}"
            f"{'worst':>7}{'mean':>6} own"
        )
        for one in lines:
            if one.get("net") == kind and "arm" in one:
                drop = plain[kind] - one["accuracy"]
                cost = [one.get("energy_j", math.nan) * 1e6, one.get("busy_s", math.nan) * 1e3]
                wear = [one.get("pulses_worst", math.nan), one.get("pulses_mean", math.nan)]
                figures = f"{three(cost[0]):>7}{three(cost[1]):>7}{wear[0]:7.0f}{wear[1]:6.0f}"
                yield (
                    f"{one['arm']:27}{one.get('rule', ''):13}{one['accuracy']:9.3f}"
                    f"{one['spread']:6.3f}{drop:7.3f}{one['rate']:6.3g}"
                    f"{'' if one['arm'] == 'digital' else figures + ' ' + short(one)}"
                )
        if not any(one.get("net") == kind and "stored_in" in one for one in lines):
            continue
        yield f"\n{kind}, stored"
        yield (
            f"{'cells':17}{'digital':>8}{'now':>7}{'day':>7}{'month':>7}{'day*':>7}{'month*':>7}"
            f"{'spread':>7}{'uJ':>8}{'ms':>7}{'worst':>7}{'mean':>7} own"
        )
        for one in lines:
            if one.get("net") == kind and "stored_in" in one:
                names = ("programmed", "day", "month", "day_compensated", "month_compensated")
                yield (
                    f"{one['stored_in']:17}{one['digital']:8.3f}"
                    + "".join(f"{one[name]:7.3f}" for name in (*names, "largest_spread"))
                    + f"{three(one['energy_j'] * 1e6):>8}{three(one['busy_s'] * 1e3):>7}"
                    + f"{one['pulses_worst']:7.0f}{one['pulses_mean']:7.1f} {short(one)}"
                )
    yield "\nown: stand-ins: g window, v and t pulse, n read noise, r read voltage. * compensated"


def main() -> None:
    start = time.perf_counter()
    show(stand_in=STAND_IN, seeds=SEEDS, steps=STEPS, batch=BATCH, rates=RATES)
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        plain = list(pool.map(learned, ARMS, ("digital",) * 3, ("",) * 3))
        rates = {line["net"]: line["rate"] for line in plain}
        jobs = [
            pool.submit(stored, kind, name, rates[kind])
            for kind in rates
            for name in STORING
            if kind in ("mlp", "conv")
        ]
        for kind, (names, rules) in ARMS.items():
            jobs += [pool.submit(learned, kind, "ideal tile", rule) for rule in rules[:2]]
            jobs += [pool.submit(learned, kind, name, rule) for name in names for rule in rules]
        for line in plain:
            show(**line)
        for job in jobs:
            show(**job.result())
    show(seconds=round(time.perf_counter() - start))


if __name__ == "__main__":
    if sys.argv[1:2] == ["tune"]:
        tune()
    elif sys.argv[1:2] == ["table"]:
        print("\n".join(tables(sys.argv[2])))
    else:
        main()
