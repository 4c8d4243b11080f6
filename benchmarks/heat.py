"""Heat of a layered stack against SciPy's sparse direct solver, on one thread, in one run.

steady    64 x 64 x 8 and others: power in every cell, temperature of every cell ("field"), and
          two heated layers, one asked for ("planes"). The ratio is the time of a sparse solve
          that is already factorised over ours; ``ratio_with_factors`` has both factorisations in.
time      a step in time: ours against a factorised sparse step of the same backward Euler
closed    distance to closed forms (uniform power, one cosine mode) and to the sparse solve, and
          heat in against heat out
course    64 x 64 x 8 in time: distance of exact steps to SciPy's exponential of the sparse matrix
          and, after long steps, to the steady state; and of Euler's, what came in less what left
          and is stored, over what came in
limit     one solve taken apart: transform, sweep, transform back, and the machine's own speed of
          a product of matrices of that size

The sparse solver works in its mode for symmetric matrices, the faster of its orderings here.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import diags_array
from scipy.sparse.linalg import expm_multiply, splu

from clnf.chip.heat import Layer, Stack, Steady, Transient, hotspot_stack, tile_stack
from clnf.chip.heat.reference import conduction, storage
from clnf.chip.heat.stack import SILICON

Array = NDArray[np.float64]
SIDES, ROUNDS, DEMANDED = ((64, 64), (64, 48), (128, 128)), 15, 40.0


def say(**values: Any) -> None:
    """One line of results."""
    print(json.dumps({"benchmark": "heat", **values}), flush=True)


def fastest(arms: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Shortest processor time of each arm; rounds alternate, short arms have many turns."""
    times = dict.fromkeys(arms, float("inf"))
    for _ in range(ROUNDS):
        for name, arm in arms.items():
            for _ in range(40 if times[name] < 2e-3 else 3):
                start = time.process_time()
                arm()
                times[name] = min(times[name], time.process_time() - start)
    return times


def once(work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work gives, and its processor time."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def sparse(stack: Stack, extra: Array | None = None) -> Any:
    """The factorised sparse matrix."""
    matrix = conduction(stack)
    if extra is not None:
        matrix = (matrix + diags_array(extra)).tocsc()
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})


def steady(rows: int, columns: int) -> None:
    """Times and ratios of one size."""
    stack = tile_stack(5e-3, 5e-3, cells=(rows, columns))
    watts = np.random.default_rng(0).random(stack.shape) * 1e-5
    lu, factoring = once(lambda: sparse(stack))
    Steady(stack)
    solver, ours = once(lambda: Steady(stack))
    few, heated = Steady(stack, sources=(4, 6), outputs=(6,)), watts[[4, 6]].copy()
    few.planes(heated)
    times = fastest({
        "splu": lambda: lu.solve(watts.ravel()),
        "field": lambda: solver.field(watts),
        "planes": lambda: few.planes(heated),
    })  # fmt: skip
    field, direct = solver.field(watts), lu.solve(watts.ravel()).reshape(stack.shape)
    for arm in ("field", "planes"):
        ratio = times["splu"] / times[arm]
        say(
            arm=arm, cells=[stack.shape[0], rows, columns], cpu_ms=round(times[arm] * 1e3, 3),
            splu_ms=round(times["splu"] * 1e3, 2), ratio_splu_to_clnf=round(ratio, 1),
            ratio_with_factors=round((factoring + times["splu"]) / (ours + times[arm])),
            demanded=DEMANDED, met=bool(ratio >= DEMANDED),
            off_splu=float(f"{abs(field - direct).max() / direct.max():.1e}"),
        )  # fmt: skip


def steps() -> None:
    """A step in time, both ways, against the sparse backward Euler."""
    stack, step_s = tile_stack(5e-3, 5e-3), 1e-4
    watts = np.random.default_rng(0).random(stack.shape) * 1e-5
    rate = storage(stack) / step_s
    lu, now = sparse(stack, rate), np.zeros(rate.size)
    euler, exact = Transient(stack, step_s, how="euler"), Transient(stack, step_s)
    times = fastest({
        "splu": lambda: lu.solve(watts.ravel() + rate * now),
        "euler": lambda: euler.advance(watts, 1),
        "exact": lambda: exact.advance(watts, 1),
        "euler, power as it was, 100 steps": lambda: euler.advance(watts, 100),
    })  # fmt: skip
    times["euler, power as it was, 100 steps"] /= 100
    for arm, seconds in times.items():
        say(
            arm=f"step {arm}", cells=list(stack.shape), cpu_ms=round(seconds * 1e3, 3),
            ratio_splu_to_clnf=round(times["splu"] / seconds, 1),
        )  # fmt: skip


