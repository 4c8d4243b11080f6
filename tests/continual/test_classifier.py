"""The wrapper is cross entropy per sample, and speaks clearly about missing logits."""

import pytest
import torch
from torch.nn import functional

from clnf.core.errors import ShapeError
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
