"""Feedback comes from tiles of its own, and forward weights learn to agree with it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clnf.chip import ChipSpec, PulseRule
from clnf.chip.local import Backpropagation, DirectFeedback
from clnf.core.errors import ConfigError


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_gradients_are_those_of_feedback_worked_out_by_hand(hosted, batch, twin, kind) -> None:
    net, chip = hosted(kind)
    x, y = batch(kind)
    method = DirectFeedback(net, chip, example=x, seed=9)
    method.optimizer(lr=0.1)
    plain = twin(net)
    loss = method.teach(x, y)

    # By hand: each block from a detached input, its output given B e.
    out, outs = x, []
    for part in (plain[0:3], plain[3:5], plain[5:]) if kind == "mlp" else (
        plain[0:2], plain[2:5], plain[5:]
    ):  # fmt: skip
        out = part(out.detach())
        outs.append(out)
    error = (outs[-1].softmax(1) - F.one_hot(y, 5)).detach() / len(y)
    outs[-1].backward(error)
    for index, hidden in enumerate(outs[:-1]):
        sent = error @ method.matrix(index).weight.detach().T
        hidden.backward(sent.view_as(hidden))
    assert float(loss) == pytest.approx(float(F.cross_entropy(outs[-1], y).detach()), rel=1e-5)
    for own, there in zip(net, plain, strict=True):
        if list(there.parameters()):
            assert torch.allclose(own.weight.grad, there.weight.grad, atol=1e-6)
            assert torch.allclose(own.bias.grad, there.bias.grad, atol=1e-6)

    # Negative control: backpropagation gives the first layers another gradient.
    other, chip = hosted(kind)
    through = Backpropagation(other, chip)
    through.optimizer(lr=0.1)
    through.teach(x, y)
    first = 0 if kind == "conv" else 1
    assert cosine(other[first].weight.grad, net[first].weight.grad) < 0.9
    assert torch.allclose(other[-1].weight.grad, net[-1].weight.grad, atol=1e-6)


def test_vectors_for_outer_products_are_the_same_errors(hosted, batch) -> None:
    net, chip = hosted()
    x, y = batch()
    method = DirectFeedback(net, chip, example=x, seed=9)
    method.optimizer(lr=0.1, rule=PulseRule(mode="stochastic"))
    method.teach(x, y)
    ((driven,), error) = net[1].capture[0]
    dense, chip = hosted()
    again = DirectFeedback(dense, chip, example=x, seed=9)
    again.optimizer(lr=0.1)
    again.teach(x, y)
    assert torch.allclose(error.T @ driven, dense[1].weight.grad, atol=1e-6)
    assert net[1].weight.grad is None


def test_forward_weights_align_with_the_feedback_they_learned_by(hosted, batch) -> None:
    net, chip = hosted()
    rng = torch.Generator().manual_seed(4)
    means = torch.rand(5, 16, generator=rng)
    y = torch.randint(0, 5, (256,), generator=rng)
    x = means[y] + 0.1 * torch.randn(256, 16, generator=rng)
    method = DirectFeedback(net, chip, example=x, seed=9)
    optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic", digital_lr=0.01))
    net[5].weight.data.zero_()
    chip.program_plastic()
    for step in range(150):
        picked = slice(step % 8 * 32, step % 8 * 32 + 32)
        optimizer.zero_grad()
        method.teach(x[picked], y[picked])
        optimizer.step()
    feedback = method.matrix(1).weight.detach()
    forward = net[5].weight.detach().T
    shuffled = feedback[:, [1, 2, 3, 4, 0]]
    learned = cosine(forward, feedback)
    assert float((net(x).argmax(1) == y).float().mean()) > 0.9
    assert learned > 0.3  # well below 90 degrees
    # Feedback it did not learn by: the same numbers, each at another class.
    assert cosine(forward, shuffled) < learned - 0.3

    # Asked something new, it moves the hidden layer the way the true gradient would.
    other = torch.randint(0, 5, (256,), generator=rng)
    for layer in method.taught:
        layer.capture = None
    optimizer.zero_grad()
    Backpropagation(net, chip).teach(x, other)
    true = net[3].weight.grad.clone()
    net[3].weight.grad = None
    method.teach(x, other)
    assert cosine(net[3].weight.grad, true) > 0.2
    # Negative control: the same feedback, each class's at another class, points elsewhere.
    error = (net(x).softmax(1) - F.one_hot(other, 5)).detach()
    wanted = error @ net[5].weight.detach()
    assert cosine(error @ feedback.T, wanted) > 0.2
    assert cosine(error @ shuffled.T, wanted) < cosine(error @ feedback.T, wanted) - 0.2


def test_feedback_is_read_from_cells_with_their_noise(hosted, batch) -> None:
    x, y = batch()
    net, chip = hosted(spec=ChipSpec(pairs=1))
    method = DirectFeedback(net, chip, example=x, seed=9)
    error = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
    layer = method.matrix(0)
    with torch.no_grad():
        layer(error)
        one, two = layer(error), layer(error)
    exact = error @ layer.weight.detach().T
    assert not torch.equal(one, two)
    assert 0 < float((one - exact).norm() / exact.norm()) < 0.2
    tiles = [tile.name for tile in method.extras[0].tiles.values()]
    assert chip.ledger.total(tile=tiles[0], op="adc").count > 0
    wear = layer.tiles[0].wear.clone()
    optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic"))
    method.teach(x, y)
    optimizer.step()
    assert torch.equal(layer.tiles[0].wear, wear)  # feedback is fixed


def test_what_is_no_stack_is_refused(hosted) -> None:
    net, chip = hosted()
    with pytest.raises(ConfigError, match=r"plain stack"):
        Backpropagation(nn.ModuleList([net]), chip)
    with pytest.raises(ConfigError, match="inside ModuleList"):
        Backpropagation(nn.Sequential(nn.ModuleList([net[1]])), chip)
    with pytest.raises(ConfigError, match="no layer"):
        Backpropagation(nn.Sequential(nn.ReLU()), chip)
    with pytest.raises(ConfigError, match="feedback weight"):
        DirectFeedback(net, chip, example=torch.zeros(1, 16), seed=1, scale=0.0)
