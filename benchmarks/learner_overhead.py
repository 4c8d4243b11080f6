"""What the learner costs per step, against bare PyTorch loops doing the same arithmetic.

MLP 784-256-10, batch 32, SGD, one thread, data in memory. Arms run interleaved in short blocks;
each ratio is the median over rounds of (block of the arm / block of its reference next to it),
so that slow drifts of the machine cancel. Process time, not wall clock.

    naive      Learner without guards          / bare loop
    clipped    Learner with gradient clipping  / bare loop with clip_grad_norm_
    rehearsal  32 remembered samples           / bare loop, one concatenated forward
    ewc        proximal, after one lesson      / bare loop, plain foreach EWC gradient
    ewc/naive  the same EWC arm                / bare naive loop
"""

import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import EWC, EWCParams, Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience

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
        return Batch(
            x=self.x[index], cond=self.y[index], weight=self.weight.narrow(0, 0, len(index))
        )


def network() -> nn.Sequential:
    """The MLP, alike in every arm."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def learner_arm(
    data: InMemory, guards: Callable[[nn.Module], list[Guard]], clip: float | None
) -> Arm:
    """A learner whose guards have one lesson behind them."""
    model = Classifier(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    learner = Learner(model, optimizer, guards=guards(model), seed=0, clip_norm=clip)
    first = Experience(name="first", concept="digits", data=data)
    learner.consolidate(first)
    lesson = learner.lesson(
        Experience(name="second", concept="digits", data=data), steps=10**9, batch_size=BATCH
    )
    return lambda: next(lesson)


def bare_arm(
    data: InMemory, *, remembered: bool = False, held: bool = False, clip: float | None = None
) -> Arm:
    """The plain loop a careful person writes."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    weights = list(net.parameters())
    anchor = [w.detach().clone() for w in weights]
    importance = [torch.rand_like(w) * 1e-3 for w in weights]
    factor = torch.cat([torch.ones(BATCH), torch.full((BATCH,), 0.3)])

    def loop() -> Iterator[None]:
        while True:
            for index in torch.randperm(len(data)).split(BATCH):  # type: ignore[no-untyped-call]
                x, y = data.x[index], data.y[index]
                if remembered:
                    old = torch.randint(MEMORY, (BATCH,))
                    x, y = torch.cat([x, data.x[old]]), torch.cat([y, data.y[old]])
                    losses = functional.cross_entropy(net(x), y, reduction="none")
                    loss = (losses * factor).sum() / factor.sum()
                else:
                    loss = functional.cross_entropy(net(x), y)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if held:
                    with torch.no_grad():
                        pull = torch._foreach_sub(weights, anchor)
                        torch._foreach_mul_(pull, importance)
                        torch._foreach_add_([w.grad for w in weights], pull, alpha=100.0)
                if clip is not None:
                    nn.utils.clip_grad_norm_(weights, clip)
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


def ewc(model: nn.Module) -> list[Guard]:
    """Proximal EWC on every weight."""
    fisher = Fisher(model, params=FisherParams(samples=64), seed=0)  # type: ignore[arg-type]
    return [EWC(fisher, EWCParams(strength=100.0))]


def rehearsal(_model: nn.Module) -> list[Guard]:
    """A reservoir of bytes, filled at the end of the lesson."""
    return [Rehearsal(Reservoir(MEMORY, seed=0), RehearsalParams(samples=BATCH))]


def main() -> None:
    """Print one JSON line per arm."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (SAMPLES, 784), generator=generator)
    data = InMemory(pixels / 127.5 - 1, torch.randint(10, (SAMPLES,), generator=generator))
    arms: dict[str, tuple[Arm, Arm]] = {
        "naive": (learner_arm(data, lambda _: [], None), bare_arm(data)),
        "clipped": (learner_arm(data, lambda _: [], 5.0), bare_arm(data, clip=5.0)),
        "rehearsal": (learner_arm(data, rehearsal, None), bare_arm(data, remembered=True)),
        "ewc": (learner_arm(data, ewc, None), bare_arm(data, held=True)),
        "ewc/naive": (learner_arm(data, ewc, None), bare_arm(copy.copy(data))),
    }
    for name, (arm, reference) in arms.items():
        value, mine, other = ratio(arm, reference)
        print(
            json.dumps(
                {
                    "benchmark": "learner_overhead",
                    "case": name,
                    "ratio": round(value, 3),
                    "learner_us": round(mine * 1e6, 1),
                    "reference_us": round(other * 1e6, 1),
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
