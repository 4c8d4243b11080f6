"""Spiking layers forward and backward: against a plain loop, torch.compile and other tools.

    python benchmarks/spiking_speed.py             JSON lines
    python benchmarks/spiking_speed.py part STEPS  JSON lines of one number of steps
    python benchmarks/spiking_speed.py curve       JSON lines of cost against spike rate
    python benchmarks/spiking_speed.py table FILE  JSON lines of a file as tables
    python benchmarks/spiking_speed.py picture FILE PNG     the curve of a file as a picture

64 samples, 512 inputs of which 5 % spike at a step, 512 LIF cells (decay 0.9, threshold 1 V, the
threshold subtracted in the same step), 100 and 500 steps, one thread. Four cases:

    layer      weights and cells; gradients of weights and inputs
    first      weights and cells; gradients of weights
    recurrent  the layer with recurrent weights; gradients of all three
    cells      cells alone; gradients of inputs

``ratio`` is an arm's processor time against ours, the median over rounds in which each arm runs
once, one after the other; ``low`` and ``high`` are its quartiles. The plain loop takes its input
product over all steps at once, as all peers do, and has our surrogate, a triangle half a volt wide;
peers have their own. ``unequal`` counts spikes other than ours.

Weights are multiples of 2^-12. Sums of them are exact in any order, so that not one spike may
differ; ``free`` is the same layer with weights as they were drawn, where a sum that is rounded
otherwise may move a spike. ``kept`` are the numbers of float tensors that are kept for the way
back, in tensors [steps, samples, cells].

The plain loop takes its inputs apart once (``for now in x``). ``indexed loop`` is the same one with
``x[t]`` in it, as many write it: its way back fills a tensor of all steps at each step, so that its
cost goes with the square of the steps. It is run at 100 steps and is nobody's target.

``copies`` is no cell at all: it reads three tensors and writes three, as cells do that keep one for
the way back. ``least`` reads inputs and gradients and writes as many numbers, past the cache, and
keeps nothing: no cells with float32 on both sides can be faster than memory lets this be.

Peers are measured where they are installed (see ``peers/spiking.py``); run the script in an
environment of theirs with ``PYTHONPATH=src``.
"""

import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from peers.spiking import BETA, DT_S, found
from torch import Tensor

from clnf.devices.sixteen import address, every, load
from clnf.spiking.cells import LIF
from clnf.spiking.coefficients import Coefficients
from clnf.spiking.events import maps
from clnf.spiking.events.maps import Linear
from clnf.spiking.lanes import stream
from clnf.spiking.memory import room
from clnf.spiking.over_time import Weights, weighted
from clnf.spiking.surrogates import Triangle

SAMPLES, SIZE, SHARE, ROUNDS = 64, 512, 0.05, 5
STEPS = (100, 500)
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
SURROGATE = Triangle(width_v=0.5)
# Their way back takes a whole tensor of all steps at each step: minutes at 500 steps.
SLOW = ("Sinabs", "Rockpool")
SPAN = 10  # steps of the loop that torch.compile unrolls
TARGETS = {"layer": 4.0, "first": 8.0, "recurrent": 2.5, "cells": 20.0}
Run = Callable[[Tensor, dict[str, Tensor]], Tensor]


class Spike(torch.autograd.Function):
    """The plain loop's own spike, with our surrogate."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u > 0).float()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return g * (1 - 2 * u.abs()).clamp_min(0)


def decay() -> float:
    return float(cells().decay)


def cells() -> Coefficients:
    """The cells of all arms."""
    return LIF(tau_s=-DT_S / math.log(BETA)).coefficients(DT_S)


def span_of_steps(x: Tensor, v: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Some steps of cells alone, as anyone would write them."""
    out = []
    for now in x:
        v = beta * v + now
        z = Spike.apply(v - 1.0)
        v = v - z.detach()
        out.append(z)
    return torch.stack(out), v


def plain_cells(x: Tensor) -> Tensor:
    return span_of_steps(x, torch.zeros_like(x[0]), decay())[0]


