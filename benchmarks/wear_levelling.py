"""Life under uneven writing, with and without wear levelling of columns and of whole tiles.

    python benchmarks/wear_levelling.py

Two ends of a life. ``line``: the first line (one output) has lost a quarter of its cells, so it no
longer comes where it should; this is the headline. ``cells``: one cell in a hundred of those in use
is dead, wherever it is. Lives are Weibull draws of shape 2 (the package's assumption) around a
median that is supplied, so a few cells die early wherever they are. ``ceiling`` is what perfectly
even wear would gain by the same law, from :mod:`clnf.chip.life`: for ``cells`` it is below 2 with
few hot lines, because these may all die before a hundredth of a whole tile is dead.

``columns``: a tile of 64 x 48 HfO2 cells (pairs) with spare columns. In each lesson some lines get
400 pulses up and 400 down for every weight, the others a tenth (``skew`` 10) or all the same
(``skew`` 1, the control: there is nothing to gain). ``tiles``: eight adapters of 24 x 8, one for
each group, of which one group is taught; with and without fresh tiles beside them. ``extra`` is the
pulses of moves over those of lessons, ``error`` the mean change of all weights by the moves between
two lessons, over the full scale. Three seeds: mean, least, largest. ``projected`` is what is said
after five lessons without levelling, and ``projected_levelled`` what levelling may reach, with
their intervals.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, host
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.levelling import level
from clnf.chip.levelling_homes import Homes
from clnf.chip.life import project, project_levelled
from clnf.devices.materials import material

ROWS, LINES, PULSES, ENDURANCE, SEEDS = 64, 48, 400, 20_000.0, (1, 2, 3)
GROUPS, GROUP_ROWS, GROUP_LINES = 8, 24, 8
MOST, ENDS = 1500, {"line": 0.25, "cells": 0.01}


def hosted(net: nn.Module, seed: int, spare: int) -> Chip:
    row = material("hfo2_array_optimised").supply(endurance_cycles=ENDURANCE, dead_fraction=0.0)
    spec = ChipSpec(plastic=row, pairs=1, spare_columns=spare)
    chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
    chip.ledger.lesson = "lesson"
    return chip


def teach(chip: Chip, tile: Crossbar, train: Tensor) -> float:
    """One lesson's pulses on a tile, and how many there were."""
    counted = [tile.pulse(sign * train, plane=0) for sign in (1, -1)]
    for one in counted:
        chip.bill.pulses(tile, *one)
    return float(sum(one[0] for one in counted))


def dead(tile: Crossbar) -> Tensor:
    """Dead cells, [planes, lines, rows]."""
    tile.close_windows()
    return torch.stack([table[0] == 0 for table in tile.tables]).float().view(-1, *tile.shape)


def ends(found: dict[str, float], lesson: int, tiles: list[Tensor]) -> bool:
    """Note which ends have come; whether all have."""
    by_line = max(float(one.mean((0, 2)).max()) for one in tiles)
    whole = torch.stack([one.mean() for one in tiles]).mean()
    if by_line >= ENDS["line"]:
        found.setdefault("line", lesson)
    if float(whole) >= ENDS["cells"]:
        found.setdefault("cells", lesson)
    return found.keys() >= ENDS.keys()


def told(tile: Crossbar, before: Tensor, sizes: list[float]) -> dict[str, float]:
    """What is projected, without levelling and with it."""
    found: dict[str, float] = {}
    for of, share in ENDS.items():
        now = project(tile, before, sizes, share=share, of=of)
        even = project_levelled(tile, sizes, extra=0.05, share=share, of=of)
        for name, life in (("projected", now), ("projected_levelled", even)):
            for key in ("lessons", "low", "high"):
                found[f"{of} {name} {key}"] = getattr(life, key) + len(sizes)
        found[f"{of} ceiling"] = (even.lessons + len(sizes)) / (now.lessons + len(sizes))
    return found


