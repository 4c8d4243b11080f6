"""Small stacks on ideal tiles, and the same stacks in plain torch."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from clnf.chip import ChipSpec, host, ideal_chip
from clnf.chip.hosting import Chip
from clnf.devices.materials import material

Hosted = Callable[..., tuple[nn.Sequential, Chip]]


def stack(kind: str) -> nn.Sequential:
    torch.manual_seed(3)
    if kind == "conv":
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(6 * 2, 5),
        )  # fmt: skip
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 5)
    )


@pytest.fixture
def hosted() -> Hosted:
    def make(kind: str = "mlp", spec: ChipSpec | None = None) -> tuple[nn.Sequential, Chip]:
        net = stack(kind)
        if spec is None:
            cells = material("ecram_li").supply(step=2e-3, slope_up=0.0, slope_down=0.0)
            spec = replace(ideal_chip(), plastic=cells, pairs=1)
        return net, host(net, assign=lambda name, leaf: "plastic", seed=5, spec=spec)

    return make


@pytest.fixture
def batch() -> Callable[[str], tuple[Tensor, Tensor]]:
    def make(kind: str = "mlp") -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(1)
        shape = (8, 1, 8, 10) if kind == "conv" else (8, 4, 4)
        return torch.rand(shape, generator=rng), torch.randint(0, 5, (8,), generator=rng)

    return make


@pytest.fixture
def twin() -> Callable[[nn.Sequential], nn.Sequential]:
    """Plain torch with what the cells of a hosted stack read now."""

    def make(net: nn.Sequential) -> nn.Sequential:
        plain = stack("conv" if isinstance(net[1], nn.ReLU) else "mlp")
        for own, there in zip(plain, net, strict=True):
            if list(own.parameters()):
                own.weight.data.copy_(there.weight.data)
                own.bias.data.copy_(there.bias.data)
        return copy.deepcopy(plain)

    return make
