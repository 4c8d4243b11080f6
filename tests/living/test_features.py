"""A lesson for one concept leaves what all other concepts draw the same, bit for bit."""

from functools import partial

import pytest
import torch
from torch import Tensor

from clnf.chip import ChipSpec, host
from clnf.chip.groups import answers, compared
from clnf.core.errors import ConfigError
from clnf.core.records import Batch
from clnf.living.features import Features, feature_row
from clnf.living.rows import OwnRow
from clnf.media.flow import FlowModel, last, noise_for
from clnf.media.unet import UNet, UNetParams


def generator() -> FlowModel:
    torch.manual_seed(0)
    net = UNet(UNetParams(width=8, embedding=16, concepts=8, multipliers=(1, 2)))
    for parameter in net.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape))
    return FlowModel(net).requires_grad_(False)


@pytest.mark.parametrize("gated", [True, False])
def test_other_concepts_draw_the_same(gated: bool) -> None:
    engine = generator()
    features = Features(engine, 3, rank=2, only=lambda name, leaf: "conv" in name)
    chip = host(
        engine,
        assign=lambda name, leaf: "plastic" if ".of." in name else "core",
        seed=1,
        spec=ChipSpec(pairs=1),
    )
    chip.program_core()
    engine.net.concept.requires_grad_(True)
    groups = features.gates(chip, engine)
    features.load_state_dict({"taught": [1, 2, 3], "open": 0})
    assert groups.names == ("concept1", "concept2", "concept3")

    def draw(row: int) -> Tensor:
        noise = noise_for([row], (3, 16, 16))
        at = torch.full((1,), row)
        return last(engine.sample(at, noise=noise, steps=2, guidance=2.0))

    ask = {str(row): partial(draw, row) for row in range(5)}
    for one in ask.values():
        one()
    before = answers(chip, ask)
    optimizer, own = chip.optimizer(engine.parameters(), lr=0.3), OwnRow(engine.net.concept)
    own._known = [0, 1, 3, 4]
    if gated:
        groups.open(features.group(2))
    batch = Batch.of(torch.randn(8, 3, 16, 16), torch.arange(8) % 4 + 1)
    own.mix(batch, torch.Generator())
    for step in range(3):  # a quarter is of the concept taught, the rest rehearses
        optimizer.zero_grad()
        engine.loss(batch, torch.Generator().manual_seed(step)).mean().backward()
        own.constrain(0.0)
        optimizer.step()
    groups.close()
    changes = compared(before, answers(chip, ask))
    assert changes["2"].largest > 1e-3
    assert all(changes[row].identical for row in "04")  # no adapters: stored tiles alone
    assert all(changes[row].identical is gated for row in "13")


def test_rows_and_groups() -> None:
    features = Features(generator(), 3, rank=1, only=lambda name, leaf: name.endswith("conv1"))
    assert feature_row(features.group(3)) == 3
    for row in (0, 4):
        with pytest.raises(ConfigError, match="no adapters of its own"):
            features.group(row)
    for rows in (0, 8):
        with pytest.raises(ConfigError, match="1 to 7 concepts"):
            Features(generator(), rows, rank=1)
