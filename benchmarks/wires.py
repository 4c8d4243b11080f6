"""Exact wires against badcrossbar 1.1.0 and a sparse direct solve, on one thread.

solve    currents of 1 and of 64 vectors in a square crossbar; ratios are the peer's time over ours
matrix   the effective conductance, and from how many vectors on it pays
limit    one step of the solver against the machine: bytes moved / time, over a triad in a working
         set of the same size
memory   most memory of a process that solves 1,024 x 1,024

The peer is put into a folder of its own, without its plotting packages, and runs in this process
between our rounds; all times are of the processor. Segments have 2 ohm, cells 1 to 100 uS, and the
topology is the peer's.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from scipy.sparse import block_array, diags_array, eye_array, kron
from scipy.sparse.linalg import splu
from torch import Tensor

from clnf.chip import effective_conductance, line_currents
from clnf.chip.crossbar import wire_kernels as kernels
from clnf.chip.crossbar.wiring import GOAL, factored

PEER = ("badcrossbar==1.1.0", "pathvalidate==3.3.1")
OHM, SIDES, VECTORS, ROUNDS, LONG_S = 2.0, (64, 128, 256), (1, 64), 3, 0.2
# By default the peer also gives all voltages and branch currents; it may leave them out.
ONLY = {"node_voltages": False, "all_currents": False}
# Per crossing and step: down reads 6 arrays and writes 3, up reads 3 and writes 1.
BYTES, FLOPS = 13 * 8, 22
MEMORY = """
import torch
from pathlib import Path
from clnf.chip import line_currents
torch.set_num_threads(1)
cells = 1e-6 + 99e-6 * torch.rand(1024, 1024, dtype=torch.float64)
volts = torch.rand(1024, dtype=torch.float64)
line_currents(cells[:8, :8], volts[:8], 2.0)
def peak():  # of this program alone; what getrusage says may be its parent's
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("VmHWM"))
before = peak()
line_currents(cells, volts, 2.0)
print(before, peak())
"""


def say(**values: Any) -> None:
    """One line of results."""
    print(json.dumps({"benchmark": "wires", **values}), flush=True)


def peer() -> Any:
    """The peer's module, or None where it cannot be had."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "clnf-benchmarks" / PEER[0].replace("==", "-")
    if not (folder / "badcrossbar").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*install, str(folder), *PEER], stdout=sys.stderr, check=False)
    sys.path.append(str(folder))
    logging.disable(logging.INFO)  # it reports each stage on the standard output
    try:
        from badcrossbar.compute import compute
    except ImportError as error:
        say(arm="badcrossbar", missing=str(error))
        return None
    return compute


