"""What the learner costs per step, against the best bare PyTorch loops of the same method.

MLP 784-256-10, batch 32, SGD, one thread, data in memory. Arms run interleaved in short blocks;
each ratio is the median over rounds of (block of the arm / block of its reference next to it),
so that slow drifts of the machine cancel. Process time, not wall clock. The bare loops gather by
index_select, run new and old samples in one forward pass, and change gradients by foreach. The
learner clears gradients and steps without the marks that torch leaves there for a profiler; the
loop of ``unmarked`` does so too, by a private name of torch's, which nobody writes.

    naive             Learner without guards            / bare loop
    naive, checked    the same                          / bare loop that skips non-finite gradients
    naive, unmarked   the same                          / bare loop without marks for a profiler
    naive, x[index]   the same                          / bare loop that gathers by x[index]
    naive, stream     Learner on streams.ArraySource    / bare loop
    clipped           Learner with gradient clipping    / bare loop with clip_grad_norm_
    er                32 remembered samples, bytes      / bare loop, memory of bytes
    er, floats        the same, off the 8-bit grid      / bare loop, memory of floats
    ewc               proximal, after one lesson        / bare loop, plain foreach EWC gradient
    ewc, naive loop   the same                          / bare loop without EWC
    der++             two draws of 32, kept by lesson   / bare loop, one forward, memory of bytes
    der++, floats     the same, off the 8-bit grid      / bare loop, memory of floats
    der++, stored     the same, each batch is stored    / bare loop with a vectorised reservoir

"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from peers.paired import Arm, ratio
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import DER, EWC, DERParams, EWCParams, Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.core.protocols import Guard
from clnf.core.records import Batch, Experience, Source
from clnf.streams.sources import ArraySource

SAMPLES, BATCH, MEMORY = 4000, 32, 500


class InMemory:
    """Tensors taken by index: the least a source can do."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.weight = torch.ones(BATCH)

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index``."""
        x, y = self.x.index_select(0, index), self.y.index_select(0, index)
        alike = len(index) == BATCH
        return Batch(x=x, cond=y, weight=self.weight if alike else torch.ones(len(index)))


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

    method: str = ""
    memory: str = "bytes"
    clip: bool = False
    checked: bool = False
    unmarked: bool = False
    indexed: bool = False
    stores: bool = False


class Kept:
    """A bare loop's memory: tensors, filled at random, maybe written by a reservoir."""

    def __init__(self, data: InMemory, how: Bare) -> None:
        self.bytes = how.memory == "bytes"
        x = data.x[:MEMORY]
        self.x = ((x + 1) * 127.5).round().to(torch.uint8) if self.bytes else x.clone()
        self.y = data.y[:MEMORY].clone()
        self.z = torch.randn(MEMORY, 10)
        self.seen = 2 * MEMORY

    def draw(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Samples with replacement."""
        at = torch.randint(MEMORY, (n,))
        x = self.x.index_select(0, at)
        return (x / 127.5).sub_(1) if self.bytes else x, self.y[at], self.z[at]

    def store(self, x: Tensor, y: Tensor, z: Tensor) -> None:
        """Algorithm R for a whole batch."""
        number = torch.arange(self.seen, self.seen + len(x))
        slot = (torch.rand(len(x)) * (number + 1)).long()
        self.seen += len(x)
        hit = (slot < MEMORY).nonzero().flatten()
        if len(hit):
            at = slot[hit]
            x = x[hit]
            self.x[at] = ((x + 1) * 127.5).round().to(torch.uint8) if self.bytes else x
            self.y[at], self.z[at] = y[hit], z[hit]


def bare_loss(net: nn.Module, x: Tensor, y: Tensor, kept: Kept, how: Bare) -> Tensor:
    """The loss of one step, old samples in the same forward pass as new ones."""
    if how.method == "er":
        old, label, _ = kept.draw(BATCH)
        losses = functional.cross_entropy(
            net(torch.cat([x, old])), torch.cat([y, label]), reduction="none"
        )
        return (losses[:BATCH].sum() + 0.3 * losses[BATCH:].sum()) / (1.3 * BATCH)
    if how.method == "der++":
        old, label, then = kept.draw(2 * BATCH)
        said = net(torch.cat([x, old]))
        if how.stores:
            kept.store(x, y, said[:BATCH].detach())
        far = functional.mse_loss(said[BATCH : 2 * BATCH], then[:BATCH])
        again = functional.cross_entropy(said[2 * BATCH :], label[BATCH:])
        return functional.cross_entropy(said[:BATCH], y) + 0.5 * far + 0.5 * again
    return functional.cross_entropy(net(x), y)


def bare_arm(data: InMemory, how: Bare) -> Arm:
    """The plain loop a careful person writes."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    weights = list(net.parameters())
    anchor = [w.detach().clone() for w in weights]
    importance = [torch.rand_like(w) * 1e-3 for w in weights]
    kept = Kept(data, how)

    def loop() -> Iterator[None]:
        while True:
            for index in torch.randperm(len(data)).split(BATCH):
                if how.indexed:
                    x, y = data.x[index], data.y[index]
                else:
                    x, y = data.x.index_select(0, index), data.y.index_select(0, index)
                loss = bare_loss(net, x, y, kept, how)
                if how.unmarked:
                    for w in weights:
                        w.grad = None
                else:
                    optimizer.zero_grad()
                loss.backward()
                if how.method == "ewc":
                    with torch.no_grad():
                        pull = torch._foreach_sub(weights, anchor)
                        torch._foreach_mul_(pull, importance)
                        torch._foreach_add_([w.grad for w in weights], pull, alpha=100.0)
                if how.clip:
                    nn.utils.clip_grad_norm_(weights, 5.0)
                if how.checked:
                    norms = torch._foreach_norm([w.grad for w in weights])
                    if not math.isfinite(loss.item() + sum(map(float, norms))):
                        continue
                torch.optim.SGD.step.__wrapped__(optimizer) if how.unmarked else optimizer.step()  # type: ignore[attr-defined]
                yield

    steps = loop()
    return lambda: next(steps)


def ewc(model: Classifier) -> list[Guard]:
    """Proximal EWC on every weight."""
    fisher = Fisher(model, params=FisherParams(samples=64), seed=0)
    return [EWC(fisher, EWCParams(strength=100.0))]


def er(_model: Classifier) -> list[Guard]:
    """A reservoir filled at the end of the lesson."""
    return [Rehearsal(Reservoir(MEMORY, seed=0), RehearsalParams(samples=BATCH))]


def der(model: Classifier) -> list[Guard]:
    """DER++ with a reservoir filled at the end of the lesson."""
    params = DERParams(samples=BATCH, keep="lesson")
    return [DER(Reservoir(MEMORY, seed=0), model, params)]


def der_stored(model: Classifier) -> list[Guard]:
    """DER++ that stores each batch, its reservoir full."""
    guard = DER(Reservoir(MEMORY, seed=0), model, DERParams(samples=BATCH, keep="batch"))
    guard.memory.add(Batch.of(torch.zeros(2 * MEMORY, 784), 0), torch.zeros(2 * MEMORY, 10))
    return [guard]


def main() -> None:
    """Print one JSON line per case."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (SAMPLES, 784), generator=generator)
    data = InMemory(pixels / 127.5 - 1, torch.randint(10, (SAMPLES,), generator=generator))
    floats = InMemory(torch.rand(SAMPLES, 784, generator=generator), data.y)
    plain, held = Bare(), Bare(method="ewc")
    cases: dict[str, tuple[Arm, Arm]] = {
        "naive": (learner_arm(data), bare_arm(data, plain)),
        "naive, checked": (learner_arm(data), bare_arm(data, Bare(checked=True))),
        "naive, unmarked": (learner_arm(data), bare_arm(data, Bare(unmarked=True))),
        "naive, x[index]": (learner_arm(data), bare_arm(data, Bare(indexed=True))),
        "naive, stream": (learner_arm(ArraySource(data.x, data.y)), bare_arm(data, plain)),
        "clipped": (learner_arm(data, clip=5.0), bare_arm(data, Bare(clip=True))),
        "er": (learner_arm(data, er), bare_arm(data, Bare(method="er"))),
        "er, floats": (learner_arm(floats, er), bare_arm(floats, Bare(method="er", memory="raw"))),
        "ewc": (learner_arm(data, ewc), bare_arm(data, held)),
        "ewc, naive loop": (learner_arm(data, ewc), bare_arm(data, plain)),
        "der++": (learner_arm(data, der), bare_arm(data, Bare(method="der++"))),
        "der++, floats": (
            learner_arm(floats, der),
            bare_arm(floats, Bare(method="der++", memory="raw")),
        ),
        "der++, stored": (
            learner_arm(data, der_stored),
            bare_arm(data, Bare(method="der++", memory="bytes", stores=True)),
        ),
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
