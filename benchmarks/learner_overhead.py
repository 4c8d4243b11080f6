"""What the learner costs per step, against bare PyTorch loops doing the same arithmetic.

MLP 784-256-10, batch 32, SGD, one thread, data in memory. Arms run interleaved in short blocks;
each ratio is the median over rounds of (block of the arm / block of its reference next to it),
so that slow drifts of the machine cancel. Process time, not wall clock.

    naive             Learner without guards          / bare loop, x[index]
    naive, lean loop  the same                        / bare loop, index_select (a faster gather)
    naive, stream     Learner on streams.ArraySource  / bare loop, x[index]
    clipped           Learner with gradient clipping  / bare loop with clip_grad_norm_
    rehearsal         32 remembered samples, bytes    / bare loop, one forward, memory of bytes
    rehearsal, float  the same                        / the same with a memory of floats
    ewc               proximal, after one lesson      / bare loop, plain foreach EWC gradient
    ewc, naive loop   the same                        / bare naive loop
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import EWC, EWCParams, Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience, Source
from clnf.streams.sources import ArraySource

SAMPLES, BATCH, MEMORY = 4000, 32, 500
STEPS, ROUNDS, WARM_UP = 25, 60, 3
Arm = Callable[[], object]


class InMemory:
    """Tensors taken by index: the least a source can do."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.weight = torch.ones(len(x))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index``."""
        x, y = self.x.index_select(0, index), self.y.index_select(0, index)
        return Batch(x=x, cond=y, weight=self.weight.narrow(0, 0, len(index)))


def network() -> nn.Sequential:
    """The MLP, alike in every arm."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def learner_arm(
    data: Source,
    guards: Callable[[Classifier], list[Guard]] | None = None,
    clip: float | None = None,
) -> Arm:
    """A learner whose guards have one lesson behind them."""
    model = Classifier(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    chosen = guards(model) if guards else []
    learner = Learner(model, optimizer, guards=chosen, seed=0, clip_norm=clip)
    learner.consolidate(Experience(name="first", concept="digits", data=data))
    second = Experience(name="second", concept="digits", data=data)
    lesson = iter(learner.lesson(second, steps=10**9, batch_size=BATCH))
    return lambda: next(lesson)


@dataclass(frozen=True, kw_only=True)
class Bare:
    """What a bare loop does besides learning."""

    memory: str = ""
    held: bool = False
    clip: bool = False
    select: bool = False


def bare_arm(data: InMemory, how: Bare) -> Arm:
    """The plain loop a careful person writes."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    weights = list(net.parameters())
    anchor = [w.detach().clone() for w in weights]
    importance = [torch.rand_like(w) * 1e-3 for w in weights]
    factor = torch.cat([torch.ones(BATCH), torch.full((BATCH,), 0.3)])
    kept = data.x[:MEMORY].clone()
    if how.memory == "bytes":
        kept = ((kept + 1) * 127.5).round().to(torch.uint8)

    def loss_of(index: Tensor) -> Tensor:
        if how.select:
            x, y = data.x.index_select(0, index), data.y.index_select(0, index)
        else:
            x, y = data.x[index], data.y[index]
        if not how.memory:
            return functional.cross_entropy(net(x), y)
        old = torch.randint(MEMORY, (BATCH,))
        again = kept[old] / 127.5 - 1 if how.memory == "bytes" else kept[old]
        x, y = torch.cat([x, again]), torch.cat([y, data.y[old]])
        losses = functional.cross_entropy(net(x), y, reduction="none")
        return (losses * factor).sum() / factor.sum()

    def loop() -> Iterator[None]:
        while True:
            for index in torch.randperm(len(data)).split(BATCH):
                loss = loss_of(index)
                optimizer.zero_grad()
                loss.backward()
                if how.held:
                    with torch.no_grad():
                        pull = torch._foreach_sub(weights, anchor)
                        torch._foreach_mul_(pull, importance)
                        torch._foreach_add_([w.grad for w in weights], pull, alpha=100.0)
                if how.clip:
                    nn.utils.clip_grad_norm_(weights, 5.0)
                optimizer.step()
                yield

    steps = loop()
    return lambda: next(steps)


def block(arm: Arm) -> float:
    """Process seconds per step."""
    start = time.process_time()
    for _ in range(STEPS):
        arm()
    return (time.process_time() - start) / STEPS


def ratio(arm: Arm, reference: Arm) -> tuple[float, float, float]:
    """Median ratio over rounds, and the medians of both."""
    pairs = []
    for number in range(WARM_UP + ROUNDS):
        if number % 2:
            mine, other = block(arm), block(reference)
        else:
            other, mine = block(reference), block(arm)
        pairs.append((mine, other))
    pairs = pairs[WARM_UP:]
    ratios = statistics.median(a / b for a, b in pairs)
    return ratios, *(statistics.median(side) for side in zip(*pairs, strict=True))


def ewc(model: Classifier) -> list[Guard]:
    """Proximal EWC on every weight."""
    fisher = Fisher(model, params=FisherParams(samples=64), seed=0)
    return [EWC(fisher, EWCParams(strength=100.0))]


def rehearsal(_model: Classifier) -> list[Guard]:
    """A reservoir of bytes, filled at the end of the lesson."""
    return [Rehearsal(Reservoir(MEMORY, seed=0), RehearsalParams(samples=BATCH))]


def main() -> None:
    """Print one JSON line per case."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (SAMPLES, 784), generator=generator)
    data = InMemory(pixels / 127.5 - 1, torch.randint(10, (SAMPLES,), generator=generator))
    cases: dict[str, tuple[Arm, Arm]] = {
        "naive": (learner_arm(data), bare_arm(data, Bare())),
        "naive, lean loop": (learner_arm(data), bare_arm(data, Bare(select=True))),
        "naive, stream": (learner_arm(ArraySource(data.x, data.y)), bare_arm(data, Bare())),
        "clipped": (learner_arm(data, clip=5.0), bare_arm(data, Bare(clip=True))),
        "rehearsal": (learner_arm(data, rehearsal), bare_arm(data, Bare(memory="bytes"))),
        "rehearsal, float": (learner_arm(data, rehearsal), bare_arm(data, Bare(memory="floats"))),
        "ewc": (learner_arm(data, ewc), bare_arm(data, Bare(held=True))),
        "ewc, naive loop": (learner_arm(data, ewc), bare_arm(data, Bare())),
    }
    for name, (arm, reference) in cases.items():
        value, mine, other = ratio(arm, reference)
        row = {
            "benchmark": "learner_overhead",
            "case": name,
            "ratio": round(value, 3),
            "learner_us": round(mine * 1e6, 1),
            "reference_us": round(other * 1e6, 1),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