def crossbar(rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Cells and 64 vectors of voltages."""
    rng = torch.Generator().manual_seed(rows)
    cells = 1e-6 + 99e-6 * torch.rand(rows, cols, generator=rng, dtype=torch.float64)
    return cells, torch.rand(max(VECTORS), rows, generator=rng, dtype=torch.float64)


def direct(cells: Tensor, volts: Tensor) -> Tensor:
    """The same currents by SciPy's sparse direct solver, in the mode for symmetric matrices."""
    rows, cols = cells.shape
    g = 1 / OHM

    def chain(n: int, fed: int) -> Any:
        main = np.full(n, 2 * g)
        main[n - 1 - fed] = g
        return diags_array([main, np.full(n - 1, -g), np.full(n - 1, -g)], offsets=[0, 1, -1])

    between = diags_array(cells.flatten().numpy())
    word = kron(eye_array(rows), chain(cols, 0)) + between
    bit = kron(chain(rows, rows - 1), eye_array(cols)) + between
    matrix = block_array([[word, -between], [-between, bit]], format="csc")
    right = np.zeros((2, rows, cols, len(volts)))
    right[0, :, 0] = g * volts.T.numpy()
    solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    found = solver.solve(right.reshape(2 * rows * cols, -1)).reshape(2, rows, cols, -1)
    return torch.from_numpy(found[1, -1].T) * g


def fastest(arms: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Shortest processor time of each arm; rounds alternate, a short arm has five turns in each."""
    times = dict.fromkeys(arms, float("inf"))
    for _ in range(rounds):
        for name, arm in arms.items():
            for _ in range(1 if LONG_S < times[name] < float("inf") else 5):
                start = time.process_time()
                arm()
                times[name] = min(times[name], time.process_time() - start)
                if times[name] > LONG_S:
                    break
    return times


def solves(compute: Any) -> None:
    """Times, ratios and differences for each size and number of vectors."""
    for side in SIDES:
        cells, drive = crossbar(side, side)
        for vectors in VECTORS:
            volts = drive[:vectors]
            arms: dict[str, Callable[[], Tensor]] = {
                "clnf": lambda v=volts, c=cells: line_currents(c, v, OHM),
                "splu": lambda v=volts, c=cells: direct(c, v),
            }
            for name, asked in (("badcrossbar", {}), ("badcrossbar_outputs_only", ONLY)):
                if compute:
                    arms[name] = lambda v=volts, c=cells, asked=asked: torch.from_numpy(
                        compute(v.T.numpy(), (1 / c).numpy(), OHM, **asked).currents.output
                    )
            exact = arms["splu"]()
            off = {n: float((a() - exact).abs().max() / exact.abs().max()) for n, a in arms.items()}
            times = fastest(arms, ROUNDS)
            for name, seconds in times.items():
                say(
                    arm=name, rows=side, cols=side, vectors=vectors, cpu_ms=round(seconds * 1e3, 3),
                    ratio_to_clnf=round(seconds / times["clnf"], 1),
                    off_splu=float(f"{off[name]:.1e}"),
                )  # fmt: skip


def matrices() -> None:
    """Times of the effective conductance, and the number of vectors from which it is cheaper."""
    for rows, cols in ((64, 64), (128, 128), (256, 256), (512, 128), (128, 512)):
        cells, drive = crossbar(rows, cols)
        times = fastest(
            {
                "matrix": lambda c=cells: effective_conductance(c, OHM),
                "vectors": lambda c=cells, v=drive: line_currents(c, v, OHM),
            },
            ROUNDS,
        )
        each = times["vectors"] / len(drive)
        say(
            arm="effective_conductance", rows=rows, cols=cols,
            cpu_ms=round(times["matrix"] * 1e3, 2),
            pays_from_vectors=round(times["matrix"] / each),
        )  # fmt: skip


@njit(nogil=True)  # type: ignore[untyped-decorator]
def triad(a: Any, b: Any, c: Any, times: int) -> None:
    """A = b + 1.5 c, several times."""
    for _ in range(times):
        for i in range(len(a)):
            a[i] = b[i] + 1.5 * c[i]


def limits() -> None:
    """Bytes moved in a second by the solver and by a triad in as large a working set."""
    for side in (*SIDES, 512):
        cells, drive = crossbar(side, side)
        net, volts = factored(cells, (1 / OHM,) * 4), drive[:8].numpy()
        out = np.empty((len(volts), side))
        steps = kernels.currents(net, volts, GOAL, out)
        arrays = [np.ones(2 * side * side) for _ in range(3)]  # six arrays of the crossbar's size
        repeat = max(1, 2**22 // side**2)
        triad(*arrays, 1)  # type: ignore[call-arg]
        times = fastest(
            {
                "solve": lambda n=net, v=volts, o=out: kernels.currents(n, v, GOAL, o),
                "triad": lambda a=arrays, r=repeat: triad(*a, r),  # type: ignore[call-arg]
            },
            2 * ROUNDS,
        )
        # Before the steps come the source and the first guess, a step's work each.
        crossings = side * side * len(volts) * (steps + 2)
        rate = crossings * BYTES / times["solve"] / 1e9
        copy = 3 * 8 * 2 * side * side * repeat / times["triad"] / 1e9
        say(
            arm="limit", rows=side, cols=side, steps=steps,
            ns_per_crossing_and_step=round(times["solve"] / crossings * 1e9, 2),
            gb_per_s=round(rate, 1), triad_gb_per_s=round(copy, 1),
            share_of_triad=round(rate / copy, 2),
            gflop_per_s=round(crossings * FLOPS / times["solve"] / 1e9, 2),
        )  # fmt: skip


def memory() -> None:
    """Most memory of a process that solves 1,024 x 1,024."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    before, most = (int(k) for k in done.stdout.split())
    say(
        arm="memory", rows=1024, cols=1024, peak_mb=round(most / 1024),
        of_that_the_solve_mb=round((most - before) / 1024),
    )  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    solves(peer())
    matrices()
    limits()
    memory()


if __name__ == "__main__":
    main()
