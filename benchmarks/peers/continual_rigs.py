"""Networks, memories and guards of the continual benchmarks, and how a stream is taught to them.

python benchmarks/peers/continual_rigs.py   how many samples each lesson of a scenario has
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clnf.continual.bayes import MESU, BayesianClassifier, BayesianLinear
from clnf.continual.binary import BinaryLinear, MetaplasticAdam, Sign
from clnf.continual.classifier import Classifier
from clnf.continual.guards import HAT, LatentRehearsal, PackNet, Rehearsal
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.core.protocols import Guard, Learnable
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.streams.bundled import digits10k
from clnf.streams.sources import ArraySource

Pair = tuple[Tensor, Tensor]
Matrix = list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A protocol: lessons, network, optimizer and sizes; ``steps`` 0 is one pass.

    ``anew`` lets the optimizer forget its moments before each lesson; ``so_far`` leaves classes
    that are yet to come out of every loss.
    """

    scenario: str = "class"
    lessons: int = 5
    widths: tuple[int, ...] = (256, 256)
    rate: float = 0.05
    adam: bool = False
    batch: int = 32
    replay: int = 32
    memory: int = 500
    steps: int = 0
    anew: bool = False
    so_far: bool = False

    @property
    def told(self) -> bool:
        """Whether the lesson is named when asked."""
        return self.scenario in ("task", "permuted, told")

    @property
    def outputs(self) -> int:
        """Of the network."""
        return 2 if self.scenario == "domain" else 10


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """Data of each lesson."""

    train: list[Pair]
    test: list[Pair]


