"""Local losses give each block the gradient of its own loss, and nothing else."""

import pytest
import torch
from torch.nn import functional as F

from clnf.chip import PulseRule
from clnf.chip.local import Backpropagation, ForwardForward, LocalLosses
from clnf.chip.local.forward_forward import goodness_loss
from clnf.chip.local.layerwise import similarity_loss
from clnf.core.errors import ConfigError


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_gradients_are_those_of_the_losses_in_plain_torch(hosted, batch, twin, kind, share) -> None:
    net, chip = hosted(kind)
    x, y = batch(kind)
    method = LocalLosses(net, chip, example=x, seed=9, similarity=share)
    method.optimizer(lr=0.1)
    plain = twin(net)
    parts = (plain[0:3], plain[3:5], plain[5:]) if kind == "mlp" else (
        plain[0:2], plain[2:5], plain[5:]
    )  # fmt: skip
    method.teach(x, y)
    h = x
    for index, part in enumerate(parts[:-1]):
        h = part(h.detach())
        head = method.head(index)
        scores = F.linear(h.flatten(1), head.weight.detach(), head.bias.detach())
        loss = (1 - share) * F.cross_entropy(scores, y)
        (loss + share * similarity_loss(h.flatten(1), y)).backward()
    F.cross_entropy(parts[-1](h.detach()), y).backward()
    for own, there in zip(net, plain, strict=True):
        if list(there.parameters()):
            assert torch.allclose(own.weight.grad, there.weight.grad, atol=1e-6)
    assert (method.head(0).weight.grad is None) == (share == 1.0)


def test_similarity_is_zero_where_samples_lie_as_their_labels_do() -> None:
    y = torch.tensor([0, 1, 2, 1])
    apart = F.one_hot(y, 3).float() * 3 + 0.5
    assert float(similarity_loss(apart, y)) < 1e-10
    assert float(similarity_loss(apart.flip(0), y)) > 0.1


def test_later_blocks_have_no_say_in_earlier_ones(hosted, batch) -> None:
    x, y = batch()

    def first_gradient(way: str, changed: bool) -> torch.Tensor:
        net, chip = hosted()
        if way == "local":
            method = LocalLosses(net, chip, example=x, seed=9)
        elif way == "forward":
            method = ForwardForward(net, chip, example=x, seed=9)
        else:
            method = Backpropagation(net, chip)
        method.optimizer(lr=0.1)
        if changed:
            net[5].weight.data.neg_()
        method.teach(x, y)
        return net[1].weight.grad

    for way in ("local", "forward"):
        assert torch.equal(first_gradient(way, False), first_gradient(way, True))
    # Negative control: through all layers it matters.
    assert not torch.equal(first_gradient("all", False), first_gradient("all", True))


def test_forward_forward_is_the_gradient_of_goodness(hosted, batch, twin) -> None:
    net, chip = hosted()
    x, y = batch()
    method = ForwardForward(net, chip, example=x, seed=9, level=0.4)
    method.optimizer(lr=0.1)
    plain = twin(net)
    method.teach(x, y)
    method.batches -= 1
    wrong_labels = method._wrong(y)
    assert not bool((wrong_labels == y).any())
    right, wrong, none = x + method.patterns[y], x + method.patterns[wrong_labels], x
    for part in (plain[0:3], plain[3:5]):
        good, bad = part(right.detach()), part(wrong.detach())
        goodness_loss(good, bad, 0.4).backward()
        none = part(none).detach()
        right, wrong, none = (
            h / h.square().mean(1, keepdim=True).sqrt() for h in (good, bad, none)
        )
    F.cross_entropy(plain[5](none), y).backward()
    for own, there in zip(net, plain, strict=True):
        if list(there.parameters()):
            assert torch.allclose(own.weight.grad, there.weight.grad, atol=1e-5)
    assert torch.allclose(method.predict(x), plain[5](none), atol=1e-5)


@pytest.mark.parametrize("way", ["local", "forward"])
def test_blobs_are_learned_by_pulses(hosted, way) -> None:
    net, chip = hosted()
    rng = torch.Generator().manual_seed(4)
    y = torch.randint(0, 5, (256,), generator=rng)
    x = torch.rand(5, 16, generator=rng)[y] + 0.1 * torch.randn(256, 16, generator=rng)
    method = (
        LocalLosses(net, chip, example=x, seed=9)
        if way == "local"
        else ForwardForward(net, chip, example=x, seed=9)
    )
    optimizer = method.optimizer(lr=0.3, rule=PulseRule(mode="stochastic", digital_lr=0.01))
    wear = net[1].tiles[0].wear.sum()
    for step in range(150):
        picked = slice(step % 8 * 32, step % 8 * 32 + 32)
        optimizer.zero_grad()
        method.teach(x[picked], y[picked])
        optimizer.step()
    with torch.no_grad():
        assert float((method(x).argmax(1) == y).float().mean()) > 0.9
    assert net[1].tiles[0].wear.sum() > wear


def test_numbers_out_of_range_are_refused(hosted, batch) -> None:
    net, chip = hosted()
    x, _ = batch()
    with pytest.raises(ConfigError, match="similarity"):
        LocalLosses(net, chip, example=x, seed=1, similarity=1.5)
    with pytest.raises(ConfigError, match="strength"):
        ForwardForward(net, chip, example=x, seed=1, level=0.0)
