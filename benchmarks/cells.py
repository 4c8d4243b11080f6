"""Programming and drift of a 512 x 512 tile of phase-change cells, and bytes of state a cell.

Time: ``write_once`` with one round (targets, published error, drift exponents, wear, the bill and
the weights kept for drift compensation) and ``weights_now`` a day later, of a weight each on a pair
of cells: 2 x 512 x 512. The reference in the same run is the same laws as plain torch passes, and
a copy of the tensors that must be written is the machine's limit. aihwkit programs and ages the
same targets by its own model of such cells on its torch tile, before ours and in a process of its
own; where it cannot be had, quoted figures of another day stand in, and no ratio is made of them.

Memory: counted from the tensors of real tiles.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from peers import aihwkit
from torch import Tensor

from clnf.chip.bill import Bill
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.crossbar.footprint import state_bytes
from clnf.chip.crossbar.make import Make
from clnf.chip.program import Verify, write_once
from clnf.chip.spec import ChipSpec
from clnf.chip.technology import technology
from clnf.core.ledger import Ledger
from clnf.devices.cell import Unknown
from clnf.devices.draws import hash_normals

SIDE, ROUNDS, DAY = 512, 15, 86_400.0
AIHWKIT_MS = {"program": 24.5, "drift": 24.8}


def tile_of(make: Make, side: int = SIDE) -> Crossbar:
    return Crossbar("t", slice(0, side), slice(0, side), 1, make)


def full_and_bare() -> tuple[Make, Make]:
    """A tile with every option that keeps state, and one without wear and variation."""
    learns, stores = (ChipSpec(pairs=1).make(plastic=p) for p in (True, False))
    off = Unknown("switched off")
    bare = ChipSpec(pairs=1, spreads=False).make(plastic=True)
    full = replace(learns, cell=replace(learns.cell, drift=stores.cell.drift))
    return full, replace(bare, cell=replace(bare.cell, endurance=off))


def bytes_a_cell(make: Make, side: int = SIDE) -> float:
    """Of a tile that has been fenced, pulsed and read."""
    tile = tile_of(make, side)
    tile.set_fence(torch.full((side, side), 0.5))
    tile.pulse(torch.ones(side, side))
    tile.view(DAY)
    return state_bytes(tile) / (tile.planes * tile.size)


def plain_arms(tile: Crossbar, target: Tensor) -> dict[str, Callable[[], object]]:
    """The same laws, one torch pass after another."""
    cell = tile.cell
    error, drift = cell.need(cell.programming), cell.need(cell.drift)
    count = tile.planes * tile.size
    kept: list[Tensor] = []

    def program() -> None:
        relative = target / target.abs().amax(1)[:, None]
        wanted = cell.conductance_s(tile.make.mapping.targets(relative, cell.bounds).view(-1))
        draw = hash_normals(1, ("write",), (count,))
        written = error.sigma(wanted).mul_(draw).add_(wanted).clamp_(min=0.0)
        trait = drift.trait(written, hash_normals(1, ("drift",), (count,)))
        kept[:] = [cell.weight(written), trait]

    def later() -> None:
        age = torch.full((count,), DAY)
        cell.weight(drift.at(cell.conductance_s(kept[0]), kept[1], age))

    return {"program": program, "drift": later}


def timed(arms: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Processor time of each arm in ms; arms alternate."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(ROUNDS + 1):
        for name, arm in arms.items():
            start = time.thread_time()
            arm()
            if turn:
                times[name].append((time.thread_time() - start) * 1e3)
    return times


def main() -> None:
    torch.set_num_threads(1)
    make = ChipSpec(pairs=1).make(plastic=False)
    tile, bill = tile_of(make), Bill(Ledger(), technology("isaac_32nm", 8))
    target = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.1
    rounds = np.array(ROUNDS)
    found = aihwkit.measured("cells", target=target.numpy(), rounds=rounds) or {}
    if found:
        away_ms = round(found["drift_with_read_noise"], 3)
        line = {"arm": "aihwkit drift_with_read_noise", "cpu_ms": away_ms}
        print(json.dumps({"benchmark": "pcm", **line, "source": aihwkit.MEASURED}))
    once, plain = Verify(rounds=1), plain_arms(tile, target)
    state = [tile.seen, tile.trait, tile.born_s, tile.wear]
    away = [torch.empty_like(t) for t in state]
    arms: dict[str, Callable[[], object]] = {
        "program": lambda: write_once(tile, target, 0.0, bill, once),
        "drift": lambda: tile.weights_now(DAY),
        "plain_program": plain["program"],
        "plain_drift": plain["drift"],
        "limit_program": lambda: [a.copy_(t) for a, t in zip(away, state, strict=True)],
        "limit_drift": lambda: [a.copy_(t) for a, t in zip(away[:2], state[:2], strict=True)],
    }
    times = timed(arms)
    least = {name: min(values) for name, values in times.items()}
    total = least["program"] + least["drift"]
    for name in ("program", "drift"):
        print(json.dumps({
            "benchmark": "pcm", "arm": name, "side": SIDE, "cells": tile.planes * tile.size,
            "cpu_ms": round(least[name], 3),
            "median_ms": round(statistics.median(times[name]), 3),
            "ns_per_cell": round(least[name] * 1e6 / (tile.planes * tile.size), 3),
            "ratio_to_plain_torch": round(least[name] / least[f"plain_{name}"], 3),
            "ratio_to_copy": round(least[name] / least[f"limit_{name}"], 2),
            **aihwkit.beside(least[name], found.get(name), AIHWKIT_MS[name], "ms"),
        }))  # fmt: skip
    print(json.dumps({"benchmark": "pcm", "arm": "both", "cpu_ms": round(total, 3), "most": 3.0}))
    for name, one, most in zip(("full", "bare"), full_and_bare(), (40, 16), strict=True):
        found = round(bytes_a_cell(one), 2)
        print(json.dumps({"benchmark": "state", "arm": name, "bytes_a_cell": found, "most": most}))


if __name__ == "__main__":
    main()