def columns(hot: int, skew: float, spare: int, seed: int, *, levelled: bool) -> dict[str, float]:
    """Lessons until each end of one tile."""
    torch.manual_seed(seed)
    net = nn.ModuleDict({"a": nn.Linear(ROWS, LINES, bias=False)})
    chip = hosted(net, seed, spare)
    tile = chip.layers["a"].tiles[0]
    train = torch.full((LINES, ROWS), PULSES / skew)
    train[:hot] = PULSES
    before, sizes, errors, found = tile.wear.clone(), [], [], dict[str, float]()
    born = dead(tile)
    for lesson in range(1, MOST):
        sizes.append(teach(chip, tile, train))
        if levelled:
            held = tile.view(0.0)[0]
            if level(chip):
                errors.append(float((tile.view(0.0)[0] - held).abs().mean() / tile.scale[0]))
        if lesson == 5 and not levelled:
            found |= told(tile, before, sizes)
        if ends(found, lesson, [dead(tile) - born]):
            break
    return found | bill(chip, errors)


def adapters(skew: float, spare: int, seed: int, *, levelled: bool) -> dict[str, float]:
    """Lessons until each end of eight groups' adapters, of which one is taught all the time."""
    torch.manual_seed(seed)
    names = [f"group {n}" for n in range(GROUPS)]
    shape = GROUP_ROWS, GROUP_LINES
    net = nn.ModuleDict({name: nn.Linear(*shape, bias=False) for name in names})
    chip = hosted(net, seed, 0)
    homes, errors, found = Homes(chip, spare=spare), [], dict[str, float]()
    tiles = [chip.layers[name].tiles[0] for name in names]
    for lesson in range(1, MOST):
        for n, tile in enumerate(tiles):
            teach(chip, tile, torch.full(tile.shape, PULSES / (skew if n else 1.0)))
        if levelled:
            held = [tile.view(0.0)[0] for tile in tiles]
            if homes.level():
                apart = [
                    (tile.view(0.0)[0] - was).abs().mean() / tile.scale[0]
                    for tile, was in zip(tiles, held, strict=True)
                ]
                errors.append(float(torch.stack(apart).mean()))
        if ends(found, lesson, [dead(tile) for tile in tiles]):
            break
    return found | bill(chip, errors)


def bill(chip: Chip, errors: list[float]) -> dict[str, float]:
    moved, taught = (chip.ledger.total(op=op).count for op in ("move", "pulse"))
    return {"extra": moved / taught, "error": statistics.mean(errors or [0.0])}


def summed(make: Callable[[int], dict[str, float]]) -> dict[str, list[float]]:
    runs = [make(seed) for seed in SEEDS]
    keys = set.intersection(*(set(run) for run in runs))
    return {
        key: [round(f(run[key] for run in runs), 4) for f in (statistics.mean, min, max)]
        for key in sorted(keys)
    }


def both(what: dict[str, object], life: Callable[..., dict[str, float]], *numbers: float) -> None:
    plain = summed(lambda seed: life(*numbers, seed, levelled=False))
    level_ = summed(lambda seed: life(*numbers, seed, levelled=True))
    gained = {end: round(level_[end][0] / plain[end][0], 3) for end in ENDS}
    line = {**what, "gained": gained, "extra": level_["extra"][0]}
    print(json.dumps({**line, "plain": plain, "levelled": level_}), flush=True)


def main() -> None:
    start = time.perf_counter()
    torch.set_num_threads(1)
    for skew, spare in ((20.0, 0), (20.0, 2), (1.0, 0)):
        both({"of": "tiles", "groups": GROUPS, "skew": skew, "spare": spare}, adapters, skew, spare)
    for hot, skew, spare in ((4, 10.0, 4), (4, 1.0, 4), (4, 10.0, 12), (8, 10.0, 4)):
        what = {"of": "columns", "hot_lines": hot, "lines": LINES, "skew": skew, "spare": spare}
        both(what, columns, hot, skew, spare)
    print(json.dumps({"seconds": round(time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
