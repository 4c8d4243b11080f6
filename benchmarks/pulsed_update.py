"""Pulsed outer-product update of a 512 x 512 tile: dense trains against one draw per event.

The reference is the same physics event by event: every coincidence is its own pulse with its
own draw, compiled like the kernel. Arms alternate in one run, on one thread, in processor time.
"""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from clnf.devices.soft_bounds import SoftBounds, fresh_cells, hash_key
from numba import njit
from numpy.typing import NDArray

from clnf.devices import trains
from clnf.devices.kernels import (
    Cells,
    PulseJob,
    cell_traits,
    gauss8,
    pulse_cell,
    pulse_cells,
    word,
)
from clnf.devices.trains import Trains

SIDE, LENGTH, SHARE, ROUNDS = 512, 31, 0.2, 9
LAW = SoftBounds.of("hfo2_array_optimised")


@njit(nogil=True)
def event_by_event(
    job: Trains,
    cells: Cells,
    law: NDArray[np.float32],
    traits_key: NDArray[np.uint32],
    key: NDArray[np.uint32],
) -> int:
    """Every coincident bit is one pulse."""
    columns, rows = job.fence.shape
    count = 0
    for c in range(columns):
        for r in range(rows):
            cell = np.uint32(job.first + c * rows + r)
            traits = cell_traits(cell, law, traits_key)
            for v in range(job.row_bits.shape[0]):
                both = np.uint32(job.row_bits[v, r] & job.column_bits[v, c])
                n = 1 if job.row_sign[v, r] * job.column_sign[v, c] < 0 else -1
                while both:
                    both = np.uint32(both & np.uint32(both - np.uint32(1)))
                    count += 1
                    shift = np.uint32(word(np.uint32(count), key[4], key[5]))
                    draw = gauss8(cell, np.uint32(key[0] ^ shift), key[1])
                    at = c * rows + r
                    cells.hidden[at] = pulse_cell(cells.hidden[at], n, traits, law[8], draw)
                    cells.wear[at] += 1
    return count


def job_for(vectors: int) -> Trains:
    """Random signs and bits with ``SHARE`` coincidences per cell and vector."""
    rng = np.random.default_rng(vectors)
    probability = np.full((vectors, SIDE), (SHARE / LENGTH) ** 0.5, dtype=np.float32)
    bits = []
    for name in ("x", "d"):
        words = np.zeros((vectors, SIDE), dtype=np.uint32)
        trains.encode(probability, LENGTH, hash_key(vectors, name), words)
        bits.append(words)
    signs = [rng.choice(np.array([-1, 1], dtype=np.float32), (vectors, SIDE)) for _ in "xd"]
    return Trains(bits[0], signs[0], bits[1], signs[1], np.ones((SIDE, SIDE), np.float32), 0)


def arms_for(vectors: int) -> dict[str, Callable[[], object]]:
    """The two ways to apply one job, and the sparse pulses of the mixed-precision mode."""
    job, law = job_for(vectors), LAW.law().numpy()
    traits, key = hash_key(1, "traits", words=8), hash_key(1, "op", words=6)
    cells = Cells(*(t.numpy() for t in fresh_cells(LAW, SIDE * SIDE, 1)))
    table = np.empty((6, SIDE * SIDE), dtype=np.float32)
    trains.outer_table(law, traits, 0, table)
    sparse = (np.random.default_rng(1).random(SIDE * SIDE) < 0.1).astype(np.int16)
    few = PulseJob(sparse, np.ones(SIDE * SIDE, np.float32), 0)
    return {
        "event": lambda: event_by_event(job, cells, law, traits, key),
        "dense": lambda: trains.pulse_outer(job, cells, law, table, key),
        "mixed_10_percent": lambda: pulse_cells(few, cells, law, traits, key),
    }


def main() -> None:
    for vectors in (1, 64):
        arms = arms_for(vectors)
        times: dict[str, list[float]] = {name: [] for name in arms}
        for arm in arms.values():
            arm()
        for _ in range(ROUNDS):
            for name, arm in arms.items():
                start = time.thread_time()
                arm()
                times[name].append(time.thread_time() - start)
        base = statistics.median(times["event"])
        for name, values in times.items():
            seconds = statistics.median(values)
            print(json.dumps({
                "benchmark": "pulsed_update", "arm": name, "vectors": vectors, "side": SIDE,
                "cpu_ms": round(seconds * 1e3, 3),
                "ns_per_cell_and_vector": round(seconds * 1e9 / SIDE**2 / vectors, 3),
                "ratio_to_event": round(seconds / base, 3),
            }))  # fmt: skip


if __name__ == "__main__":
    main()