def indexed_cells(x: Tensor) -> Tensor:
    """The plain loop, with its inputs taken by number."""
    v, beta, out = torch.zeros_like(x[0]), decay(), []
    for t in range(len(x)):
        v = beta * v + x[t]
        z = Spike.apply(v - 1.0)
        v = v - z.detach()
        out.append(z)
    return torch.stack(out)


def compiled_cells() -> Callable[[Tensor], Tensor]:
    """The same through torch.compile, some steps at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = torch.compile(span_of_steps)

    def run(x: Tensor) -> Tensor:
        v, out, beta = torch.zeros_like(x[0]), [], decay()
        for part in x.split(SPAN):
            z, v = step(part, v, beta)
            out.append(z)
        return torch.cat(out)

    return run


def plain_recurrent(x: Tensor, weight: Tensor) -> Tensor:
    beta, v, out = decay(), torch.zeros_like(x[0]), []
    z = torch.zeros_like(v)
    for now in x:
        v = beta * v + (now + z @ weight.t())
        z = Spike.apply(v - 1.0)
        v = v - z.detach()
        out.append(z)
    return torch.stack(out)


def ours(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    by = Linear() if "weight" in w else None
    weights = Weights(by, w.get("weight"), None, w.get("recurrent"))
    return weighted(x, weights, cells(), SURROGATE)[0]


def behind_product(run: Callable[[Tensor], Tensor]) -> Run:
    """Cells alone behind an input product over all steps."""

    def both(x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return run(torch.nn.functional.linear(x, w["weight"]) if "weight" in w else x)

    return both


def plain(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    if "recurrent" in w:
        return plain_recurrent(torch.nn.functional.linear(x, w["weight"]), w["recurrent"])
    return behind_product(plain_cells)(x, w)


def drawn(steps: int, case: str, *, share: float = SHARE, grid: bool = True) -> dict[str, Tensor]:
    """Inputs, weights and gradients of spikes of a case."""
    rng = torch.Generator().manual_seed(steps)
    spikes = (torch.rand(steps, SAMPLES, SIZE, generator=rng) < share).float()
    # Potentials of one spread whatever the share of spikes is: about one cell in sixteen spikes.
    weight = torch.randn(SIZE, SIZE, generator=rng) * 0.1 * (0.05 / share) ** 0.5
    ring = torch.randn(SIZE, SIZE, generator=rng) * 0.05
    if grid:
        weight, ring = ((one * 2**12).round() / 2**12 for one in (weight, ring))
    given = {"x": spikes, "g": torch.randn(steps, SAMPLES, SIZE, generator=rng)}
    if case == "cells":
        given["x"] = spikes @ weight.t()
    else:
        given["weight"] = weight
    if case == "recurrent":
        given["recurrent"] = ring
    return given


class Arm:
    """One way of doing a case: run once for a time, or look at what it gives."""

    def __init__(self, run: Run, given: dict[str, Tensor], *, inputs: bool) -> None:
        self.run, self.g = run, given["g"]
        self.x = given["x"].clone().requires_grad_(inputs)
        names = ("weight", "recurrent")
        self.w = {n: given[n].clone().requires_grad_() for n in names if n in given}

    def once(self) -> Tensor:
        for one in (self.x, *self.w.values()):
            one.grad = None
        z = self.run(self.x, self.w)
        z.backward(self.g)
        return z.detach()

    def seconds(self) -> float:
        start = time.process_time()
        self.once()
        return time.process_time() - start

    def grads(self) -> list[Tensor]:
        return [one.grad for one in (self.x, *self.w.values()) if one.grad is not None]


def kept(arm: Arm) -> float:
    """Numbers of float tensors kept for the way back, in tensors of all steps."""
    sizes: list[int] = []

    def note(one: Tensor) -> Tensor:
        sizes.append(one.numel() * one.is_floating_point())
        return one

    with torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        arm.run(arm.x, arm.w)
    own = sum(one.numel() for one in arm.w.values())
    return round((sum(sizes) - own * (sum(sizes) > own)) / arm.g.numel(), 2)


def paired(arms: dict[str, Arm], rounds: int) -> dict[str, list[float]]:
    """Times of all arms, each once a round, in an order that turns."""
    for arm in arms.values():
        arm.once()
    names, times = list(arms), {name: [] for name in arms}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(arms[name].seconds())
    return times


def compared(steps: int, case: str, arms: dict[str, Run]) -> Iterator[dict[str, Any]]:
    """All arms of a case against ours."""
    given, inputs = drawn(steps, case), case != "first"
    made = {name: Arm(run, given, inputs=inputs) for name, run in {"ours": ours, **arms}.items()}
    times = paired(made, ROUNDS)
    spikes, grads = made["ours"].once(), made["ours"].grads()
    line: dict[str, Any] = {"case": case, "steps": steps}
    yield line | {
        "arm": "ours", "spikes": round(float(spikes.mean()), 3), "kept": kept(made["ours"]),
        "ms": round(1e3 * statistics.median(times["ours"]), 1),
    }  # fmt: skip
    for name in arms:
        ratios = [a / b for a, b in zip(times[name], times["ours"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        one = line | {"arm": name, "ratio": round(middle, 2)}
        one |= {"low": round(low, 2), "high": round(high, 2)}
        one["unequal"] = int((made[name].once() != spikes).sum())
        if name == "plain loop":
            pairs = zip(grads, made[name].grads(), strict=True)
            one["gradient"] = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
            one |= {"kept": kept(made[name]), "target": TARGETS[case]}
        yield one


def free(steps: int) -> dict[str, Any]:
    """Spikes that differ with weights as they were drawn."""
    out: dict[str, Any] = {"case": "free", "steps": steps}
    for case in ("layer", "recurrent"):
        given = drawn(steps, case, grid=False)
        a, b = (Arm(run, given, inputs=True).once() for run in (ours, plain))
        out[case] = int((a != b).sum())
    return out | {"of": a.numel()}


def copies(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """No cells at all: three tensors read and three written, as cells must, both ways together."""

    class Copy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x.clone())
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return g.clone()

    return Copy.apply(x)


@njit
def halved(x: Any, out: Any) -> None:
    """Half of each number; nothing else could read and write them sooner."""
    half, given, to = every(np.float32(0.5)), address(x), address(out)
    for n in range(np.uintp(0), np.uintp(x.size), np.uintp(16)):
        stream(to, n, load(given, n) * half)
    x.size, out.size  # noqa: B018


def least(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """No cells at all: one tensor read and one written, each way."""

    def copied(one: Tensor) -> Tensor:
        out = room(one.shape)
        halved(one.detach().view(-1).numpy(), out.view(-1).numpy())
        return out

    class Least(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return copied(x)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            return copied(g)

    return Least.apply(x)


def everything(steps: int) -> Iterator[dict[str, Any]]:
    """All cases of a number of steps."""
    peers, away = found()
    for name, why in away.items():
        yield {"peer": name, "steps": steps, "not_here": why}
    alone: dict[str, Callable[[Tensor], Tensor]] = {
        name: run for name, run in peers.items() if steps == 100 or not name.startswith(SLOW)
    }
    try:
        one = compiled_cells()
        one(torch.zeros(SPAN, 2, 2, requires_grad=True)).sum().backward()
        alone["torch.compile"] = one
    except Exception as error:
        yield {"peer": "torch.compile", "steps": steps, "not_here": type(error).__name__}
    others = {name: behind_product(run) for name, run in alone.items()}
    yield from compared(steps, "layer", {"plain loop": plain, **others})
    few = {name: run for name, run in others.items() if steps == 100 or name == "torch.compile"}
    yield from compared(steps, "first", {"plain loop": plain, **few})
    yield from compared(steps, "recurrent", {"plain loop": plain})
    bare: dict[str, Run] = {"plain loop": plain, "copies": copies, "least": least}
    if steps == 100:
        bare["indexed loop"] = behind_product(indexed_cells)
    yield from compared(steps, "cells", bare | few)
    yield free(steps)


class Whole(Arm):
    """An arm with whole products both ways."""

    def once(self) -> Tensor:
        before, maps.BUSY = maps.BUSY, -1.0
        try:
            return super().once()
        finally:
            maps.BUSY = before


class Sparse(Arm):
    """An arm with events both ways, however many."""

    def once(self) -> Tensor:
        before, maps.BUSY = maps.BUSY, 2.0
        try:
            return super().once()
        finally:
            maps.BUSY = before


def curve(steps: int = 100) -> Iterator[dict[str, Any]]:
    """Cost against the share of inputs that spike: events, whole products, the plain loop."""
    for case in ("layer", "first"):
        for share in RATES:
            given, inputs = drawn(steps, case, share=share), case == "layer"
            arms = {
                "events": Sparse(ours, given, inputs=inputs),
                "whole": Whole(ours, given, inputs=inputs),
                "plain loop": Arm(plain, given, inputs=inputs),
            }
            times = paired(arms, ROUNDS)
            middle = {name: statistics.median(found) for name, found in times.items()}
            line: dict[str, Any] = {"curve": case, "steps": steps, "share": share}
            line |= {f"{n} ms": round(1e3 * value, 1) for n, value in middle.items()}
            for name in ("events", "whole"):
                ratios = (a / b for a, b in zip(times["plain loop"], times[name], strict=True))
                line[name] = round(statistics.median(ratios), 2)
            yield line


def show(lines: Iterator[dict[str, Any]]) -> None:
    for one in lines:
        print(json.dumps({"benchmark": "spiking_speed", **one}), flush=True)


def lines_in(path: str) -> list[dict[str, Any]]:
    texts = Path(path).read_text(encoding="utf-8").splitlines()
    return [json.loads(text) for text in texts if text.startswith("{")]


def table(path: str) -> Iterator[str]:
    """JSON lines as tables."""
    lines = lines_in(path)
    yield f"{'case':10}{'steps':>6}  {'arm':24}{'ratio':>7}{'low':>7}{'high':>7}{'unequal':>9}"
    for one in (o for o in lines if "ratio" in o):
        yield (
            f"{one['case']:10}{one['steps']:6}  {one['arm']:24}{one['ratio']:7.2f}{one['low']:7.2f}"
            f"{one['high']:7.2f}{one['unequal']:9}"
        )
    yield f"\n{'curve':10}{'share':>6}{'events':>8}{'whole':>8}   times the plain loop's speed"
    for one in (o for o in lines if "curve" in o):
        yield f"{one['curve']:10}{one['share']:6.0%}{one['events']:8.2f}{one['whole']:8.2f}"


def picture(path: str, out: str) -> None:
    """Speed against the plain loop over the share of inputs that spike."""
    from matplotlib.figure import Figure

    lines = [one for one in lines_in(path) if "curve" in one]
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    words = {"layer": "layer, gradients of inputs too", "first": "first layer"}
    for axes, (case, title) in zip(panels, words.items(), strict=True):
        own = [one for one in lines if one["curve"] == case]
        shares = [100 * one["share"] for one in own]
        for name, colour in (("events", "#0072b2"), ("whole", "#d55e00")):
            label = "by events" if name == "events" else "whole products"
            axes.plot(shares, [one[name] for one in own], "o-", color=colour, label=label)
        axes.axhline(1, color="#999999", linewidth=0.8)
        axes.set(title=title, xlabel="inputs that spike at a step, %", xscale="log")
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("times the plain loop's speed")
    panels[0].set_ylim(bottom=0)  # of both, when both are drawn
    panels[0].legend()
    figure.savefig(out, metadata={"Software": None})


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    match sys.argv[1:]:
        case ["part", steps]:
            show(everything(int(steps)))
        case ["curve"]:
            show(curve())
        case ["table", path]:
            print("\n".join(table(path)))
        case ["picture", path, out]:
            picture(path, out)
        case _:
            for steps in STEPS:
                show(everything(steps))
            show(curve())


if __name__ == "__main__":
    main()
