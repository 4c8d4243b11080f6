"""What adapters keep of earlier lessons: digits turned further in each, beside a frozen base.

digits10k, 8,000 to train and 2,000 to test. The base, MLP 784-256-10, sees upright digits for one
pass; then come four lessons, turned by 30, 60, 90 and 120 degrees, one pass each, in adapters of
rank 8 on both layers; Adam, batch 32. The lesson is not told when asked, but for ``switched``.
Accuracy over all five at the end, with its spread, backward transfer, and accuracy on each of the
four when just learned, in percent, mean over three seeds.

    goes on         one adapter for all lessons
    fresh           merged after each lesson and started anew
    switched        an adapter for each lesson, the lesson told when asked
    joint           one adapter, each lesson with all earlier ones

"""

import json
import statistics
import sys
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from clnf.continual.adapters import (
    CLoRA,
    CLoRAParams,
    OLoRA,
    OLoRAParams,
    Switch,
    adapter_parameters,
    attach,
    attach_switched,
    settle,
)
from clnf.continual.classifier import Classifier
from clnf.continual.learner import Learner
from clnf.continual.metrics import average_accuracy, backward_transfer
from clnf.core.protocols import Guard
from clnf.core.records import Experience
from clnf.streams.digits import rotated_digits
from clnf.streams.sources import ArraySource

ANGLES, SEEDS, RANK, BATCH, RATE = (0.0, 30.0, 60.0, 90.0, 120.0), 3, 8, 32, 2e-3
Pair = tuple[Tensor, Tensor]


@cache
def lessons() -> list[tuple[Pair, Pair]]:
    """Train and test part of each lesson, the same pictures in every one."""
    found = []
    for task in rotated_digits(ANGLES):
        parts = []
        for source in (task.experience.data, task.test):
            batch = source.take(torch.arange(len(source)))
            parts.append(((batch.x.flatten(1) + 1) / 2, batch.cond))
        found.append((parts[0], parts[1]))
    return found


def teach(learner: Learner, name: str, data: Pair) -> None:
    """One pass."""
    lesson = Experience(name=name, concept="digits", data=ArraySource(*data))
    for _ in learner.lesson(lesson, steps=-(-len(data[0]) // BATCH), batch_size=BATCH):
        pass
    learner.consolidate(lesson)


def right(model: nn.Module, data: Pair) -> float:
    """Accuracy in percent."""
    model.eval()
    with torch.no_grad():
        return 100 * float((model(data[0]).argmax(1) == data[1]).double().mean())


def run(arm: str, guard: Callable[[nn.Module], Guard] | None, seed: int) -> list[list[float]]:
    """The matrix of accuracies."""
    data = lessons()
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    model = Classifier(net)
    teach(Learner(model, torch.optim.Adam(model.parameters(), 1e-3), seed=seed), "0", data[0][0])
    matrix = [[right(model, test) for _, test in data]]
    switch = Switch([f"l{n}" for n in range(1, len(data))])
    if arm == "switched":
        attach_switched(net, switch, rank=RANK, seed=seed)
    else:
        attach(net, rank=RANK, seed=seed)
    guards = [guard(model)] if guard else []
    for number in range(1, len(data)):
        weights = list(adapter_parameters(net).values())
        learner = Learner(model, torch.optim.Adam(weights, RATE), guards=guards, seed=seed)
        taken = data[1 : number + 1] if arm == "joint" else [data[number]]
        x, y = (torch.cat(side) for side in zip(*(train for train, _ in taken), strict=True))
        if arm == "switched":
            switch.choose(torch.full((BATCH,), number - 1))
        teach(learner, str(number), (x, y))
        row = []
        for asked, (_, test) in enumerate(data):
            if arm == "switched":
                switch.choose(torch.full((len(test[0]),), asked - 1))
            row.append(right(model, test))
        matrix.append(row)
        if arm == "fresh":
            settle(net, seed=seed + number)
    return matrix


def c_lora(strength: float) -> Callable[[nn.Module], Guard]:
    """C-LoRA of a strength."""
    return lambda model: CLoRA(model, CLoRAParams(strength=strength))


def o_lora(strength: float, *, squared: bool = False) -> Callable[[nn.Module], Guard]:
    """O-LoRA of a strength."""
    return lambda model: OLoRA(model, OLoRAParams(strength=strength, squared=squared))


ARMS: dict[str, tuple[str, Callable[[nn.Module], Guard] | None]] = {
    "goes on": ("goes on", None),
    "fresh": ("fresh", None),
    **{f"goes on, C-LoRA {s:g}": ("goes on", c_lora(s)) for s in (10.0, 1e2, 1e3, 1e4)},
    **{f"fresh, C-LoRA {s:g}": ("fresh", c_lora(s)) for s in (10.0, 1e2, 1e3, 1e4)},
    **{f"fresh, O-LoRA {s:g}": ("fresh", o_lora(s)) for s in (0.1, 0.5, 2.0, 10.0)},
    "fresh, O-LoRA 0.5 squared": ("fresh", o_lora(0.5, squared=True)),
    "switched": ("switched", None),
    "joint": ("joint", None),
}


def main() -> None:
    """Print one JSON line per arm."""
    torch.set_num_threads(1)
    for name, (arm, guard) in ARMS.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        found = [run(arm, guard, seed) for seed in range(SEEDS)]
        ends = [average_accuracy(matrix) for matrix in found]
        back = [backward_transfer(matrix) for matrix in found]
        new = [statistics.mean(m[i][i] for i in range(1, len(m))) for m in found]
        row = {
            "benchmark": "adapter_lessons",
            "arm": name,
            "accuracy": round(statistics.mean(ends), 1),
            "spread": round(statistics.stdev(ends), 1),
            "backward": round(statistics.mean(back), 1),
            "just_learned": round(statistics.mean(new), 1),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
