"""One pass over the cells gives what reading tile by tile gives."""

import pytest
import torch
from torch import nn

from clnf.chip import ChipSpec, PulseRule, host
from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip
from clnf.chip.updates.fast import _lines, read_lines


def layer_of(rows: int, columns: int, **spec: object) -> tuple[AbstractAnalog, Chip, nn.Module]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(rows, columns))
    whole = {"plastic": "hfo2_array_optimised"} | spec
    made = ChipSpec(**whole)  # type: ignore[arg-type]
    chip = host(net, assign=lambda n, m: "plastic", seed=2, spec=made)
    return next(iter(chip.layers.values())), chip, net


@pytest.mark.parametrize("size", [(784, 40), (37, 19), (600, 530)])
@pytest.mark.parametrize("pairs", [1, 3])
def test_one_pass_reads_what_tiles_read(size: tuple[int, int], pairs: int) -> None:
    layer, _, _ = layer_of(*size, pairs=pairs)
    for tile in layer.tiles:
        tile.pulse(torch.ones(tile.shape))
        tile.scale.mul_(torch.rand(tile.shape[0]) + 0.5)
    assert layer._reads_at_once()
    layer.refresh()
    weight, parts = layer.weight.detach().clone(), [part for (part,) in layer._parts]
    parts = [p._replace(weight=p.weight.clone(), power_GC=p.power_GC.clone()) for p in parts]
    sigmas = [part.columns.sigma.clone() for part in parts]
    layer._read_by_tile()
    assert torch.equal(weight, layer.weight)
    for mine, sigma, (other,) in zip(parts, sigmas, layer._parts, strict=True):
        assert torch.equal(mine.weight, other.weight)
        assert torch.equal(mine.columns.scale, other.columns.scale)
        # Sums are taken in another order.
        torch.testing.assert_close(mine.power_GC, other.power_GC, rtol=2e-6, atol=0.0)
        torch.testing.assert_close(sigma, other.columns.sigma, rtol=2e-6, atol=0.0)
    layer.tiles[0].seen[0, 0] += 0.01
    layer.refresh()
    assert not torch.equal(weight, layer.weight)


def test_a_layer_made_anew_reads_as_one_that_went_on() -> None:
    layer, _, _ = layer_of(50, 20)
    layer.tiles[0].pulse(torch.ones(20, 50))
    layer.refresh()
    sigma = layer._parts[0][0].columns.sigma.clone()
    layer.load_state(layer.state())
    assert torch.equal(sigma, layer._parts[0][0].columns.sigma)


def test_cells_with_laws_of_their_own_are_read_by_tile() -> None:
    assert not layer_of(30, 20, read_noise="exact")[0]._reads_at_once()
    assert not layer_of(30, 20, kernels=False)[0]._reads_at_once()
    drifting = layer_of(30, 20, plastic="gst_pcm_training")[0]
    assert drifting._reads_at_once() == (not drifting.tiles[0].drifts)


@pytest.mark.parametrize("bits", [0, 6])
def test_rows_read_at_once_are_rows_read_apart(bits: int) -> None:
    make = ChipSpec(plastic="ecram_li").make(plastic=True)
    tile, slow = (
        Crossbar("t", slice(0, 90), slice(0, 20), 4, one)
        for one in (make, ChipSpec(plastic="ecram_li", kernels=False).make(plastic=True))
    )
    for one in (tile, slow):
        torch.manual_seed(3)
        one.seen.uniform_(-0.8, 0.8)
        one.scale.copy_(torch.linspace(0.5, 2.0, 20))
    lines = torch.arange(70, 110) % 90
    mine, theirs = (read_lines(one, lines, 0.0, adc_bits=bits) for one in (tile, slow))
    code = float(tile.scale.max()) / 31 if bits else 0.0
    away = (mine - theirs).abs()
    assert float(away.max()) <= 1e-6 + 1.01 * code
    assert float((away > 1e-6).float().mean()) < 0.01
    ideal, _ = _lines(tile, lines, 0.0)
    assert 0.0 < float((mine - ideal).abs().mean()) < 0.05
    other, _ = _lines(tile, lines.flip(0), 0.0)
    assert float((mine - other).abs().mean()) > 0.1


def test_outer_products_take_no_dense_gradient_in_training() -> None:
    layer, chip, net = layer_of(30, 20)
    optimizer = chip.optimizer(net.parameters(), lr=0.1, rule=PulseRule(mode="stochastic"))
    x = torch.rand(8, 30)
    net(x).square().sum().backward()
    assert layer.weight.grad is None
    assert len(layer.capture or ()) == 1
    # Dropped vectors pulse nothing; kept ones do.
    optimizer.zero_grad()
    before = chip.ledger.total(op="pulse").count
    optimizer.step()
    assert chip.ledger.total(op="pulse").count == before
    net(x).square().sum().backward()
    optimizer.step()
    assert chip.ledger.total(op="pulse").count > before
    # Those who measure gradients do so in evaluation mode.
    (measured,) = torch.autograd.grad(net.eval()(x).square().sum(), [layer.weight])
    assert measured.shape == layer.weight.shape
    assert float(measured.abs().max()) > 0.0
