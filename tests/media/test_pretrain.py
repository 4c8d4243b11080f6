"""Pretraining learns, repeatably."""

import torch

from clnf.core.rng import torch_rng
from clnf.media.flow import FlowModel
from clnf.media.pretrain import PretrainPlan, pretrain, shifted
from clnf.media.unet import UNet, UNetParams


def run(steps: int) -> tuple[list[float], torch.Tensor]:
    torch.manual_seed(0)
    model = FlowModel(UNet(UNetParams(width=8, embedding=16)))
    images = torch.full((8, 32, 32, 3), 200, dtype=torch.uint8)
    images[4:, :16] = 20
    cond = torch.tensor([1] * 4 + [2] * 4)
    plan = PretrainPlan(steps=steps, batch=8, warmup=2, bf16=False)
    losses = [loss for _, loss, _ in pretrain(model, images, cond, plan, 5)]
    return losses, model.net.leave.weight.detach().clone()


def test_loss_falls_and_a_second_run_is_bit_identical() -> None:
    losses, weight = run(80)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    again, same = run(80)
    assert losses == again
    assert torch.equal(weight, same)


def test_shifts_move_whole_pictures_and_bring_in_white() -> None:
    x = -torch.ones(64, 3, 8, 8)
    moved = shifted(x, 2, torch_rng(0, "s"))
    white = (moved == 1.0).float().mean((1, 2, 3))
    assert float(white.max()) > 0.3
    assert float(white.min()) == 0.0
    assert set(moved.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(shifted(x, 0, torch_rng(0, "s")), x)
