"""Small networks with linear and convolution layers, and adapters that have learned something."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clnf.continual.adapters import adapter_parameters


@pytest.fixture
def net() -> Callable[[], nn.Sequential]:
    """Builds a network of plain layers, the same one each time."""

    def build() -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, stride=2),
                nn.ReLU(),
                nn.Conv2d(8, 6, 1, bias=False),
                nn.Flatten(),
                nn.Linear(96, 10),
            )

    return build


@pytest.fixture
def images() -> Tensor:
    """Five pictures."""
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def stir() -> Callable[..., None]:
    """Gives adapters values, as learning would; others by another seed."""

    def write(module: nn.Module, seed: int = 1, *, only: str = "") -> None:
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in adapter_parameters(module).items():
                if only in name:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))

    return write
