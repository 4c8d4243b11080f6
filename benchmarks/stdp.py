"""A competing network that learns by STDP: against BindsNET, Brian2 and our own dense loop.

    python benchmarks/stdp.py              JSON lines
    CLNF_BINDSNET_PYTHON=... CLNF_BRIAN2_PYTHON=... python benchmarks/stdp.py

784 inputs, 400 or 100 excitatory and as many inhibitory cells, plastic synapses from every input to
every excitatory cell, pair STDP of nearest spikes, weights into a cell scaled to one sum after each
lesson. A lesson is 350 steps of 1 ms in which inputs spike at 5 to 10 Hz by chance, each at a rate
of its own. All arms get the same spikes and the same first weights. Time is processor time of the
steps alone; what an arm takes to build itself, to make spikes and to compile is not in it.

A peer runs in an interpreter of its own, named by an environment variable, and is left out where
there is none; see ``peers/stdp_bindsnet.py`` and ``peers/stdp_brian2.py``. ``ratio`` is its time of
all lessons against the mean of ours right before and after it. ``same_spikes`` says whether it had
as many spikes as ours in each lesson, ``weights`` how far its weights are from ours at the end.
Brian2 does not pair spikes of one step here and BindsNET pairs them both ways; each is compared
with ours set likewise.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clnf.core.rng import torch_rng
from clnf.spiking.plasticity import PairSTDP, SoftBounds
from clnf.spiking.plasticity.network import (
    DiehlCook,
    Events,
    Membrane,
    NetworkState,
    normalise,
    poisson,
    run,
    settle,
    started,
    trains_of,
)
from clnf.spiking.plasticity.rules import Coincident

INPUTS, SIZES = 784, (400, 100)
LESSONS, STEPS, DT_S, ROUNDS, DENSE_LESSONS = 6, 350, 1e-3, 7, 2
TARGET = 100.0
PEERS: tuple[tuple[str, str, str, tuple[str, ...], Coincident], ...] = (
    ("BindsNET", "CLNF_BINDSNET_PYTHON", "stdp_bindsnet.py", (), "both"),
    ("Brian2 numpy", "CLNF_BRIAN2_PYTHON", "stdp_brian2.py", ("numpy",), "neither"),
    ("Brian2 cython", "CLNF_BRIAN2_PYTHON", "stdp_brian2.py", ("cython",), "neither"),
)
Row = dict[str, Any]
Taught = tuple[float, list[Any], Any]


def network(cells: int, coincident: Coincident = "both") -> DiehlCook:
    """The network of all arms."""
    rule = PairSTDP(
        up=1e-2, down=1e-4, pairing="nearest", coincident=coincident, bounds=SoftBounds()
    )
    return DiehlCook(inputs=INPUTS, cells=cells, rule=rule, inhibit_v=17.5e-3, dt_s=DT_S)


def inputs() -> list[Events]:
    """Spikes of all lessons; each shows other inputs most often."""
    found = []
    for number in range(LESSONS):
        draw = torch.rand(INPUTS, generator=torch_rng(0, "rates", number))
        place = ("lesson", number)
        found.append(poisson(5 + 5 * draw, steps=STEPS, dt_s=DT_S, seed=0, place=place))
    return found


def first(net: DiehlCook) -> NetworkState:
    """First weights, scaled as all later ones."""
    state = started(net, seed=0)
    normalise(net, state)
    return state


def taught(net: DiehlCook, lessons: list[Events], *, compiled: bool) -> Taught:
    """Processor seconds of the steps, spikes of each lesson and weights at the end."""
    state, seconds, spikes = first(net), 0.0, []
    for events in lessons:
        start = time.process_time()
        out = run(net, state, events, compiled=compiled)
        seconds += time.process_time() - start
        spikes.append((len(out.excitatory.cells), out.inhibitory, out.excitatory.cells.tolist()))
        normalise(net, state)
        settle(net, state)
    return seconds, spikes, state.weight


def ours(net: DiehlCook, lessons: list[Events]) -> Taught:
    """Our arm, the median of some rounds."""
    found = [taught(net, lessons, compiled=True) for _ in range(ROUNDS)]
    return sorted(found, key=lambda one: one[0])[ROUNDS // 2]


def parameters(net: DiehlCook) -> Row:
    """In mV and ms, as peers take them."""

    def cells(one: Membrane) -> dict[str, float]:
        return {
            "tau_ms": 1e3 * one.tau_s, "rest_mv": 1e3 * one.rest_v, "reset_mv": 1e3 * one.reset_v,
            "threshold_mv": 1e3 * one.threshold_v, "refractory_ms": 1e3 * one.refractory_s,
        }  # fmt: skip

    return {
        "exc": cells(net.excitatory), "inh": cells(net.inhibitory), "up": net.rule.up,
        "down": net.rule.down, "trace_tau_ms": 1e3 * float(net.rule.pre_tau_s),
        "theta_tau_ms": 1e3 * float(net.theta.tau_s), "jump_mv": 1e3 * float(net.theta.jump_v),
        "gain_mv": 1e3 * net.gain_v, "excite_mv": 1e3 * net.excite_v, "total": net.total,
        "inhibit_mv": 1e3 * net.inhibit_v, "dt_ms": 1e3 * net.dt_s, "steps": STEPS,
        "lessons": LESSONS,
    }  # fmt: skip


def written(folder: str, net: DiehlCook, lessons: list[Events]) -> str:
    """What peers read."""
    path = str(Path(folder) / f"given{net.cells}.npz")
    packed = {
        f"lesson{number}": np.packbits(trains_of(one, torch.uint8).numpy(), axis=1)
        for number, one in enumerate(lessons)
    }
    text = np.array(json.dumps(parameters(net)))
    np.savez(path, parameters=text, weight=first(net).weight.numpy(), **packed)
    return path


def peer(python: str, script: str, rest: tuple[str, ...], path: str) -> tuple[list[Row], Any]:
    """Lines of a peer, its version first and then a lesson each, and its weights at the end."""
    where = str(Path(__file__).parent / "peers" / script)
    lone = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-W", "ignore", where, path, *rest], capture_output=True, text=True,
        env=given | lone, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    found = [json.loads(one) for one in done.stdout.splitlines() if one.startswith("{")]
    return found, np.load(path + ".weight.npy")


def compared(cells: int, lessons: list[Events], folder: str) -> Iterator[Row]:
    """All peers against ours."""
    path = written(folder, network(cells), lessons)
    for name, variable, script, rest, coincident in PEERS:
        python, net = os.environ.get(variable), network(cells, coincident)
        if not python:
            yield {"peer": name, "not_here": f"set {variable} to an interpreter that has it"}
            continue
        before = ours(net, lessons)
        try:
            (version, *rows), weight = peer(python, script, rest, path)
        except (OSError, RuntimeError) as error:
            yield {"peer": name, "not_here": str(error)}
            continue
        mine = (before[0] + ours(net, lessons)[0]) / 2
        spent = sum(one["seconds"] for one in rows)
        got = [(one["excitatory"], one["inhibitory"]) for one in rows]
        yield {
            "arm": f"{name} {version['version']}", "cells": cells,
            "step_us": round(1e6 * spent / (LESSONS * STEPS), 1),
            "ours_step_us": round(1e6 * mine / (LESSONS * STEPS), 2),
            "ratio": round(spent / mine, 1), "target": TARGET, "met": spent / mine >= TARGET,
            "same_spikes": got == [one[:2] for one in before[1]],
            "spikes": [sum(one) for one in zip(*got, strict=True)],
            "weights": float(np.abs(weight - before[2].numpy()).max()),
        }  # fmt: skip


def dense(net: DiehlCook, lessons: list[Events]) -> Row:
    """Our dense loop, for the first lessons."""
    few = lessons[:DENSE_LESSONS]
    mine = taught(net, few, compiled=True)
    plain = taught(net, few, compiled=False)
    again = taught(net, few, compiled=True)
    seconds = (mine[0] + again[0]) / 2
    return {
        "arm": "dense loop", "cells": net.cells,
        "step_us": round(1e6 * plain[0] / (DENSE_LESSONS * STEPS), 1),
        "ratio": round(plain[0] / seconds, 1), "equal_spikes": mine[1] == plain[1],
        "equal_weights": torch.equal(mine[2], plain[2]),
    }  # fmt: skip


def own(net: DiehlCook, lessons: list[Events]) -> Row:
    """Our arm and how busy the network is."""
    seconds, spikes, _ = ours(net, lessons)
    lived = LESSONS * STEPS * DT_S
    rates = [sum(one[n] for one in spikes) / net.cells / lived for n in (0, 1)]
    return {
        "arm": "ours", "cells": net.cells, "inputs": INPUTS, "steps": LESSONS * STEPS,
        "input_hz": round(sum(len(one.cells) for one in lessons) / INPUTS / lived, 2),
        "excitatory_hz": round(rates[0], 2), "inhibitory_hz": round(rates[1], 2),
        "step_us": round(1e6 * seconds / (LESSONS * STEPS), 2),
    }  # fmt: skip


def lines() -> Iterator[Row]:
    """Everything."""
    lessons = inputs()
    for cells in SIZES:
        net = network(cells)
        ours(net, lessons[:1])
        yield own(net, lessons)
        yield dense(net, lessons)
        with tempfile.TemporaryDirectory() as folder:
            yield from compared(cells, lessons, folder)


def main() -> None:
    """Print JSON lines."""
    torch.set_num_threads(1)
    for one in lines():
        print(json.dumps({"benchmark": "stdp", **one}), flush=True)


if __name__ == "__main__":
    main()
