"""NIR files of ours in other tools: what they refuse, what they change, and what a rewriting mends.

    python benchmarks/nir_round_trips.py         JSON lines
    python benchmarks/nir_round_trips.py table   the same as tables

Small networks of each kind of cell are written, read by each tool that is installed (see
``peers/nir_files.py``; run this in an environment of theirs with ``PYTHONPATH=src``) and run on the
same 120 steps of 8 samples. ``spikes`` is how many there are here, ``unequal`` in how many places
the tool has others; of cells with a current, whose spikes come a step earlier in all tools, places
are moved by one step. ``plain`` is the file as it is in seconds and volts, ``fitted`` the file that
``clnf spike nir FILE --for TOOL --write OUT`` writes. ``said`` is what the judge of dialects says
beforehand: where it says nothing, nothing may differ. It may say what this input does not show,
such as what becomes of a potential equal to the threshold. ``back`` is what comes of exporting the
imported network again, with the tool's own exporter.

Weights are multiples of 1/64; rounding may move a spike all the same, since tools round otherwise.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.nir_files import TOOLS, given_back, installed, run
from torch import Tensor

from clnf.spiking.exchange import Graph, Network, Node, Reading, write_nir
from clnf.spiking.exchange.dialects import DIALECTS, fit, judge

STEPS, SAMPLES, INPUTS, CELLS = 120, 8, 12, 10
HOW = Reading(dt_s=1e-3, drive="hold", method="exact")
# A current then acts on v a step later to the letter, not half a step.
SUBTRACT = {"clnf.cell": '{"reset": "subtract"}'}
WITH_CURRENT = Reading(dt_s=1e-3, drive="kick", method="exact")


def weights(seed: int, *shape: int) -> np.ndarray:
    """Multiples of 1/64 around 0."""
    values = np.random.default_rng(seed).normal(0, 1, shape)
    return (np.round(values * 64) / 64).astype(np.float32)


def row(value: float) -> np.ndarray:
    """One number for all cells."""
    return np.full(CELLS, value, np.float32)


def cells() -> dict[str, Node]:
    """Each kind of cell, with numbers that a tool cannot take for its own defaults."""
    level, tau = row(0.7013), row(20e-3)
    slow = {"tau_mem": tau, "tau_syn": row(5e-3), "r": row(2.0), "v_leak": row(0.0)}
    cuba = {**slow, "w_in": row(3.0), "v_threshold": level, "v_reset": row(0.0)}
    lif = {"tau": tau, "r": row(3.0), "v_leak": row(0.0), "v_threshold": level}
    return {
        "LIF": Node.of("LIF", {**lif, "v_reset": row(0.0)}),
        "LIF, v_leak 0.1, v_reset -0.2": Node.of(
            "LIF", {**lif, "v_leak": row(0.1), "v_reset": row(-0.2)}
        ),
        "LIF, each its own tau": Node.of(
            "LIF", {**lif, "tau": np.linspace(1e-2, 3e-2, CELLS, dtype=np.float32)}
        ),
        "LIF, threshold subtracted": Node.of("LIF", lif, SUBTRACT),
        "CubaLIF": Node.of("CubaLIF", cuba),
        "CubaLIF, threshold subtracted": Node.of("CubaLIF", cuba, SUBTRACT),
        "IF": Node.of("IF", {"r": row(300.0), "v_threshold": level, "v_reset": row(0.0)}),
    }


def networks() -> Iterator[tuple[str, Graph]]:
    """Inputs, weights and cells; then the same with weights around the cells."""
    for name, node in cells().items():
        nodes: dict[str, Node | Graph] = {
            "in": Node.of("Input", {"shape": [INPUTS]}),
            "out": Node.of("Output", {"shape": [CELLS]}),
            "cells": node,
            "weights": Node.of("Linear", {"weight": weights(1, CELLS, INPUTS)}),
        }
        edges = [("in", "weights"), ("weights", "cells"), ("cells", "out")]
        yield name, Graph(nodes, edges)
        if name in ("LIF", "CubaLIF", "IF"):
            ring = Node.of("Linear", {"weight": weights(2, CELLS, CELLS) / 2})
            more = [("cells", "ring"), ("ring", "cells")]
            yield f"{name}, recurrent", Graph({**nodes, "ring": ring}, [*edges, *more])


def unequal(ours: Tensor, theirs: Tensor, early: bool) -> int:
    """Places with other spikes; theirs a step earlier where that is said."""
    if early:
        ours, theirs = ours[1:], theirs[:-1]
    return int((ours != theirs).sum())


def measured(tool: str, graph: Graph, x: Tensor, of: tuple[Tensor, float, bool]) -> dict[str, Any]:
    """What a tool makes of a file."""
    ours, dt_s, early = of
    with tempfile.TemporaryDirectory() as folder:
        path = write_nir(Path(folder) / "graph.nir", graph)
        try:
            theirs = run(tool, path, x, dt_s).to(ours.dtype)
        except Exception as error:  # whatever a peer raises is the finding
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"}
        if theirs.shape != ours.shape:
            return {"error": f"shape {[*theirs.shape]}"}
        found = {"unequal": unequal(ours, theirs, early), "there": int(theirs.sum())}
        try:
            given_back(tool, path, x[0], dt_s)
        except Exception as error:
            return {**found, "back": f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"}
        return {**found, "back": "a file"}


def rows() -> Iterator[dict[str, Any]]:
    """One result for each network, tool and way of writing."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(STEPS, SAMPLES, INPUTS, generator=generator) < 0.2).float()
    here = installed()
    for name, graph in networks():
        early = name.startswith("CubaLIF")
        how = WITH_CURRENT if early else HOW
        ours = Network(graph, how)(x)
        assert isinstance(ours, Tensor)
        ours = ours.detach()
        base = {"benchmark": "nir_round_trips", "network": name, "spikes": int(ours.sum())}
        for dialect in DIALECTS:
            fitted = fit(graph, dialect, how)
            for way, file, said, dt_s in (
                ("plain", graph, judge(graph, dialect, how), how.dt_s),
                ("fitted", fitted.graph, fitted.left, fitted.dt_s),
            ):
                told = [f"{one.level}: {one.what}" for one in said]
                result: dict[str, Any] = {**base, "tool": dialect.title, "way": way, "said": told}
                if dialect.name in here:
                    result |= measured(dialect.name, file, x, (ours, dt_s, early))
                yield result


def tables() -> None:
    """Print which file does what in which tool."""
    found = [*rows()]
    names = list(dict.fromkeys(one["network"] for one in found))
    titles = list(dict.fromkeys(one["tool"] for one in found))
    for way in ("plain", "fitted"):
        print(f"\n| {way} | spikes | {' | '.join(titles)} |")
        print("| --- |" + " --- |" * (len(titles) + 1))
        for name in names:
            mine = [one for one in found if (one["network"], one["way"]) == (name, way)]
            parts = [_cell({**one}) for one in mine]
            print(f"| {name} | {mine[0]['spikes']} | {' | '.join(parts)} |")


def _cell(one: dict[str, Any]) -> str:
    if "error" in one:
        return "no"
    return str(one["unequal"]) if "unequal" in one else "-"


def main() -> None:
    """Print the results."""
    assert set(TOOLS) == {dialect.name for dialect in DIALECTS}
    if sys.argv[1:] == ["table"]:
        tables()
        return
    for one in rows():
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main()
