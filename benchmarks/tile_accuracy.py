"""Accuracy on tiles: digits learned by pulses on each material by each rule, and stored ones.

The bundled digits, averaged to 14 x 14, 4,000 to learn from, 1,000 to choose learning rates by,
1,000 to test on. A perceptron 196-64-10 and a small convolutional net learn for the same number of
steps from the same weights in every arm: plain torch, an ideal tile (no noise, no converters, cells
of 1,000 equal steps), and every material whose pulses are known with every rule. Learning rates
are chosen for each arm out of three, in half the steps, by the validation digits and a seed of
their own; the table is from three other seeds. Read noise and 8-bit converters are on, one pair of
cells a weight. Energy and busy time are the ledger's for training alone, summed over tiles; wear is
in pulses of the most worn cell and of the mean one. A train of 31 bits moves a weight by 31 steps
a vector at most: cells of very fine steps learn slowly by outer products for that alone.

Then the digital networks are programmed into the materials that store, and read after programming,
a day and a month, with and without compensation of the mean drift.

What a row lacks of window, pulse and read noise is filled with STAND_IN and listed in the row as
``stand_in``: energy and time depend on it, learning does not, but for read noise.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import ChipSpec, PulseRule, host, ideal_chip
from clnf.chip.hosting import Chip
from clnf.chip.updates import Transfer
from clnf.core.rng import torch_rng
from clnf.devices.materials import Material, material
from clnf.streams.bundled import digits10k

SEEDS, TUNING_SEED, BATCH, STEPS = (1, 2, 3), 77, 32, 250
DAY_S, MONTH_S = 86400.0, 30 * 86400.0
STAND_IN = {
    "conductance_min_s": 1e-6, "conductance_max_s": 1e-4, "write_voltage_v": 1.0,
    "write_time_s": 1e-7, "read_noise_scale": 0.01,
}  # fmt: skip
LEARNING = (
    "hfo2_array", "hfo2_array_optimised", "hfo2_single", "gst_pcm_training", "ecram_li",
    "ecram_metal_oxide", "capacitor_3t1c",
)  # fmt: skip
STORING = ("gst_pcm", "pcm_hermes", "pcm_hermes_pair", "hfo2_1t1r", "reram_130nm", "cmo_hfox")
PLAIN_RATES, FAST_RATES = (0.05, 0.15, 0.5), (0.01, 0.04, 0.15)
RULES = ("mixed", "stochastic", "deterministic", "tiki_taka", "tiki_taka_2", "chopped", "agad")
CONV_MATERIALS, CONV_RULES = ("hfo2_array_optimised", "ecram_li"), ("mixed", "stochastic", "agad")
TRANSFER = Transfer(every=1, fast_pulses=1.0)

Split = tuple[Tensor, Tensor]


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
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )  # fmt: skip


def train(
    net: nn.Module, optimizer: torch.optim.Optimizer, split: Split, seed: int, steps: int
) -> None:
    """Cross-entropy on batches drawn with replacement."""
    rng, (x, y) = torch_rng(seed, "batches"), split
    for _ in range(steps):
        picked = torch.randint(0, len(y), (BATCH,), generator=rng)
        optimizer.zero_grad()
        F.cross_entropy(net(x[picked]), y[picked]).backward()
        optimizer.step()


@torch.no_grad()
def accuracy(net: nn.Module, split: Split) -> float:
    """Share of digits named rightly."""
    x, y = split
    return float((net(x).argmax(1) == y).float().mean())


def filled(name: str) -> tuple[Material, list[str]]:
    """A material with stand-ins for what it lacks, and their names."""
    row = material(name)
    lacking = {key: value for key, value in STAND_IN.items() if key not in row.values}
    if "conductance_max_s" not in lacking:
        lacking.pop("conductance_min_s", None)
    return row.supply(**lacking), sorted(lacking)


def digital_arm(kind: str, seed: int, rate: float, steps: int, split: Split) -> Any:
    """Plain torch."""
    net = network(kind, seed)
    train(net, torch.optim.SGD(net.parameters(), lr=rate), split, seed, steps)
    return net, None


def hosted_arm(spec: ChipSpec, rule: str) -> Callable[..., Any]:
    """Learning on the cells of a chip by a rule."""

    def arm(kind: str, seed: int, rate: float, steps: int, split: Split) -> Any:
        net = network(kind, seed)
        chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
        chosen = PulseRule(
            mode=rule,  # type: ignore[arg-type]
            precondition="none",
            digital_lr=0.01,
            transfer=TRANSFER,
        )
        optimizer = chip.optimizer(net.parameters(), lr=rate, rule=chosen)
        chip.ledger.lesson = "training"
        train(net, optimizer, split, seed, steps)
        chip.ledger.lesson = "test"
        return net, chip

    return arm


def costs(chip: Chip) -> dict[str, float]:
    """Energy, busy time and wear of one trained model."""
    spent, wear = chip.ledger.total(lesson="training"), chip.wear().values()
    return {
        "energy_j": spent.energy_j,
        "busy_s": spent.time_s,
        "pulses_worst": max(tile.most for tile in wear),
        "pulses_mean": statistics.mean(tile.mean for tile in wear),
    }


def measure(
    arm: Callable[..., Any], kind: str, rates: tuple[float, ...], sets: dict[str, Split]
) -> dict[str, Any]:
    """Choose a learning rate, then train three models."""

    def tried(rate: float) -> float:
        net, _ = arm(kind, TUNING_SEED, rate, STEPS // 2, sets["train"])
        return accuracy(net, sets["tune"])

    rate = max(rates, key=tried)
    models = [arm(kind, seed, rate, STEPS, sets["train"]) for seed in SEEDS]
    found = [accuracy(net, sets["test"]) for net, _ in models]
    line: dict[str, Any] = {
        "rate": rate,
        "accuracy": round(statistics.mean(found), 4),
        "spread": round(statistics.stdev(found), 4),
    }
    bills = [costs(chip) for _, chip in models if chip is not None]
    for key in bills[0] if bills else ():
        line[key] = float(f"{statistics.mean(bill[key] for bill in bills):.3g}")
    return line


def show(**line: Any) -> None:
    print(json.dumps({"benchmark": "tile_accuracy", **line}), flush=True)


def learning(kind: str, sets: dict[str, Split]) -> None:
    """Digital, ideal tile, and each material with each rule."""
    digital = measure(digital_arm, kind, PLAIN_RATES, sets)
    show(net=kind, arm="digital", **digital)
    cells = material("ecram_li").supply(step=2e-3, slope_up=0.0, slope_down=0.0)
    spec = replace(ideal_chip(), plastic=cells, pairs=1)
    ideal = measure(hosted_arm(spec, "stochastic"), kind, PLAIN_RATES, sets)
    show(net=kind, arm="ideal tile", rule="stochastic", **ideal)
    names, rules = (LEARNING, RULES) if kind == "mlp" else (CONV_MATERIALS, CONV_RULES)
    for name in names:
        row, lacking = filled(name)
        spec = ChipSpec(plastic=row, relatives=False, pairs=1)
        for rule in rules:
            rates = PLAIN_RATES if rule in RULES[:3] else FAST_RATES
            line = measure(hosted_arm(spec, rule), kind, rates, sets)
            drop = round(digital["accuracy"] - line["accuracy"], 4)
            show(net=kind, arm=name, rule=rule, drop=drop, **line, stand_in=lacking)


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


def stored(kind: str, sets: dict[str, Split]) -> None:
    """Digital networks programmed into cells that store."""
    for name in STORING:
        rows = []
        for seed in SEEDS:
            net, _ = digital_arm(kind, seed, PLAIN_RATES[1], 2 * STEPS, sets["train"])
            before = accuracy(net, sets["test"])
            spec = replace(ChipSpec(), core=filled(name)[0])
            chip = host(net, assign=lambda n, leaf: "core", seed=seed, spec=spec)
            chip.program_core()
            chip.calibrating(True)
            accuracy(net, sets["tune"])
            chip.calibrating(False)
            now = accuracy(net, sets["test"])
            left = aged(chip, net, sets["test"], compensated=False)
            undone = aged(chip, net, sets["test"], compensated=True)
            rows.append([before, now, *left, *undone])
        names = ("digital", "programmed", "day", "month", "day_compensated", "month_compensated")
        columns = list(zip(*rows, strict=True))
        line = {n: round(statistics.mean(c), 4) for n, c in zip(names, columns, strict=True)}
        spread = round(max(statistics.stdev(c) for c in columns), 4)
        show(net=kind, stored_in=name, **line, largest_spread=spread, stand_in=filled(name)[1])


def main() -> None:
    torch.set_num_threads(1)
    start, sets = time.perf_counter(), data()
    show(stand_in=STAND_IN, seeds=SEEDS, steps=STEPS, batch=BATCH, transfer_every=TRANSFER.every)
    for kind in ("mlp", "conv"):
        stored(kind, sets)
        learning(kind, sets)
    show(seconds=round(time.perf_counter() - start))


if __name__ == "__main__":
    main()
