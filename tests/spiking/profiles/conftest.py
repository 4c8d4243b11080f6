"""Nets drawn at random that a chip can count, and events for them."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clnf.spiking import (
    IF,
    LI,
    LIF,
    Convolution,
    CubaLI,
    CubaLIF,
    EventLinear,
    Neurons,
    Readout,
    SpikingConv2d,
    SpikingLinear,
)
from clnf.spiking.cells import AbstractCell
from clnf.spiking.chain import Chain

DT_S = 1e-3


def cell_of(kind: str, rng: torch.Generator, reset_v: float | None) -> AbstractCell:
    a, b = (0.005 + 0.02 * torch.rand(2, generator=rng)).tolist()
    if kind == "IF":
        return IF(threshold_v=0.7, reset_v=reset_v)
    if kind == "LIF":
        return LIF(tau_s=a, leak_v=0.05, reset_v=reset_v)
    return CubaLIF(tau_s=a, synapse_tau_s=b / 2, gain=4.0, reset_v=reset_v)


def matrices(kinds: list[str], seed: int, reset_v: float | None, readout: str = "") -> nn.Module:
    """Layers of matrices, the first recurrent, with a read-out behind them or none."""
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.randint(4, 16, (len(kinds) + 1,), generator=rng).tolist()
    parts: list[nn.Module] = []
    for n, kind in enumerate(kinds):
        cell = cell_of(kind, rng, reset_v)
        pair = (sizes[n], sizes[n + 1])
        layer = SpikingLinear(pair, cell, dt_s=DT_S, recurrent=n == 0 and seed % 2 == 0, seed=seed)
        layer.weight.data *= 4
        parts.append(layer)
    if readout:
        last = CubaLI() if readout == "CubaLI" else LI(tau_s=15e-3)
        parts += [EventLinear(sizes[-1], 3, seed=seed), Readout(last, dt_s=DT_S)]
    return Chain(*parts)


def pictures(seed: int) -> nn.Module:
    """Convolutions with strides and padding, pooling, and a matrix with a bias."""
    rng = torch.Generator().manual_seed(seed)
    stride, padding = torch.randint(1, 3, (2,), generator=rng).tolist()
    how = Convolution(stride=(stride, 1), padding=(padding, 1))
    first = SpikingConv2d((2, 4), 3, IF(threshold_v=0.4), dt_s=DT_S, how=how, seed=seed)
    rows = (12 + 2 * padding - 3) // stride + 1
    second = SpikingConv2d((4, 3), 2, IF(threshold_v=0.3), dt_s=DT_S, seed=seed)
    size = 3 * (rows // 2 - 1) * 2
    third = EventLinear(size, 5, bias=True, seed=seed)
    assert third.bias is not None
    third.bias.data += 0.02
    pool = nn.AvgPool3d((1, 2, 2))
    return Chain(first, pool, second, nn.Flatten(2), third, Neurons(IF(), dt_s=DT_S))


def events(*shape: int, seed: int, most: int = 1) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    seen = torch.rand(shape, generator=rng) < 0.25
    return (seen * torch.randint(1, most + 1, shape, generator=rng)).float()


def inputs_of(net: nn.Module) -> int:
    return int(next(net.parameters()).shape[1])


@pytest.fixture
def nets() -> SimpleNamespace:
    """All of these, for the tests beside this file."""
    made = (matrices, pictures, events, inputs_of)
    return SimpleNamespace(**{one.__name__: one for one in made})
