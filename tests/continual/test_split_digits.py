"""On real digits: what rehearsal is for, and what regularisation alone cannot do."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from torch import nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import EWC, EWCParams, Rehearsal, RehearsalParams
from clnf.continual.learner import Learner
from clnf.continual.memory import Balanced, Reservoir
from clnf.continual.metrics import average_accuracy, backward_transfer
from clnf.core.records import Experience


@pytest.fixture(scope="module")
def digits():
    """Pixels on the 8-bit grid of [-1, 1], labels; shuffled with seed 0."""
    with np.load(str(files("clnf.streams") / "data" / "digits10k.npz")) as data:
        pixels = torch.from_numpy(data["images"]).flatten(1).float() / 127.5 - 1
        labels = torch.from_numpy(data["labels"]).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return pixels[order], labels[order]


@pytest.fixture
def teach(digits, lesson):
    """Teach digits 0, 1, then 2, 3, to one ten-way head; the matrix of accuracies."""
    pixels, labels = digits
    train, test = slice(0, 8000), slice(8000, None)

    def run(guards, seed: int = 0) -> list[list[float]]:
        torch.manual_seed(seed)
        model = Classifier(nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        learner = Learner(model, optimizer, guards=guards(model), seed=seed)
        matrix = []
        for task in ((0, 1), (2, 3)):
            part = torch.isin(labels[train], torch.tensor(task))
            taught = lesson(str(task), pixels[train][part], labels[train][part])
            assert isinstance(taught, Experience)
            list(learner.lesson(taught, steps=60, batch_size=32))
            learner.consolidate(taught)
            row = []
            for asked in ((0, 1), (2, 3)):
                part = torch.isin(labels[test], torch.tensor(asked))
                with torch.no_grad():
                    said = model(pixels[test][part]).argmax(1)
                row.append(float((said == labels[test][part]).float().mean()))
            matrix.append(row)
        return matrix

    return run


@pytest.mark.parametrize("memory", [Reservoir, Balanced])
def test_rehearsal_keeps_what_plain_training_forgets(teach, memory):
    """Class-incremental, no task told at test time: plain training ends near zero on task 1."""
    plain = teach(lambda model: [])
    held = teach(
        lambda model: [Rehearsal(memory(100, seed=0), RehearsalParams(samples=32, coefficient=1.0))]
    )
    assert plain[0][0] > 0.95
    assert held[0][0] > 0.95
    assert plain[1][0] < 0.3
    assert held[1][0] > 0.8
    assert average_accuracy(held) > average_accuracy(plain) + 0.2
    assert backward_transfer(held) > backward_transfer(plain) + 0.5


def test_ewc_alone_does_not_help_class_increments(teach):
    """Known from the literature; a gain here would mean task labels leak into the measure."""
    held = teach(
        lambda model: [
            EWC(Fisher(model, params=FisherParams(samples=100), seed=0), EWCParams(strength=100.0))
        ]
    )
    assert held[1][0] < 0.5
    assert held[1][1] > 0.8
