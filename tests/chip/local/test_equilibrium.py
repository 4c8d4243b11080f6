"""Equilibrium propagation ends at gradients, and its reads from the other side are noisy reads."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clnf.chip import ChipSpec, PulseRule, host
from clnf.chip.local import Equilibrium, Relaxation
from clnf.chip.local.symmetric import TransposedRead, silent
from clnf.core.errors import ConfigError


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def fixed_point_gradients(plain: nn.Sequential, x, y, kind: str) -> list[torch.Tensor]:
    """The loss at the fixed point of the states, differentiated through all of its steps."""
    products = (
        [plain[0:2], plain[3], plain[5]] if kind == "mlp" else [plain[0], plain[2], plain[4:6]]
    )
    states = [products[0](x).clamp(0, 1)]
    states.append(products[1](states[0]).clamp(0, 1))
    for _ in range(60):
        up = products[1](states[0])
        (down,) = torch.autograd.grad(up, states[0], states[1], create_graph=True)
        states = [(products[0](x) + down).clamp(0, 1), up.clamp(0, 1)]
    F.cross_entropy(products[2](states[1]), y).backward()
    return [part.weight.grad for part in plain if list(part.parameters())]


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_gradients_approach_those_of_the_fixed_point(hosted, batch, twin, kind) -> None:
    x, y = batch(kind)
    errors, wrong = [], []
    for beta in (1.0, 0.003):
        net, chip = hosted(kind)
        for layer in chip.layers.values():  # in the linear part of the clip, and stable
            layer.bias.data.fill_(0.3)
        method = Equilibrium(net, chip, relaxation=Relaxation(beta=beta, free=60, nudged=60))
        method.optimizer(lr=0.1)
        true = fixed_point_gradients(twin(net), x, y, kind)
        method.teach(x, y)
        own = [layer.weight.grad for layer in method.taught]
        errors.append([relative(a, b) for a, b in zip(own, true, strict=True)])
        wrong.append([relative(-a, b) for a, b in zip(own[:-1], true, strict=False)])
    assert max(errors[1]) < 0.02
    assert max(errors[1]) < max(errors[0]) / 10
    assert min(wrong[1]) > 1.5  # negative control: the opposite direction is found out


def test_one_hidden_block_is_backpropagation_through_the_clip(batch) -> None:
    from clnf.chip import ideal_chip

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 5))
    chip = host(net, assign=lambda n, m: "plastic", seed=5, spec=ideal_chip())
    x, y = batch()
    method = Equilibrium(net, chip, relaxation=Relaxation(beta=0.02, free=1, nudged=2))
    method.optimizer(lr=0.1)
    method.teach(x, y)
    w1, w2 = (net[k].weight.detach().clone().requires_grad_() for k in (1, 3))
    hidden = F.linear(x.flatten(1), w1, net[1].bias).clamp(0, 1)
    F.cross_entropy(F.linear(hidden, w2, net[3].bias), y).backward()
    assert relative(net[1].weight.grad, w1.grad) < 0.02
    assert relative(net[3].weight.grad, w2.grad) < 0.02


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_read_from_the_other_side_is_the_transposed_product(hosted, batch, kind) -> None:
    net, _ = hosted(kind)
    x, _ = batch(kind)
    layer, state = (net[0], x) if kind == "conv" else (net[1], x.flatten(1))
    read = TransposedRead(layer, nn.Sequential(layer))
    with silent([layer]):
        up, _ = read(state, torch.zeros_like(layer(state)))
        drive = torch.randn(up.shape, generator=torch.Generator().manual_seed(7))
        before = layer.circuit.ledger.total(op="adc").count
        up, down = read(state, drive)
    leaf = state.clone().requires_grad_()
    out = F.conv2d(leaf, layer.weight, stride=2) if kind == "conv" else leaf @ layer.weight.T
    out.backward(drive)
    assert torch.allclose(down, leaf.grad, atol=1e-5)
    assert torch.allclose(up, out.detach() + layer.bias.view(-1, *(1,) * (up.dim() - 2)), atol=1e-5)
    assert layer.circuit.ledger.total(op="adc").count > before


def test_its_noise_is_that_of_the_cells_passed(hosted) -> None:
    net, _ = hosted(spec=ChipSpec(pairs=1, dac_bits=0, adc_bits=0))
    layer = net[1]
    read = TransposedRead(layer, nn.Sequential(layer))
    state = torch.zeros(400, 16)
    drive = torch.randn(1, 12, generator=torch.Generator().manual_seed(7)).expand(400, 12)
    with silent([layer]):
        _, down = read(state, drive)
    (tile,) = layer.tiles
    weight, variance = tile.view(0.0)
    assert torch.allclose(down.mean(0), drive[0] @ weight, atol=0.05)
    expected = (drive[0].square() @ variance).sqrt()
    assert torch.allclose(down.std(0), expected, rtol=0.2)
    assert float(expected.min()) > 0
    net, chip = hosted(spec=ChipSpec(pairs=1, dac_bits=0, adc_bits=0))
    chip.noise(False)  # negative control
    with silent([net[1]]):
        _, quiet = TransposedRead(net[1], nn.Sequential(net[1]))(state, drive)
    assert float(quiet.std(0).max()) < 1e-6


@pytest.mark.parametrize(
    ("leaf", "shape"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (3, 4, 9, 7)),
        (nn.Conv1d(4, 6, 3, stride=3, dilation=2, padding=2), (3, 4, 14)),
        (nn.Conv2d(4, 6, 2, padding="same", groups=2), (3, 4, 5, 6)),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (3, 4, 5, 6)),
        (nn.Conv1d(4, 6, 3, padding=2, padding_mode="circular"), (3, 4, 8)),
        (nn.Linear(7, 5), (3, 7)),
    ],
)
def test_every_cell_passed_adds_its_variance(leaf, shape) -> None:
    net = nn.Sequential(leaf)
    host(net, assign=lambda name, one: "plastic", seed=1, spec=ChipSpec(pairs=1))
    (layer,) = net
    sent = torch.randn(layer(torch.randn(shape)).shape).square()
    read, at = TransposedRead(layer, net), torch.zeros(shape).requires_grad_()
    # Noise of a product of independent cells: the squares go back through the variances.
    product = layer.product(layer.padded(at), layer.packed(read._spread()))
    (wanted,) = torch.autograd.grad(product, at, sent.view_as(product))
    found = read._power(sent, torch.Size(shape))
    assert float(wanted.min()) >= 0 < float(wanted.max())
    assert torch.allclose(found, wanted, rtol=1e-4)
    # Negative control: a wrong square is found out.
    assert not torch.allclose(read._power(sent.sqrt(), torch.Size(shape)), wanted, rtol=1e-4)


def test_layers_that_are_padded_digitally_relax_as_well() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 2, padding="same"), nn.ReLU(),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Flatten(), nn.Linear(100, 4),
    )  # fmt: skip
    chip = host(net, assign=lambda name, one: "plastic", seed=1, spec=ChipSpec(pairs=1))
    method = Equilibrium(net, chip, relaxation=Relaxation(free=3, nudged=2))
    optimizer = method.optimizer(lr=0.1, rule=PulseRule(mode="stochastic"))
    optimizer.zero_grad()
    assert method.teach(torch.rand(4, 1, 5, 5), torch.arange(4)).isfinite()
    optimizer.step()
    assert chip.ledger.total(op="pulse").count > 0


def test_relaxing_leaves_nothing_for_pulses(hosted, batch) -> None:
    net, chip = hosted()
    x, y = batch()
    method = Equilibrium(net, chip, relaxation=Relaxation(free=3, nudged=2))
    method.optimizer(lr=0.1, rule=PulseRule(mode="stochastic"))
    method.predict(x)
    assert all(layer.capture == [] for layer in method.taught)
    method.teach(x, y)
    # One product for the first block, two for the second, one for the last.
    assert [len(layer.capture) for layer in method.taught] == [1, 2, 1]
    assert all(layer.weight.requires_grad for layer in method.taught)


def test_what_has_no_place_in_an_energy_is_refused(hosted) -> None:
    net, chip = hosted()
    with pytest.raises(ConfigError, match="a nudge is above 0"):
        Equilibrium(net, chip, relaxation=Relaxation(beta=0.0))
    net.insert(3, nn.BatchNorm1d(12))
    with pytest.raises(ConfigError, match="BatchNorm1d"):
        Equilibrium(net, chip)
