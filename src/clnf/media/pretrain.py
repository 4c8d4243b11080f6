"""Teaching a network its core knowledge on an ordinary computer, before it meets a chip."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.protocols import Learnable
from clnf.core.records import Batch
from clnf.core.rng import numpy_rng, torch_rng
from clnf.core.units import quantity

__all__ = ["PretrainPlan", "above_zero", "pretrain", "shifted"]


def above_zero(record: Any, *names: str) -> None:
    """Refuse fields of a record that are not above 0 and finite.

    Raises:
        ConfigError: names the first such field and its value.
    """
    for name in names:
        value = getattr(record, name)
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name} must be above 0, got {value}")


@final
@dataclass(frozen=True, kw_only=True)
class PretrainPlan:
    """How long and how fast to train; AdamW with warm-up, cosine decay and an EMA."""

    steps: int = quantity("1", 6000)
    batch: int = quantity("1", 64)
    lr: float = quantity("1", 1.5e-3)
    warmup: int = quantity("1", 200)
    weight_decay: float = quantity("1", 0.01)
    ema: float = quantity("1", 0.999)
    shift: int = quantity("1", 2)
    bf16: bool = True

    def __post_init__(self) -> None:
        above_zero(self, "steps", "batch", "lr", "warmup")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise ConfigError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError(f"ema must be at least 0 and below 1, got {self.ema}")
        if not 0 <= self.shift <= 32:
            raise ConfigError(f"shift must be 0 to 32 pixels, got {self.shift}")

    def lr_at(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then a half cosine down to 2 %."""
        warm = min(1.0, (step + 1) / self.warmup)
        progress = torch.tensor(step / self.steps * torch.pi)
        return self.lr * warm * (0.02 + 0.98 * 0.5 * (1 + float(progress.cos())))


def shifted(x: Tensor, reach: int, rng: torch.Generator) -> Tensor:
    """Move each picture by up to ``reach`` pixels each way, white coming in.

    Args:
        x: pictures in [-1, 1], [B, C, H, W].
        reach: largest shift in pixels.
        rng: draws the shifts.

    Returns:
        Shape of x.
    """
    if reach == 0:
        return x
    b, _, h, w = x.shape
    wide = nn.functional.pad(x, (reach,) * 4, value=1.0)
    dy, dx = torch.randint(0, 2 * reach + 1, (2, b, 1, 1), generator=rng)
    rows = (torch.arange(h)[None, :, None] + dy)[:, None]
    columns = (torch.arange(w)[None, None, :] + dx)[:, None]
    at = torch.arange(b)[:, None, None, None], torch.arange(x.shape[1])[None, :, None, None]
    return wide[at[0], at[1], rows, columns]


def pretrain(
    model: nn.Module, images: Tensor, cond: Tensor, plan: PretrainPlan, seed: int
) -> Iterator[tuple[int, float, nn.Module]]:
    """Train a Learnable on pictures held in memory.

    Each class is drawn in proportion to the square root of its size, so that 259 flags do not
    drown 24 clocks.

    Args:
        model: a Learnable module, trained in place.
        images: uint8 [N, H, W, C].
        cond: class of each image, int64 [N].
        plan: lengths and rates.
        seed: every draw depends on (seed, step) only.

    Yields:
        (step, loss, averaged model) after each step; keep the averaged model.
    """
    assert isinstance(model, Learnable)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.ema)
    )
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=plan.lr,
        betas=(0.9, 0.99),
        weight_decay=plan.weight_decay,
        fused=True,
    )
    rarity = (1.0 / torch.bincount(cond)[cond].float().sqrt()).double()
    chance = (rarity / rarity.sum()).numpy()
    for step in range(plan.steps):
        picks = torch.from_numpy(
            numpy_rng(seed, "pretrain", "pick", step).choice(len(images), plan.batch, p=chance)
        )
        rng = torch_rng(seed, "pretrain", "draw", step)
        x = images[picks].permute(0, 3, 1, 2).float() / 127.5 - 1.0
        batch = Batch.of(shifted(x, plan.shift, rng), cond[picks])
        for group in optimizer.param_groups:
            group["lr"] = plan.lr_at(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
            loss = model.loss(batch, rng).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)
        yield step, float(loss.detach()), average.module
