"""Four ways to teach a net with one hidden layer, off a chip or on it.

    bptt    gradients through time of the cross-entropy of 20 times the mean of outputs' spikes
    eprop   e-prop with the same loss, at each step of the mean so far
    local   a local loss at the hidden layer (fixed random read-out, at each step of the mean so
            far); the last layer learns its own gradient
    stdp    ReSuMe: STDP with the spikes of a teacher, and with the other sign with a cell's own;
            the last layer alone, behind hidden cells whose random weights stay

Off the chip: Adam on weights in floats (ReSuMe without it), batches of 50; the chip's limits hold
in each run forward, and gradients go straight through. On it: weights are whole steps of the chip
and nothing finer is kept; after each ten samples they are changed once, rounded at random; traces
and tags are the chip's where it has them. Errors and slopes are worked out beside the chip, and
changes are scaled there, to a mean square of one a layer, none above MOST.
"""

import json
import time
from typing import NamedTuple

import torch
from peers.spiking_sets import Task, task
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.core.rng import torch_rng
from clnf.spiking import IF, LIF, FastSigmoid, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.learning import OnlineRule, Tags, resume_change, watched
from clnf.spiking.profiles import Constrained, deploy, profile, trace_format, written

GAIN, TEACHER = 20.0, 4  # a teacher spikes in each fourth step
BATCH, ON_CHIP = 50, 10
# What the largest weights of a chip that learns are worth, V; half of it on a grid of few steps.
FULL_V, FEW_FULL_V, FEW = (2.0, 1.0), (1.0, 0.5), 7
TAG_MOST = 32.0
MOST = 3.0  # of the layer's mean change, what one weight changes at once


class Taught(NamedTuple):
    """A net that learned.

    Attributes:
        net: in floats.
        chip: the same under a chip's limits; None for no chip.
        lessons: samples that taught it.
        writes: weights that changed on the chip.
    """

    net: Chain
    chip: Constrained | None
    lessons: int
    writes: int


def net_of(found: Task, chip: str, seed: int) -> Chain:
    """Two layers of cells of a kind that the chip takes, 16 steps long."""
    cell = LIF(tau_s=16 * found.dt_s, reset_v=0.0 if chip == "loihi" else None)
    cells = IF() if chip == "speck" else cell
    slope = FastSigmoid(width_v=0.5)
    layers = [
        SpikingLinear(size, cells, dt_s=found.dt_s, surrogate=slope, seed=seed + 100 * n)
        for n, size in enumerate(((found.channels, found.hidden), (found.hidden, found.classes)))
    ]
    for layer in layers:
        layer.weight.data *= found.start
    return Chain(*layers)


def under(net: Chain, chip: str, seed: int) -> Constrained | None:
    """The net with a chip's limits; the seed is that of the one chip."""
    if chip == "float":
        return None
    found = Constrained(net, profile(chip))
    found.die = seed
    return found


def so_far(y: Tensor, label: Tensor) -> Tensor:
    """Errors [T, B, K] of outputs: cross-entropy of their mean so far, at each step."""
    count = torch.arange(1, len(y) + 1)[:, None, None]
    wrong = (GAIN * y.cumsum(0) / count).softmax(2) - F.one_hot(label, y.shape[2])
    return wrong * (GAIN / (y.shape[1] * len(y)))


def wanted(steps: int, label: Tensor, classes: int) -> Tensor:
    """Spikes of a teacher [T, B, K]: the right cell's, evenly."""
    beat = (torch.arange(steps) % TEACHER == TEACHER - 1).float()
    return beat[:, None, None] * F.one_hot(label, classes)


