"""A small chip that has worked, on a plan."""

import pytest
import torch
from torch import nn

from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.devices.materials import Material, material


def warm_cells() -> Material:
    return material("gst_pcm").supply(
        conductance_temperature_coefficient=0.002, read_voltage_v=0.2,
        retention_temperature_k=358.15, retention_activation=2.4e-19,
    )  # fmt: skip


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 16)).requires_grad_(False)


@pytest.fixture
def chip(net: nn.Module) -> Chip:
    spec = ChipSpec(core=warm_cells(), tile_rows=48, tile_columns=32)
    made = host(net, assign=lambda name, leaf: "core", seed=3, spec=spec)
    made.program_core()
    made.ledger.lesson = "draw"
    net(torch.randn(50, 96))
    return made