def lessons(setting: Setting, seed: int) -> Lessons:
    """Cut the digits into lessons: 8,000 to learn, 2,000 to test, shuffled by the seed."""
    digits = digits10k()
    x = torch.from_numpy(np.array(digits.images)).flatten(1).float() / 255
    y = torch.from_numpy(np.array(digits.labels))
    order = torch.randperm(len(y), generator=torch_rng(seed, "digits"))
    x, y = x[order], y[order]
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for t in range(setting.lessons):
        shuffle = torch.randperm(784, generator=torch_rng(seed, "pixels", t))
        for part, piece in zip(parts, (slice(8000), slice(8000, None)), strict=True):
            pixels, labels = x[piece], y[piece]
            if setting.scenario.startswith("permuted"):
                part.append((pixels[:, shuffle] if t else pixels, labels))
            else:
                at = (labels // 2) == t
                own = labels[at] % 2 if setting.scenario == "domain" else labels[at]
                part.append((pixels[at], own))
    return Lessons(train=parts[0], test=parts[1])


@dataclass(kw_only=True)
class Rig:
    """What learns: a network with a loss, its optimizer and guards.

    Attributes:
        front: layers frozen after the first lesson, or None.
        together: ask all lessons in one batch, where batch statistics would tell them apart.
        shared: give each lesson so far the same part in the loss of rehearsal.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    guards: list[Guard] = field(default_factory=list)
    front: nn.Module | None = None
    together: bool = False
    shared: bool = False


Make = Callable[[Classifier, Setting, int], list[Guard]]


class SoFar(nn.Sequential):
    """Layers whose logits of classes from ``seen`` on are next to minus infinity."""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape [B, K]."""
        logits = super().forward(x)
        return logits.masked_fill(torch.arange(logits.shape[1]) >= self.seen, -1e9)


def network(setting: Setting, seed: int) -> nn.Sequential:
    """ReLU layers, the same for every method of a seed."""
    torch.manual_seed(seed)
    sizes = (784, *setting.widths)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    kind = SoFar if setting.so_far else nn.Sequential
    return kind(*layers, nn.Linear(sizes[-1], setting.outputs))


def optimizer_of(setting: Setting, weights: Sequence[Tensor], rate: float = 1.0) -> object:
    """SGD without momentum, or Adam."""
    kind = torch.optim.Adam if setting.adam else torch.optim.SGD
    return kind(weights, lr=rate * setting.rate)


def plain(setting: Setting, seed: int, *, make: Make, rate: float = 1.0) -> Rig:
    """The network under guards; ``rate`` is a factor on the setting's."""
    model = Classifier(network(setting, seed))
    guards = make(model, setting, seed)
    more = [p for guard in guards if isinstance(guard, HAT) for p in guard.parameters()]
    optimizer = optimizer_of(setting, [*model.parameters(), *more], rate)
    assert isinstance(optimizer, torch.optim.Optimizer)
    latent = any(isinstance(guard, LatentRehearsal) for guard in guards)
    assert isinstance(model.net, nn.Sequential)
    return Rig(
        model=model, optimizer=optimizer, guards=guards, front=model.net[0] if latent else None
    )


class Sums(nn.Module):
    """A Bayesian classifier whose loss is the batch's sum: its update has no other rate."""

    def __init__(self, model: BayesianClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.model(x)

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy times the samples of the batch, shape [B]."""
        return len(batch) * self.model.loss(batch, rng)


def bayesian(setting: Setting, seed: int, *, sigma: float, memory: float) -> Rig:
    """Weights with an uncertainty, moved by MESU."""
    torch.manual_seed(seed)
    sizes = (784, *setting.widths, setting.outputs)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [BayesianLinear(wide, narrow, sigma=sigma), nn.ReLU()]
    model = BayesianClassifier(nn.Sequential(*layers[:-1]), draws=2)
    optimizer = MESU(model.pairs(), memory=memory, prior_sigma=sigma)
    return Rig(model=Sums(model), optimizer=optimizer)


def binary(setting: Setting, seed: int, *, m: float, rate: float = 5e-3) -> Rig:
    """Signs for weights and activations, hidden weights that harden by ``m``."""
    torch.manual_seed(seed)
    sizes = (784, *setting.widths, setting.outputs)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        norm = nn.BatchNorm1d(narrow, track_running_stats=False)
        layers += [BinaryLinear(wide, narrow), norm, Sign()]
    model = Classifier(nn.Sequential(*layers[:-1]))
    hidden = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": hidden}, {"params": rest, "metaplasticity": 0.0}]
    optimizer = MetaplasticAdam(groups, lr=rate, metaplasticity=m)
    return Rig(model=model, optimizer=optimizer, together=not setting.told)


class Heads(nn.Module):
    """The loss of a lesson among its own two digits, as with a head for each lesson."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def outputs(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """All logits, shape [B, 10]."""
        return self.model(batch.x)

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross entropy of each sample among the two digits of its own lesson, shape [B]."""
        own = torch.arange(outputs.shape[1])[None, :] // 2 == (batch.cond // 2)[:, None]
        shut = outputs.masked_fill(~own, -torch.inf)
        return functional.cross_entropy(shut, batch.cond, reduction="none")

    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Cross entropy of each sample, shape [B]."""
        return self.loss_of(self.outputs(batch, rng), batch)


def teach(
    rig: Rig, data: Lessons, setting: Setting, seed: int, *, joint: bool
) -> tuple[Matrix, int]:
    """Teach all lessons; the matrix of accuracies in percent, and how many steps were refused."""
    teachable = Heads(rig.model) if setting.scenario == "task" else rig.model
    assert isinstance(teachable, Learnable)
    learner, matrix = Learner(teachable, rig.optimizer, guards=rig.guards, seed=seed), []
    for t in range(setting.lessons):
        parts = data.train[: t + 1] if joint else [data.train[t]]
        x, y = (torch.cat(side) for side in zip(*parts, strict=True))
        lesson = Experience(name=f"lesson {t}", concept="digits", data=ArraySource(x, y))
        for guard in rig.guards if rig.shared else ():
            if isinstance(guard, Rehearsal):
                guard.params = replace(guard.params, coefficient=float(t))
        steps = setting.steps or -(-len(x) // setting.batch)
        if isinstance(rig.model, Classifier) and isinstance(rig.model.net, SoFar):
            rig.model.net.seen = 2 * (t + 1)
        if setting.anew:
            rig.optimizer.state.clear()
        for _ in learner.lesson(lesson, steps=steps, batch_size=setting.batch):
            pass
        learner.consolidate(lesson)
        if rig.front is not None:
            rig.front.requires_grad_(False)
        matrix.append(asked(rig, data, setting, t))
    return matrix, learner.refused_steps


def asked(rig: Rig, data: Lessons, setting: Setting, now: int) -> list[float]:
    """Accuracy on each lesson's test data, in percent."""
    if rig.together:
        logits = said(rig.model, torch.cat([x for x, _ in data.test]))
        parts = logits.split([len(x) for x, _ in data.test])
        return [right(part, y) for part, (_, y) in zip(parts, data.test, strict=True)]
    row = []
    for i, (x, y) in enumerate(data.test):
        logits = as_told(rig, min(i, now), partial(said, rig.model, x))
        if setting.scenario == "task":
            logits = logits[:, 2 * i : 2 * i + 2]
            y = y - 2 * i
        row.append(right(logits, y))
    return row


def as_told(rig: Rig, lesson: int, answer: Callable[[], Tensor]) -> Tensor:
    """What is said with the masks of one lesson, where there are masks."""
    for guard in rig.guards:
        if isinstance(guard, PackNet):
            with guard.as_of(lesson + 1):
                return answer()
        if isinstance(guard, HAT):
            with guard.as_of(lesson):
                return answer()
    return answer()


def said(model: nn.Module, x: Tensor) -> Tensor:
    """Logits in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model(x)


def right(logits: Tensor, y: Tensor) -> float:
    """Accuracy in percent."""
    return 100 * float((logits.argmax(1) == y).double().mean())


def memory(keep: str, setting: Setting, seed: int, by_class: bool = False) -> Reservoir | Balanced:
    """A reservoir where there are no boundaries, a balanced memory where there are."""
    if keep == "batch":
        return Reservoir(setting.memory, seed=seed, by_class=by_class)
    return Balanced(setting.memory, seed=seed)


def main() -> None:
    """Print the sizes of lessons."""
    for scenario in ("class", "domain", "permuted"):
        data = lessons(Setting(scenario=scenario), 0)
        sizes = [[len(y) for _, y in part] for part in (data.train, data.test)]
        print(json.dumps({"scenario": scenario, "train": sizes[0], "test": sizes[1]}))


if __name__ == "__main__":
    main()