class Lessons:
    """One way, off a chip or on it.

    Args:
        way: see the head of this module.
        found: the set.
        chip: of ``CHIPS``; float for none.
        seed: of weights, order and events.
        on: whether the chip learns by itself.
    """

    def __init__(self, way: str, found: Task, chip: str, *, seed: int, on: bool) -> None:
        self.way, self.found, self.seed, self.on = way, found, seed, on
        self.net = net_of(found, chip, seed)
        self.chip = under(self.net, chip, seed)
        self.model: nn.Module = self.chip or self.net
        self.weights = [layer.weight for layer in self.net]
        self.format, tags, self.full_v = None, None, FULL_V
        self.writes, self.turns = 0, 0
        if on:
            assert self.chip is not None
            limits = self.chip.profile
            self.full_v = FEW_FULL_V if limits.top_weight <= FEW else FULL_V
            names = [one.name for one in self.chip.stages()]
            self.chip.full_v = dict(zip(names, self.full_v, strict=True))
            if limits.trace_bits is not None:
                self.format = trace_format(limits)
                tags = Tags(limits.tag_bits or 8, TAG_MOST)
            with torch.no_grad():
                for n in range(len(self.weights)):
                    self._write(n, torch.zeros_like(self.weights[n]))
        self.rule = None
        if way in ("eprop", "local"):
            self.rule = OnlineRule(way, self.model, traces=self.format, tags=tags, seed=seed)  # type: ignore[arg-type]

    def _write(self, n: int, change: Tensor) -> None:
        """Weights of a layer on the chip's grid, rounded at random."""
        assert self.chip is not None
        top, weight = self.chip.profile.top_weight, self.weights[n]
        place = (n, self.turns)
        made = written(weight, change, self.full_v[n] / top, top, seed=self.seed, place=place)
        self.writes += int((made != weight).sum()) * bool(self.turns)
        weight.copy_(made)

    def gradients(self, x: Tensor, label: Tensor) -> None:
        """Of one batch, into the weights'; ReSuMe's change with its sign turned."""
        if self.way == "bptt":
            F.cross_entropy(GAIN * self.model(x).mean(0), label).backward()
        elif self.rule is not None:
            self.rule.lesson(x, lambda y: so_far(y, label))
        else:
            seen = watched(self.model, x, self.format, seed=self.seed + self.turns)[-1]
            spikes = wanted(len(x), label, self.found.classes)
            self.weights[-1].grad = -resume_change(seen, spikes) / len(label)

    def teach(self, rate: float, passes: int) -> Taught:
        """All lessons."""
        batch = ON_CHIP if self.on else BATCH
        plain = self.on or self.way == "stdp"
        kind = torch.optim.SGD if plain else torch.optim.Adam
        optimizer = kind(self.weights, lr=rate)
        y, taught = self.found.y, self.found.taught
        for n in range(passes):
            order = taught[torch.randperm(len(taught), generator=torch_rng(self.seed, "lesson", n))]
            for index in order.split(batch):
                self.turns += 1
                optimizer.zero_grad()
                self.gradients(self.found.events(index), y[index])
                if not self.on:
                    optimizer.step()
                    continue
                with torch.no_grad():
                    for k, weight in enumerate(self.weights):
                        if weight.grad is not None and bool(weight.grad.any()):
                            size = weight.grad.square().mean().sqrt()
                            self._write(k, -rate * (weight.grad / size).clamp(-MOST, MOST))
        return Taught(self.net, self.chip, passes * len(taught), self.writes)


@torch.no_grad()
def right(made: Taught, found: Task) -> float:
    """Share of the asked that are named rightly, on a chip by its whole numbers alone."""
    run = made.net if made.chip is None else deploy(made.chip)
    said = run(found.events(found.asked)).sum(0).argmax(1)
    return float((said == found.y[found.asked]).double().mean())


def main() -> None:
    """What one lesson of each way takes, in milliseconds of processor time, as JSON lines."""
    found = task("digits", 77)
    index = found.taught[:BATCH]
    x, label = found.events(index), found.y[index]
    for way in ("bptt", "eprop", "local", "stdp"):
        lessons = Lessons(way, found, "loihi", seed=77, on=False)
        lessons.gradients(x, label)
        begun = time.process_time()
        for _ in range(10):
            lessons.gradients(x, label)
        print(json.dumps({"way": way, "ms": 100 * (time.process_time() - begun)}))


if __name__ == "__main__":
    main()
