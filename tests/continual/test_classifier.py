"""The wrapper is cross entropy per sample, and speaks clearly about missing logits."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from clnf.continual.bayes import BayesianClassifier, BayesianLinear
from clnf.continual.classifier import label_loss
from clnf.continual.learner import Learner
from clnf.core.errors import DataError, ShapeError
from clnf.core.protocols import Learnable
from clnf.core.records import Batch


def test_loss_is_cross_entropy_of_each_sample(classifier, lesson):
    model = classifier()
    assert isinstance(model, Learnable)
    batch = lesson().data.take(torch.arange(6))
    wanted = functional.cross_entropy(model(batch.x), batch.cond, reduction="none")
    loss = model.loss(batch, torch.Generator())
    assert loss.shape == (6,)
    assert torch.equal(loss, wanted)


def test_every_label_comes_with_its_probability(classifier, lesson):
    model = classifier()
    batch = lesson().data.take(torch.arange(2))
    spread = model.every_label(batch)
    assert spread.cond.tolist() == [0, 1, 2, 0, 1, 2]
    assert torch.equal(spread.x[:3], batch.x[:1].expand(3, -1))
    torch.testing.assert_close(spread.weight.view(2, 3).sum(1), torch.ones(2))
    torch.testing.assert_close(spread.weight.view(2, 3), model(batch.x).softmax(-1).detach())


def test_a_class_without_a_logit_is_named(classifier):
    """Pitfall: logits of later classes must exist from the start."""
    with pytest.raises(ShapeError, match="class 3 has no logit: the network gives 3"):
        classifier().loss(Batch.of(torch.zeros(2, 5), 3), torch.Generator())


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        ([0, -1], DataError, "label -1 is no class: labels go from 0 to 2"),
        ([0, -100], DataError, "label -100 is no class"),
        ([2, 99], ShapeError, "class 99 has no logit: the network gives 3"),
        ([0.0, 1.0], ShapeError, "type torch.int64, got torch.float32"),
        ([True, False], ShapeError, "got torch.bool"),
    ],
)
def test_a_label_that_is_none_is_named(classifier, labels, kind, words):
    """Pitfall: torch passes over the label -100 in silence, and the sample teaches nothing."""
    batch = Batch.of(torch.zeros(2, 5), torch.tensor(labels))
    model = classifier()
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), seed=0)
    net = nn.Sequential(BayesianLinear(5, 3, sigma=0.1))
    for teach in (learner.step, lambda b: BayesianClassifier(net).loss(b, torch.Generator())):
        with pytest.raises(kind, match=words):
            teach(batch)


def test_what_is_not_about_labels_is_said_by_torch(classifier):
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        classifier().loss(Batch.of(torch.zeros(2, 4), 0), torch.Generator())
    with pytest.raises((RuntimeError, ValueError)):
        label_loss(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.int64))
