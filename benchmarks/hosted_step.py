"""Cost of hosting: forward, backward and pulsed step of the denoiser against the digital step.

Both arms train the same low-rank adapters of the same U-Net on the same batch; the reference is
plain torch with Adam. Rounds of both arms alternate, so a busy machine slows both.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from clnf.chip.hosting import host
from clnf.chip.spec import ChipSpec
from clnf.continual.adapters import attach
from clnf.core.records import Batch
from clnf.core.rng import torch_rng
from clnf.media.flow import FlowModel
from clnf.media.unet import UNet, UNetParams

BATCH, RANK, ROUNDS = 64, 8, 7


def build() -> FlowModel:
    """The denoiser with low-rank adapters on all its leaves."""
    torch.manual_seed(0)
    model = FlowModel(UNet(UNetParams()))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    attach(model.net, rank=RANK, only=lambda name, leaf: isinstance(leaf, nn.Conv2d))
    return model


def stepper(model: FlowModel, optimizer: torch.optim.Optimizer) -> Callable[[], float]:
    """A function that makes one training step and returns its wall time."""
    batch = Batch.of(torch.randn(BATCH, 3, 32, 32).clamp(-1, 1), 1)

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        model.loss(batch, torch_rng(0, "step")).mean().backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def core_or_plastic(name: str, leaf: nn.Module) -> str:
    """Adapters learn, everything else is stored."""
    return "plastic" if name.endswith((".down", ".up")) and "base" not in name else "core"


def main() -> None:
    digital = build()
    reference = stepper(
        digital, torch.optim.Adam([p for p in digital.parameters() if p.requires_grad])
    )
    arms: dict[str, Callable[[], float]] = {"digital": reference}
    for noise in ("separable", "exact"):
        model = build()
        chip = host(model, assign=core_or_plastic, seed=1, spec=ChipSpec(read_noise=noise))
        chip.program_core()
        arms[noise] = stepper(model, chip.optimizer(model.parameters(), lr=1e-3))
    times: dict[str, list[float]] = {name: [] for name in arms}
    for step in arms.values():
        step()
    for _ in range(ROUNDS):
        for name, step in arms.items():
            times[name].append(step())
    base = statistics.median(times["digital"])
    for name, values in times.items():
        median = statistics.median(values)
        print(json.dumps({
            "benchmark": "hosted_step", "arm": name, "batch": BATCH, "rank": RANK,
            "weights": sum(p.numel() for p in digital.parameters()),
            "step_s": round(median, 4), "ratio_to_digital": round(median / base, 3),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
