"""Life of a tile under uneven writing, with and without wear levelling.

    python benchmarks/wear_levelling.py

A tile of 64 x 48 HfO2 cells (pairs) with spare columns. In each lesson some lines get 400 pulses up
and 400 down for every weight, the others a tenth (``skew 10``) or all the same (``skew 1``, the
control: there is nothing to gain). The median endurance is supplied, the Weibull spread of lives
is the package's. A life ends when a line has lost a quarter of its cells (``line``), or when one
cell in a hundred of those in use is dead (``cells``). ``extra`` is the pulses of moves over those
of lessons, ``error`` the mean change of all weights by the moves between two lessons, over the full
scale. Three seeds: mean, least, largest. ``projected`` is what :mod:`clnf.chip.life` says of
``cells`` after five lessons without levelling, with its interval.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from clnf.chip import ChipSpec, host
from clnf.chip.levelling import level
from clnf.chip.life import project
from clnf.devices.materials import material

ROWS, LINES, PULSES, ENDURANCE, SEEDS = 64, 48, 400, 20_000.0, (1, 2, 3)
MOST = 1500


def life(hot: int, skew: float, spare: int, seed: int, *, levelled: bool) -> dict[str, float]:
    """Lessons until each of the two ends."""
    torch.manual_seed(seed)
    net = nn.ModuleDict({"a": nn.Linear(ROWS, LINES, bias=False)})
    row = material("hfo2_array_optimised").supply(endurance_cycles=ENDURANCE, dead_fraction=0.0)
    spec = ChipSpec(plastic=row, pairs=1, spare_columns=spare)
    chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
    tile = chip.layers["a"].tiles[0]
    tile.close_windows()
    born = torch.stack([table[0] == 0 for table in tile.tables]).float().mean()
    train = torch.full((LINES, ROWS), PULSES / skew)
    train[:hot] = PULSES
    chip.ledger.lesson, before, sizes = "lesson", tile.wear.clone(), []
    found: dict[str, float] = {}
    lesson, errors = 0, []
    while not {"line", "cells"} <= set(found) and lesson < MOST:
        lesson += 1
        counted = [tile.pulse(sign * train, plane=0) for sign in (1, -1)]
        for one in counted:
            chip.bill.pulses(tile, *one)
        sizes.append(float(sum(one[0] for one in counted)))
        if levelled:
            held = tile.view(0.0)[0]
            if level(chip):
                errors.append(float((tile.view(0.0)[0] - held).abs().mean() / tile.scale[0]))
        tile.close_windows()
        dead = torch.stack([table[0] == 0 for table in tile.tables]).float() - born
        by_line = dead.view(-1, LINES, ROWS).mean((0, 2))
        if lesson == 5 and not levelled:
            told = project(tile, before, sizes)
            found["projected"] = told.lessons + 5
            found["projected_low"], found["projected_high"] = told.low + 5, told.high + 5
        if float(by_line.max()) >= 0.25:
            found.setdefault("line", lesson)
        if float(dead.mean()) >= 0.01:
            found.setdefault("cells", lesson)
    moved, taught = (chip.ledger.total(op=op).count for op in ("move", "pulse"))
    return {**found, "extra": moved / taught, "error": statistics.mean(errors or [0.0])}


def summed(make: Callable[[int], dict[str, float]]) -> dict[str, list[float]]:
    runs = [make(seed) for seed in SEEDS]
    keys = set.intersection(*(set(run) for run in runs))
    return {
        key: [round(f(run[key] for run in runs), 4) for f in (statistics.mean, min, max)]
        for key in sorted(keys)
    }


def main() -> None:
    start = time.perf_counter()
    torch.set_num_threads(1)
    for hot, skew, spare in ((4, 10.0, 4), (4, 10.0, 12), (8, 10.0, 4), (4, 1.0, 4)):
        plain = summed(lambda seed: life(hot, skew, spare, seed, levelled=False))  # noqa: B023
        level_ = summed(lambda seed: life(hot, skew, spare, seed, levelled=True))  # noqa: B023
        gained = {end: level_[end][0] / plain[end][0] for end in ("line", "cells")}
        print(
            json.dumps({
                "hot_lines": hot, "lines": LINES, "skew": skew, "spare": spare,
                "plain": plain, "levelled": level_, "gained": gained,
            }),
            flush=True,
        )  # fmt: skip
    print(json.dumps({"seconds": round(time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
