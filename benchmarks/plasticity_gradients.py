"""Gradients through 100 plastic steps: memory and time of the adjoint against plain autograd.

    python benchmarks/plasticity_gradients.py     JSON lines

200 pre and 200 post cells that spike in 5 % of 100 steps of 1 ms, one sample or eight, float64.
Three cases:

    soft     pair STDP with soft bounds of learned powers
    third    the same behind an eligibility of 50 ms and a third factor of each cell
    closed   LIF cells that spike by the weights their spikes change; here ``replayed`` is compared,
             which keeps states between spans of 10 steps

``peak_mb`` is the largest sum of torch tensors alive at once on the way forward and back, inputs
not counted, ``kept_mb`` what is kept between both ways; ratios are plain autograd's against ours.
``furthest`` is the largest difference of a gradient to plain autograd's, relative to its largest
entry, and ``differences`` to central finite differences along one direction. ``time_ratio`` is of
processor time, in turns in one process.
"""

import json
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clnf.core.rng import torch_rng
from clnf.spiking import LIF, Triangle, spike_step
from clnf.spiking.plasticity import (
    PairSTDP,
    SoftBounds,
    ThreeFactor,
    plastic_over_time,
    plastic_start,
    plastic_step,
    replayed,
)
from clnf.spiking.steps import start

STEPS, CELLS, SHARE, DT_S, ROUNDS = 100, 200, 0.05, 1e-3, 5
Work = Callable[[], Tensor]


class Alive(TorchDispatchMode):
    """The largest sum of bytes of all tensors made within it that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor):
                self.note(one.untyped_storage())
        return out

    def note(self, storage: Any) -> None:
        key = storage._cdata
        if key in self.sizes:
            return
        self.sizes[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.gone, key)

    def gone(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


class Case:
    """What is learned, and the loss as plain autograd and as we take it."""

    def __init__(self, samples: int, *, third: bool, closed: bool = False) -> None:
        rng, kind = torch_rng(0, "plasticity gradients", samples), torch.float64
        shape = (STEPS, samples, CELLS)
        drawn = [(torch.rand(shape, generator=rng) < SHARE).to(kind) for _ in range(2)]
        self.s, self.z = drawn
        self.weight = torch.rand(CELLS, CELLS, generator=rng, dtype=kind).requires_grad_()
        self.goal = torch.randn(CELLS, CELLS, generator=rng, dtype=kind)
        values = (0.02, 0.022, 0.02, 0.03, 0.7, 0.4, 0.05)
        self.p = [torch.tensor(v, dtype=kind, requires_grad=True) for v in values]
        m = 20 * torch.randn(shape, generator=rng, dtype=kind) if third else None
        self.m, self.closed = None if m is None else m.requires_grad_(), closed

    def asked(self) -> list[Tensor]:
        found = [*self.p[: 6 if self.m is None else 7], self.weight]
        return found if self.m is None else [*found, self.m]

    def law(self) -> Any:
        p = self.p
        bounds = SoftBounds(least=-1.0, most=2.0, up_power=p[4], down_power=p[5])
        pair = PairSTDP(up=p[0], down=p[1], pre_tau_s=p[2], post_tau_s=p[3], bounds=bounds)
        rule = pair if self.m is None else ThreeFactor(rule=pair, eligibility_tau_s=p[6])
        return rule.law(DT_S)

    def plain(self) -> Tensor:
        if self.closed:
            return self.lived(span=STEPS)
        return self.loss(plastic_over_time(*self.given(), kernels=False).weight)

    def ours(self) -> Tensor:
        return (
            self.lived(None) if self.closed else self.loss(plastic_over_time(*self.given()).weight)
        )

    def given(self) -> tuple[Any, ...]:
        k = self.law()
        first = plastic_start(self.s[0], self.z[0], self.weight, k)
        return self.s, self.z, first, k, self.m

    def loss(self, weight: Tensor) -> Tensor:
        return (weight * self.goal).sum() + weight.square().sum()

    def lived(self, span: int | None) -> Tensor:
        """Cells that spike by their weights; of one span, nothing is forgotten."""
        k, cell = self.law(), LIF(tau_s=10e-3, threshold_v=8.0).coefficients(DT_S)

        def step(state: Any, s: Tensor) -> Any:
            z, cells = spike_step(s @ state[1].weight.t(), state[0], cell, Triangle())
            return (cells, plastic_step(s, z, state[1], k)), z

        begun = start(torch.zeros_like(self.z[0]), cell), self.given()[2]
        if span is not None:
            state = begun
            for s in self.s:
                state, _ = step(state, s)
        else:
            state, _ = replayed(step, begun, (self.s,))
        return self.loss(state[1].weight)


def gradients(case: Case, work: Work) -> list[Tensor]:
    return list(torch.autograd.grad(work(), case.asked()))


def megabytes(case: Case, work: Work) -> tuple[float, float]:
    """Peak of both ways, and what is kept between them."""
    with Alive() as watch:
        loss = work()
        kept = watch.now
        torch.autograd.grad(loss, case.asked())
    return watch.peak / 1e6, kept / 1e6


def seconds(case: Case, work: Work) -> float:
    begun = time.process_time()
    gradients(case, work)
    return time.process_time() - begun


def furthest(a: list[Tensor], b: list[Tensor]) -> float:
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=True))


def differences(case: Case) -> float:
    """The furthest of our slopes from central differences, one direction for each thing learned."""
    worst = 0.0
    for value, grad in zip(case.asked(), gradients(case, case.ours), strict=True):
        way = value.detach().clone()
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                value += sign * 1e-6 * way
                ends.append(float(case.plain()))
                value -= sign * 1e-6 * way
        slope = (ends[0] - ends[1]) / 2e-6
        worst = max(worst, abs(float((grad * way).sum()) / slope - 1))
    return worst


def measured(name: str, case: Case) -> dict[str, Any]:
    """One line."""
    ours, plain = (gradients(case, work) for work in (case.ours, case.plain))
    mine, theirs = megabytes(case, case.ours), megabytes(case, case.plain)
    turns = [(seconds(case, case.plain), seconds(case, case.ours)) for _ in range(ROUNDS)]
    line = {
        "case": name, "samples": case.s.shape[1], "steps": STEPS, "synapses": CELLS**2,
        "peak_mb": round(mine[0], 2), "plain_peak_mb": round(theirs[0], 2),
        "peak_ratio": round(theirs[0] / mine[0], 1), "kept_ratio": round(theirs[1] / mine[1], 1),
        "kept_mb": round(mine[1], 2), "plain_kept_mb": round(theirs[1], 2),
        "time_ratio": round(statistics.median(a / b for a, b in turns), 2),
        "furthest": furthest(ours, plain),
    }  # fmt: skip
    # Spikes have no differences: their slopes are surrogates.
    return line if case.closed else line | {"differences": differences(case)}


def lines() -> Iterator[dict[str, Any]]:
    for samples in (1, 8):
        yield measured("soft", Case(samples, third=False))
        yield measured("third", Case(samples, third=True))
    yield measured("closed", Case(1, third=False, closed=True))


def main() -> None:
    """Print JSON lines."""
    torch.set_num_threads(1)
    for one in lines():
        print(json.dumps({"benchmark": "plasticity_gradients", **one}), flush=True)


if __name__ == "__main__":
    main()
