"""Layers on tiles: exact when everything is off, honest about noise when it is on."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip.analog import AbstractAnalog
from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec, ideal_chip
from clnf.core.errors import DeviceLimitError, ShapeError

LINEAR = nn.Linear(150, 70)
CONVS = [
    nn.Conv2d(20, 40, 3, padding=1),
    nn.Conv2d(20, 9, 1, bias=False),
    nn.Conv2d(7, 40, 3, stride=2, padding=1),
    nn.Conv2d(8, 5, 3, padding=2, dilation=2),
    nn.Conv2d(8, 5, (3, 5), padding=(1, 0)),
    nn.Conv2d(8, 5, 5, stride=(1, 2)),
]


def hosted(
    leaf: nn.Module, kind: Literal["core", "plastic"], **spec: Any
) -> tuple[AbstractAnalog, Chip]:
    module = nn.Sequential(leaf)
    chip = host(module, assign=lambda name, leaf: kind, seed=5, spec=ChipSpec(**spec))
    if kind == "core":
        chip.program_core()
    layer = module[0]
    assert isinstance(layer, AbstractAnalog)
    return layer, chip


def ideal(leaf: nn.Module, kind: Literal["core", "plastic"]) -> tuple[AbstractAnalog, Chip]:
    base = ideal_chip()
    fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
    return hosted(leaf, kind, **(fields | {"tile_rows": 64, "tile_columns": 32}))


def dense(leaf: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(leaf, nn.Linear):
        return F.linear(x, weight, leaf.bias)
    assert isinstance(leaf, nn.Conv2d)
    return F.conv2d(x, weight, leaf.bias, leaf.stride, leaf.padding, leaf.dilation)


def inputs(leaf: nn.Module) -> Tensor:
    rng = torch.Generator().manual_seed(8)
    if isinstance(leaf, nn.Linear):
        return torch.randn(3, 4, leaf.in_features, generator=rng)
    assert isinstance(leaf, nn.Conv2d)
    return torch.randn(3, leaf.in_channels, 9, 11, generator=rng)


@pytest.mark.parametrize("kind", ["core", "plastic"])
@pytest.mark.parametrize("leaf", [LINEAR, *CONVS], ids=str)
def test_with_everything_off_a_tile_is_the_dense_product(
    leaf: nn.Module, kind: Literal["core", "plastic"]
) -> None:
    layer, chip = ideal(leaf, kind)
    assert len(chip.tiles) > 1 or layer.weight.numel() < 2048
    x = inputs(leaf).requires_grad_()
    weight = layer.weight.detach().clone().requires_grad_()
    twin = x.detach().clone().requires_grad_()
    out, expected = layer(x), dense(leaf, twin, weight)
    scale = float(expected.detach().abs().max())
    assert float((out - expected).detach().abs().max()) < 1e-6 * max(scale, 1)
    if kind == "core":
        assert isinstance(leaf, (nn.Linear, nn.Conv2d))
        assert torch.allclose(layer.weight, leaf.weight, atol=1e-6)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(grad)
    expected.backward(grad)
    assert x.grad is not None
    assert twin.grad is not None
    assert torch.allclose(x.grad, twin.grad, atol=1e-5)
    if kind == "plastic":
        assert layer.weight.grad is not None
        assert weight.grad is not None
        assert torch.allclose(layer.weight.grad, weight.grad, atol=1e-4)
    else:
        assert layer.weight.grad is None


def test_the_same_tile_with_physics_on_is_not_the_dense_product() -> None:
    """Control of the test above: quantisation and noise are really there."""
    layer, _ = hosted(LINEAR, "core")
    x = inputs(LINEAR)
    error = (layer(x) - F.linear(x, layer.weight, layer.bias)).detach()
    level = F.linear(x, layer.weight).detach().std()
    assert 1e-3 < float(error.std() / level) < 0.3


@pytest.mark.parametrize("leaf", [LINEAR, CONVS[0], CONVS[2]], ids=str)
def test_exact_read_noise_has_the_summed_variance(leaf: nn.Module) -> None:
    layer, chip = hosted(leaf, "core", read_noise="exact", dac_bits=0, adc_bits=0)
    x = inputs(leaf)
    with torch.no_grad():
        reads = torch.stack([layer(x) for _ in range(400)]).double()
    variance = torch.zeros(layer.weight.flatten(1).shape)
    for tile in layer.tiles:
        variance[tile.columns, tile.rows] = tile.view(chip.clock_s)[1]
    bias, leaf_bias = torch.zeros(len(variance)), leaf.bias
    leaf.bias = nn.Parameter(bias)
    expected = dense(leaf, x.square(), variance.view(layer.weight.shape)).detach().double()
    leaf.bias = leaf_bias
    ratio = reads.var(0) / expected
    error = (2 / 400 / ratio.numel()) ** 0.5
    assert abs(float(ratio.mean()) - 1) < 5 * error
    ideal_out = dense(leaf, x, layer.weight.detach()).detach().double()
    z = (reads.mean(0) - ideal_out) / (expected / 400).sqrt()
    assert abs(float(z.mean())) < 5 * z.numel() ** -0.5


@pytest.mark.parametrize("leaf", [LINEAR, CONVS[0]], ids=str)
def test_separable_read_noise_stays_close_to_the_exact_one(leaf: nn.Module) -> None:
    """Measured bound of the approximation: spread per output within 15 %, on average 3 %."""
    x = inputs(leaf)
    spreads = []
    for mode in ("exact", "separable"):
        layer, _ = hosted(leaf, "core", read_noise=mode, dac_bits=0, adc_bits=0)
        with torch.no_grad():
            spreads.append(torch.stack([layer(x) for _ in range(300)]).double().std(0))
    ratio = spreads[1] / spreads[0]
    sampling = (2 / 300) ** 0.5 / 2**0.5
    assert abs(float(ratio.mean()) - 1) < 0.03
    assert float(ratio.std()) < (0.15**2 + sampling**2) ** 0.5


def test_reads_are_new_each_time_and_repeat_with_the_seed() -> None:
    x = inputs(LINEAR)
    outs = []
    for _ in range(2):
        layer, _ = hosted(LINEAR, "core")
        outs.append([layer(x).detach() for _ in range(2)])
    assert torch.equal(outs[0][0], outs[1][0])
    assert torch.equal(outs[0][1], outs[1][1])
    assert not torch.equal(outs[0][0], outs[0][1])


def test_training_and_evaluation_read_alike() -> None:
    x, outs = inputs(LINEAR), []
    for training in (True, False):
        layer, _ = hosted(LINEAR, "plastic")
        layer.train(training)
        with torch.set_grad_enabled(training):
            outs.append(layer(x).detach())
    assert torch.equal(outs[0], outs[1])


def test_plain_torch_path_agrees_with_the_kernels() -> None:
    x = inputs(CONVS[0])
    outs = [hosted(CONVS[0], "core", kernels=k)[0](x).detach() for k in (True, False)]
    assert torch.allclose(outs[0], outs[1], atol=1e-5)


def test_bfloat16_products_stay_within_half_a_converter_step() -> None:
    x = inputs(CONVS[0])
    quiet = {"read_noise": "off", "adc_bits": 0}
    a, b = (
        hosted(CONVS[0], "core", compute=c, **quiet)[0](x).detach() for c in ("float32", "bfloat16")
    )
    step = float(a.abs().max()) / 127
    assert 0 < float((a - b).abs().max()) < step
    assert float((a - b).std()) < step / 4


def test_autocast_does_not_reach_into_the_tile() -> None:
    x = inputs(CONVS[0])
    layer, _ = ideal(CONVS[0], "core")
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.float32
    assert torch.allclose(out, dense(CONVS[0], x, layer.weight), atol=1e-5)


def test_wrong_use_is_refused_in_one_sentence() -> None:
    layer, _ = hosted(CONVS[0], "core")
    with pytest.raises(ShapeError, match=r"takes \[B, 20, H, W\]"):
        layer(torch.zeros(1, 3, 8, 8))
    layer, _ = hosted(LINEAR, "plastic")
    with pytest.raises(ShapeError, match="takes 150 features"):
        layer(torch.zeros(1, 3))
    module = nn.Sequential(nn.Linear(3, 3))
    host(module, assign=lambda n, m: "core", seed=1, spec=ChipSpec())
    with pytest.raises(DeviceLimitError, match="program_core"):
        module(torch.zeros(1, 3))


def test_a_simple_linear_layer_is_read_to_the_bits_of_any_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two runs of rows, ranges still widening; the control reads once more."""
    found: list[list[Tensor]] = []
    for simple in (True, False, True):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(600, 20), nn.ReLU(), nn.Linear(20, 5, bias=False))
        chip = host(net, assign=lambda name, leaf: "plastic", seed=1, spec=ChipSpec())
        layers: list[Any] = list(chip.layers.values())
        if not simple:
            for layer in layers:
                monkeypatch.setattr(layer, "_simple", False)
        if len(found) == 2:
            net(torch.randn(2, 3, 600))
        seen = []
        for step in range(4):
            x = (torch.randn(2, 3, 600) * (1 + step)).requires_grad_()
            y = net(x)
            y.sum().backward()
            assert x.grad is not None
            seen += [y.detach(), x.grad]
            assert bool(layers[0]._at_hand()) == simple
        found.append(seen)
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][0], found[2][0])
