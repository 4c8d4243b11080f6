"""One training step of a classifier 784-256-128-10 on pulsed cells, against plain torch.

One thread, processor time, forward, backward and step. Each arm and the plain reference (SGD)
take turns in one run, and the least time of each counts. Inputs are random, and so are labels,
which change from step to step; the learning rate of 0.05 makes few pulses, as in the reference
figures. Transfers come after every vector, which is the most there can be. ``parts`` says where an
arm's time goes.

aihwkit makes the same step from the same weights on the same data, against plain torch in its own
process and in turns with it; ``ratio_to_aihwkit`` is our ratio to torch over its ratio to torch.
Where it cannot be had, or its compiled part is not for our torch, quoted figures of another day
stand in, and no ratio is made of them.
"""

import json
import time
from collections.abc import Callable
from itertools import cycle
from statistics import median
from typing import cast

import numpy as np
import torch
from peers import aihwkit
from torch import Tensor, nn

from clnf.chip import ChipSpec, PulseRule, host
from clnf.chip.hosting import Chip
from clnf.chip.updates import Transfer
from clnf.devices.materials import Material, material

ROUNDS, RATE, LABELS = 30, 0.05, 64
BATCHES = (1, 10, 64)
RULES = ("stochastic", "mixed", "tiki_taka", "tiki_taka_2", "agad")
# Another simulator's ratios to plain torch on the same network: batch 1, 10, 64.
REFERENCE = {
    "source": "quoted, not measured here: aihwkit 1.2.0 (-O3, OpenBLAS), one thread, wall time, "
    "random data, lr 0.05, another day and machine",
    "stochastic, constant step": (3.77, 3.99, 5.33),
    "stochastic, soft bounds": (2.17, 8.57, 4.12),
    "tiki_taka_2, soft-bounds ReRAM": (19.8, 225.0, 276.0),
}


def materials() -> dict[str, Material]:
    """The cells that are compared; the last has steps of one size (supplied, no material)."""
    constant = material("ecram_li").supply(step=0.001, slope_up=0.0, slope_down=0.0)
    hfo2, ecram = material("hfo2_array_optimised"), material("ecram_li")
    return {"hfo2_array_optimised": hfo2, "ecram_li": ecram, "constant_step": constant}


def network() -> nn.Sequential:
    """The same weights each time."""
    torch.manual_seed(0)
    layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def examples(batch: int) -> tuple[Tensor, Tensor]:
    """The same random inputs and rows of labels each time.

    Labels of one row could be learned, and a network that knows them has no pulses to give.
    """
    torch.manual_seed(1)
    return torch.rand(batch, 784), torch.randint(0, 10, (LABELS, batch))


def stepper(net: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> Callable[[], None]:
    """A function that makes one step on random inputs with the next row of labels."""
    (x, labels), loss = examples(batch), nn.CrossEntropyLoss()
    rows = cycle(labels)

    def step() -> None:
        optimizer.zero_grad()
        loss(net(x), next(rows)).backward()
        optimizer.step()

    return step


def hosted(row: Material, mode: str, batch: int) -> tuple[Callable[[], None], Chip, nn.Module]:
    """A step on cells of a material by a rule."""
    net = network()
    spec = ChipSpec(plastic=row, pairs=1)
    chip = host(net, assign=lambda name, leaf: "plastic", seed=1, spec=spec)
    rule = PulseRule(
        mode=mode,  # type: ignore[arg-type]
        precondition="none",
        transfer=Transfer(every=1, shift_cycles=0),
    )
    optimizer = chip.optimizer(net.parameters(), lr=RATE, rule=rule)
    return stepper(net, optimizer, batch), chip, net


def cpu_ms(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.thread_time()
    work()
    return (time.thread_time() - start) * 1e3


def parts(chip: Chip, net: nn.Module, batch: int) -> dict[str, float]:
    """Least time of a hosted forward and backward pass, and of reading all cells back."""
    x, y, loss = torch.rand(batch, 784), torch.randint(0, 10, (batch,)), nn.CrossEntropyLoss()
    layers = list(chip.layers.values())
    passes = min(cpu_ms(lambda: loss(net(x), y).backward()) for _ in range(ROUNDS))
    for layer in layers:
        layer.capture = None if layer.capture is None else []
    reading = min(cpu_ms(lambda: [layer.refresh() for layer in layers]) for _ in range(ROUNDS))
    return {"passes_ms": round(passes, 3), "refresh_ms": round(reading, 3)}


def peer() -> dict[str, dict[str, float]]:
    """Figures of aihwkit by cells, rule and batch; nothing where it cannot be had."""
    data = {"batches": np.array(BATCHES), "rounds": np.array(ROUNDS)}
    for batch in BATCHES:
        pair = zip("xy", examples(batch), strict=True)
        data |= {f"{name}_{batch}": values.numpy() for name, values in pair}
    found = aihwkit.measured("training_step", **data)
    if found is None:
        print(json.dumps({"benchmark": "training_step", "reference": REFERENCE}))
        return {}
    for name, figures in found.items():
        cells, rule, batch = name.split(", ")
        print(json.dumps({
            "benchmark": "training_step", "arm": "aihwkit", "cells": cells, "rule": rule,
            "batch": int(batch), "torch_ms": round(figures["torch_ms"], 3),
            "step_ms": round(figures["step_ms"], 3), "ratio_to_torch": round(figures["ratio"], 2),
            "median_ms": round(figures["median_ms"], 3),
            "median_ratio_to_torch": round(figures["median_ratio"], 2),
            "cells_moved": round(figures["cells_moved"], 3), "source": aihwkit.MEASURED,
        }))  # fmt: skip
    return found


def measure(name: str, row: Material, mode: str, batch: int) -> dict[str, object]:
    """One line of the result."""
    plain_net = network()
    plain = stepper(plain_net, torch.optim.SGD(plain_net.parameters(), lr=RATE), batch)
    step, chip, net = hosted(row, mode, batch)
    for work in (plain, step) * 3:
        work()
    before = chip.ledger.total(op="pulse").count
    times = [(cpu_ms(plain), cpu_ms(step)) for _ in range(ROUNDS)]
    pulses = (chip.ledger.total(op="pulse").count - before) / ROUNDS
    base, mine = (min(column) for column in zip(*times, strict=True))
    usual = [median(column) for column in zip(*times, strict=True)]
    weights = sum(p.numel() for p in plain_net.parameters() if p.ndim == 2)
    return {
        "benchmark": "training_step", "material": name, "rule": mode, "batch": batch,
        "torch_ms": round(base, 3), "step_ms": round(mine, 3),
        "ratio_to_torch": round(mine / base, 2),
        "median_ratio_to_torch": round(usual[1] / usual[0], 2),
        "pulses_per_weight": round(pulses / weights, 4), **parts(chip, net, batch),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    found = peer()
    for name, row in materials().items():
        for mode in RULES:
            for batch in BATCHES:
                line = measure(name, row, mode, batch)
                theirs = found.get(f"{name}, {mode}, {batch}")
                if theirs:
                    ours = cast(float, line["ratio_to_torch"])
                    line |= aihwkit.beside(ours, theirs["ratio"], None, "over_torch")
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
