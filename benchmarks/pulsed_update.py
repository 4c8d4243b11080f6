"""Pulsed outer-product update of a 512 x 512 tile: dense trains against one draw per event.

The reference is the same physics event by event: every coincidence is its own pulse with its
own draw, compiled like the kernel. Arms alternate in one run, on one thread, in processor time.
The machine's limit is a copy of the same bytes: what one update must read and write. aihwkit
applies the same vectors before ours, in a process of its own, with as many coincidences on average:
``aihwkit_ms`` is its default, which shortens trains, ``aihwkit_same_trains_ms`` has trains as long
as ours. Where it was not built for our torch, quoted figures of another day stand in, and no ratio
is made of them.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray
from peers import aihwkit

from clnf.devices import trains
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.kernels import gauss8, word
from clnf.devices.pulses import Cells, PulseJob, pulse_cell, pulse_cells
from clnf.devices.response import Response, cell_traits, fresh_cells
from clnf.devices.trains import Trains

SIDE, LENGTH, SHARE, ROUNDS, VECTORS = 512, 31, 0.2, 9, (1, 64)
SPREADS = {
    "step_up": 1e-3, "step_down": 1e-3, "step_spread": 0.3, "bias_spread": 0.01,
    "bound_max_spread": 0.3, "bound_min_spread": 0.3, "cycle_spread": 0.3,
}  # fmt: skip
OPTIMISED = cell("hfo2_array_optimised")
LAWS = {
    "constant": Response(**SPREADS, shape_up=0.0, shape_down=0.0),  # type: ignore[arg-type]
    "soft": Response(**SPREADS),  # type: ignore[arg-type]
    "hfo2_array_optimised": OPTIMISED.need(OPTIMISED.response),
    "exponential": Response(
        kind="exponential", step_up=0.01, step_down=0.01, shape_up=2.0, shape_down=2.0,
        factor_up=-2.0, factor_down=-1.0, scale=-0.5, offset=-0.5, cycle_spread=0.3,
    ),
}  # fmt: skip
MOST_MS = {1: 0.45, 64: 25.0}
AIHWKIT_MS = {
    ("constant", 1): 0.704,
    ("constant", 64): 44.6,
    ("soft", 1): 0.814,
    ("soft", 64): 64.1,
}


@njit(nogil=True)
def event_by_event(
    job: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    table: NDArray[np.float32],
    key: NDArray[np.uint32],
) -> int:
    """Every coincident bit is one pulse."""
    columns, rows = job.fence.shape
    count = 0
    for c in range(columns):
        for r in range(rows):
            at = c * rows + r
            index = job.first + at
            traits = table[0, at], table[1, at], table[2, at], table[3, at]
            for v in range(job.rows.shape[0]):
                row, column = job.rows[v, r], job.columns[v, c]
                both = np.uint32(np.uint32(row & column) & np.uint32(0x7FFFFFFF))
                n = 1 if np.uint32(row ^ column) >> np.uint32(31) else -1
                while both:
                    both = np.uint32(both & np.uint32(both - np.uint32(1)))
                    count += 1
                    shift = np.uint32(word(count, key[4], key[5]))
                    draw = gauss8(index, key[0] ^ shift, key[1])
                    cells.hidden[at] = pulse_cell(
                        cells.hidden[at], n, traits, law, draw, (np.uint32(index), key[0], key[1])
                    )
                    cells.wear[at] += 1
    return count


def drive(vectors: int) -> dict[str, NDArray[np.float32]]:
    """Chances of a bit with random signs: ``SHARE`` coincidences per cell and vector."""
    rng = np.random.default_rng(vectors)
    value = np.full((vectors, SIDE), (SHARE / LENGTH) ** 0.5, dtype=np.float32)
    signs = np.array([-1, 1], dtype=np.float32)
    return {name: value * rng.choice(signs, (vectors, SIDE)) for name in ("x", "d")}


def job_for(vectors: int) -> Trains:
    """The trains of these vectors."""
    both = []
    for name, value in drive(vectors).items():
        words = np.zeros((vectors, SIDE), dtype=np.uint32)
        trains.encode(value, LENGTH, hash_key(vectors, name), words)
        both.append(words)
    return Trains(both[0], both[1], np.ones((SIDE, SIDE), np.float32), False, 0)


def arms_for(law: Response, vectors: int) -> dict[str, Callable[[], object]]:
    """Ways to apply one job, the sparse pulses of the mixed-precision mode, and a bare copy."""
    job, numbers, key = job_for(vectors), law.law(1e3, 7e2).numpy(), hash_key(1, "op", words=6)
    traits = cell_traits(law, SIDE * SIDE, 1)
    fresh = fresh_cells(law, traits, 1)
    if law.write_noise == 0.0:
        fresh = fresh._replace(seen=fresh.hidden)
    cells, table = Cells(*(t.numpy() for t in fresh)), traits.numpy()
    sparse = (np.random.default_rng(1).random(SIDE * SIDE) < 0.1).astype(np.int16)
    few = PulseJob(sparse, np.ones(SIDE * SIDE, np.float32), 0)
    # Read: traits and state; written: state. A copy reads and writes half of that each.
    state = 2 if law.write_noise == 0.0 else 3
    lines = [np.ones(SIDE * SIDE * (4 + 2 * state) // 2, np.float32) for _ in range(2)]
    return {
        "event": lambda: event_by_event(job, cells, numbers, table, key),
        "copy": lambda: np.copyto(lines[0], lines[1]),
        "mixed_10_percent": lambda: pulse_cells(few, cells, numbers, table, key),
        "dense": lambda: trains.pulse_outer(job, cells, numbers, table, key),
    }


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


def peer() -> Mapping[str, float]:
    """Times of aihwkit in ms by law, vectors and trains; nothing where it cannot be had."""
    both = {f"{k}_{n}": value for n in VECTORS for k, value in drive(n).items()}
    numbers = {"length": LENGTH, "rounds": ROUNDS, "vectors": VECTORS}
    asked = {name: np.asarray(value) for name, value in numbers.items()}
    return aihwkit.measured("pulsed_update", **asked, **both) or {}


def main() -> None:
    found = peer()
    for name, law in LAWS.items():
        for vectors in VECTORS:
            times = timed(arms_for(law, vectors))
            least = {arm: min(values) for arm, values in times.items()}
            for arm in ("dense", "mixed_10_percent")[: 2 if vectors == 1 else 1]:
                row: dict[str, object] = {
                    "benchmark": "pulsed_update", "law": name, "arm": arm, "vectors": vectors,
                    "side": SIDE, "cpu_ms": round(least[arm], 3),
                    "median_ms": round(statistics.median(times[arm]), 3),
                    "ns_per_cell_and_vector": round(least[arm] * 1e6 / SIDE**2 / vectors, 3),
                    "ratio_to_event": round(least[arm] / least["event"], 3),
                    "ratio_to_copy": round(least[arm] / least["copy"], 2),
                }  # fmt: skip
                if arm == "dense":
                    if (name, vectors) in AIHWKIT_MS:
                        row["most_ms"] = MOST_MS[vectors]
                    theirs = found.get(f"{name}, {vectors}, managed")
                    quoted = AIHWKIT_MS.get((name, vectors))
                    row |= aihwkit.beside(least[arm], theirs, quoted, "ms")
                    if theirs is not None:
                        same = found[f"{name}, {vectors}, fixed"]
                        row["aihwkit_same_trains_ms"] = round(same, 3)
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
