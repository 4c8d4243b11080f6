"""Convolutions of events are those of torch, both ways and for weights."""

import pytest
import torch
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from clnf.core.errors import ConfigError, ShapeError
from clnf.spiking.convolution import maps
from clnf.spiking.convolution.maps import Convolution, pair
from clnf.spiking.events.maps import Kept

CASES = [
    (Convolution(), (3, 3), (1, 4)),
    (Convolution(padding=(1, 1)), (3, 3), (2, 20)),
    (Convolution(stride=(2, 1), padding=(1, 2)), (3, 2), (3, 5)),
    (Convolution(dilation=(2, 1), padding=(2, 0)), (2, 3), (4, 33)),
    (Convolution(stride=(3, 2), padding=(4, 3)), (1, 5), (2, 16)),
]


def pictures(channels: int, share: float) -> Tensor:
    rng = torch.Generator().manual_seed(channels)
    values = torch.randn(6, 3, channels, 9, 8, generator=rng)
    return values * (torch.rand(values.shape, generator=rng) < share)


@pytest.mark.parametrize(("way", "kernel", "channels"), CASES)
@pytest.mark.parametrize("busy", [1.0, -1.0])
def test_all_three_products_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch,
    way: Convolution,
    kernel: tuple[int, int],
    channels: tuple[int, int],
    busy: float,
) -> None:
    monkeypatch.setattr(maps, "BUSY", busy)
    x = pictures(channels[0], 0.1)
    weight = torch.randn(channels[1], channels[0], *kernel)
    out = torch.empty(way.shape(x.shape, weight.shape))
    kept = way.forward(x, weight, out)
    assert (kept.events is None) == (busy < 0)
    double = (x.double(), weight.double())
    torch.testing.assert_close(out.double(), way.plain(*double, None), atol=1e-5, rtol=1e-5)
    g = torch.randn(out.shape)
    rows, given = x.flatten(0, 1).double(), g.flatten(0, 1).double()
    how = (way.stride, way.padding, way.dilation)
    found = way.weights(kept, g, weight)
    wanted = conv2d_weight(rows, weight.shape, given, *how)
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-5)
    e = g * (torch.rand(g.shape) < 0.1)
    back = way.back(e, weight, x.shape)
    wanted = conv2d_input(rows.shape, weight.double(), e.flatten(0, 1).double(), *how)
    torch.testing.assert_close(back.flatten(0, 1).double(), wanted, atol=1e-5, rtol=1e-5)


def test_another_dilation_is_seen() -> None:
    x, weight = pictures(2, 0.05), torch.randn(4, 2, 3, 3)
    way, other = Convolution(padding=(1, 1)), Convolution(padding=(1, 1), stride=(1, 1))
    out = torch.empty(way.shape(x.shape, weight.shape))
    kept = way.forward(x, weight, out)
    assert torch.equal(other.weights(kept, out, weight), way.weights(kept, out, weight))
    moved = Convolution(padding=(1, 1), dilation=(1, 2)).weights(kept, out, weight)
    assert not torch.allclose(moved, way.weights(kept, out, weight))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x, weight, way = pictures(3, 0.05), torch.randn(40, 3, 3, 3), Convolution()

    def run() -> list[Tensor]:
        out = torch.empty(way.shape(x.shape, weight.shape))
        kept = way.forward(x, weight, out)
        assert isinstance(kept, Kept)
        e = out * (out > 2.5)
        return [out, way.weights(kept, out, weight), way.back(e, weight, x.shape)]

    torch.set_num_threads(1)
    one = run()
    torch.set_num_threads(3)
    assert all(torch.equal(a, b) for a, b in zip(one, run(), strict=True))


def test_what_does_not_fit_is_refused() -> None:
    weight = torch.Size((4, 2, 3, 3))
    with pytest.raises(ShapeError, match="2 channels"):
        Convolution().shape(torch.Size((5, 1, 3, 9, 9)), weight)
    with pytest.raises(ShapeError, match="steps, samples, channels"):
        Convolution().shape(torch.Size((5, 2, 9, 9)), weight)
    with pytest.raises(ShapeError, match="smaller than the kernel"):
        Convolution().shape(torch.Size((5, 1, 2, 2, 9)), weight)
    with pytest.raises(ConfigError, match="whole number or two"):
        pair("kernel", (1, 2, 3), 1)
    with pytest.raises(ConfigError, match="kernel must be"):
        pair("kernel", 0, 1)