def closed() -> None:
    """Uniform power against a row of resistances, heat in against heat out."""
    stack = hotspot_stack()
    watts = np.zeros(stack.shape)
    watts[-1] = 40.0 / watts[-1].size
    solver = Steady(stack)
    rise = solver.field(watts)
    flow = sum(part.thickness_m / part.solid.conductivity_w_mk for part in stack.layers)
    series = 40.0 * ((flow - 37.5e-6 / 130) / stack.area_m2 + 0.1)
    say(
        arm="uniform 40 W", kelvins=float(rise[-1].mean()),
        off_closed_form=float(f"{abs(rise[-1] / series - 1).max():.1e}"),
        heat_out_over_in_less_1=float(f"{solver.carried_w(rise) / watts.sum() - 1:.1e}"),
    )  # fmt: skip


def cosine() -> None:
    """One cosine over a slab with a bottom of h: T(0) = F / (k b) (...), at its top."""
    thick, length, h, mode = 1e-3, 4e-3, 2e4, 3
    rows = []
    for cells in (40, 160):
        layer = Layer(name="slab", solid=SILICON, thickness_m=thick, cells=cells)
        stack = Stack(
            layers=(layer,), width_m=length, depth_m=length, columns=256, rows=1,
            bottom_w_m2k=h, ambient_k=300.0,
        )  # fmt: skip
        x = (np.arange(256) + 0.5) / 256
        wave = np.cos(mode * np.pi * x)
        watts = np.zeros(stack.shape)
        watts[-1, 0] = 1e5 * wave * length * length / 256
        top = Steady(stack).field(watts)[-1, 0]
        k, b = 130.0, mode * np.pi / length
        c, s = np.cosh(b * thick), np.sinh(b * thick)
        told = 1e5 / (k * b) * (k * b * c + h * s) / (k * b * s + h * c)
        told -= 1e5 * thick / cells / 2 / k  # the middle of the uppermost cell, not its face
        rows.append(float(f"{abs(top / (told * wave) - 1).max():.1e}"))
    say(arm="one cosine", cells_up=[40, 160], off_closed_form=rows)


def course() -> None:
    """Steps in time against an independent exponential, the steady state, and the heat kept."""
    stack, step_s = tile_stack(5e-3, 5e-3), 1e-4
    watts = np.random.default_rng(0).random(stack.shape) * 1e-5
    run = Transient(stack, step_s)
    run.advance(watts, 20)
    root = np.sqrt(storage(stack))
    end = sparse(stack).solve(watts.ravel())
    scaled = diags_array(1 / root) @ conduction(stack) @ diags_array(1 / root)
    told = end - expm_multiply(-scaled * (20 * step_s), root * end) / root
    off = abs(run.field().ravel() - told).max() / told.max()
    long = Transient(stack, 1e5).step(watts)
    rest = abs(long.ravel() - end).max() / end.max()
    euler, left = Transient(stack, step_s, how="euler"), 0.0
    for _ in range(100):
        euler.step(watts)
        left += euler.leaving_w * step_s
    given = watts.sum() * 100 * step_s
    say(
        arm="in time", cells=list(stack.shape), steps=20, off_exponential=float(f"{off:.1e}"),
        off_steady_after_long=float(f"{rest:.1e}"),
        heat_unaccounted=float(f"{(given - left - euler.stored_j) / given:.1e}"),
    )  # fmt: skip


def limit() -> None:
    """Where the time of one solve goes, and what a product of matrices takes by itself."""
    stack = tile_stack(5e-3, 5e-3)
    watts, solver = np.random.default_rng(0).random(stack.shape) * 1e-5, Steady(stack)
    amplitudes = solver.modes.into(watts)
    flat = amplitudes[None].copy()
    tall, square = np.random.default_rng(1).random((512, 64)), np.eye(64) + 0.01
    times = fastest({
        "into": lambda: solver.modes.into(watts),
        "sweep": lambda: solver.ladder.solve(flat),
        "back": lambda: solver.modes.back(amplitudes),
        "field": lambda: solver.field(watts),
        "product": lambda: tall @ square,
    })  # fmt: skip
    say(
        arm="parts of a field", cells=list(stack.shape),
        **{f"{name}_ms": round(seconds * 1e3, 3) for name, seconds in times.items()},
        share_of_two_bare_products=round(2 * times["product"] / times["field"], 2),
    )  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    for rows, columns in SIDES:
        steady(rows, columns)
    steps()
    closed()
    cosine()
    course()
    limit()


if __name__ == "__main__":
    main()
