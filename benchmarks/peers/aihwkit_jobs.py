"""What is measured of aihwkit, in a process of its own: ``python -P aihwkit_jobs.py JOB DATA``.

Prints one JSON object, the least time of each arm. Settings are those nearest to ours; where they
differ the job says so. Pulses need the peer's compiled part, which works with the torch it was
built for alone: with another one it reads tensors wrongly, so it is tried first. Reading and
programming are measured on its tiles of plain torch, which do not need it.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle, product
from statistics import median
from typing import Any

import numpy as np
import torch
from aihwkit.nn import AnalogLinear
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.optim import AnalogSGD
from aihwkit.simulator.configs import (
    BoundManagementType,
    BufferedTransferCompound,
    ConstantStepDevice,
    IOParameters,
    NoiseManagementType,
    SingleRPUConfig,
    SoftBoundsDevice,
    TorchInferenceRPUConfig,
    UnitCellRPUConfig,
    UpdateParameters,
)
from aihwkit.simulator.presets import (
    EcRamPresetDevice,
    ReRamArrayOMPresetDevice,
    TTv2ReRamSBPreset,
)
from aihwkit.simulator.rpu_base import tiles
from numpy.typing import NDArray
from torch import nn

Data = dict[str, NDArray[Any]]
Arms = dict[str, Callable[[], object]]
SIDE, RATE, DAY = 512, 0.05, 86_400.0


def spent(arms: Arms, rounds: int, clock: Callable[[], float]) -> list[list[float]]:
    """Times of each arm in ms; arms take turns, and the first turn does not count."""
    times: list[list[float]] = [[] for _ in arms]
    for turn in range(rounds + 1):
        for column, arm in zip(times, arms.values(), strict=True):
            start = clock()
            arm()
            if turn:
                column.append((clock() - start) * 1e3)
    return times


def least(arms: Arms, rounds: int, clock: Callable[[], float] = time.process_time) -> list[float]:
    """Least time of each arm in ms."""
    return [min(column) for column in spent(arms, rounds, clock)]


def layer(config: Any, side: int = SIDE) -> Any:
    """One tile without a bias."""
    torch.manual_seed(0)
    return AnalogLinear(side, side, bias=False, rpu_config=config)


def tile_of(analog: Any) -> Any:
    """The only tile of a layer."""
    return next(iter(analog.analog_tiles()))


def try_compiled() -> None:
    """Leave with a sentence if the compiled part does not keep the weights it is given."""
    cure = "; python benchmarks/peers/aihwkit.py build"
    tile, weights = tiles.FloatingPointTile(4, 3), torch.rand(3, 4)
    try:
        tile.set_weights(weights)
        kept = torch.equal(tile.get_weights(), weights)
    except RuntimeError as error:
        sys.exit(f"the compiled part does not work with torch {torch.__version__}: {error}{cure}")
    if not kept:
        sys.exit(f"the compiled part garbles tensors of torch {torch.__version__}{cure}")


def share_done(moved: torch.Tensor, wanted: torch.Tensor) -> float:
    """How much of a wanted change was made: the slope of the change on it, 1 where all of it."""
    return float((moved * wanted).sum() / (wanted * wanted).sum())


def pulsed_update(data: Data) -> dict[str, float]:
    """The same vectors as ours, and so many coincidences on average.

    A learning rate of BL times the mean step makes the chance of a bit |x|, as in ours. ``fixed``
    has trains of as many bits; ``managed``, the peer's default, makes them as short as each vector
    allows, here one bit, and has fewer events. The first update must move weights at zero by about
    -rate d x, so that nothing idle is timed: spread steps make more of it, narrow bounds less.
    """
    try_compiled()
    length, found = int(data["length"]), {}
    devices = {
        "constant": ConstantStepDevice(),
        "soft": SoftBoundsDevice(),
        "hfo2_array_optimised": ReRamArrayOMPresetDevice(),
    }
    for (name, device), managed in product(devices.items(), (False, True)):
        update = UpdateParameters(
            desired_bl=length, update_bl_management=managed, update_management=managed
        )
        for vectors in (int(n) for n in data["vectors"]):
            tile = tile_of(layer(SingleRPUConfig(device=device, update=update)))
            x, d = (torch.from_numpy(data[f"{key}_{vectors}"]) for key in "xd")
            rate = length * device.dw_min
            tile.set_learning_rate(rate)
            tile.tile.set_weights(torch.zeros(SIDE, SIDE))
            tile.update(x, d)
            share = share_done(tile.tile.get_weights(), -rate * d.T @ x)
            if not 0.3 < share < 1.7:
                sys.exit(f"an update of aihwkit makes {share:.2f} of the change that it should")
            arms: Arms = {"update": lambda t=tile, x=x, d=d: t.update(x, d)}
            kind = "managed" if managed else "fixed"
            found[f"{name}, {vectors}, {kind}"] = least(arms, int(data["rounds"]))[0]
    return found


def buffered() -> UnitCellRPUConfig:
    """Tiki-Taka v2 in its first form, on the cells of the preset below, a transfer every vector."""
    preset = TTv2ReRamSBPreset()
    device = BufferedTransferCompound(
        unit_cell_devices=preset.device.unit_cell_devices,
        transfer_forward=preset.device.transfer_forward,
        transfer_update=preset.device.transfer_update,
        transfer_every=1,
        units_in_mbatch=False,
        fast_lr=preset.device.fast_lr,
    )
    return UnitCellRPUConfig(
        device=device, forward=preset.forward, backward=preset.backward, update=preset.update
    )


def rules() -> dict[str, Any]:
    """Configurations that learn, by our names of material and rule; else the peer's defaults."""
    optimised = TTv2ReRamSBPreset()
    cells = [ReRamArrayOMPresetDevice(subtract_symmetry_point=True) for _ in range(2)]
    optimised.device.unit_cell_devices = cells
    return {
        "constant_step, stochastic": SingleRPUConfig(device=ConstantStepDevice()),
        "soft_bounds, stochastic": SingleRPUConfig(device=SoftBoundsDevice()),
        "ecram_li, stochastic": SingleRPUConfig(device=EcRamPresetDevice()),
        "hfo2_array_optimised, stochastic": SingleRPUConfig(device=ReRamArrayOMPresetDevice()),
        "hfo2_array_optimised, tiki_taka_2": optimised,
        "TTv2ReRamSBPreset, tiki_taka_2": TTv2ReRamSBPreset(),
        "TTv2ReRamSBPreset, tiki_taka_2 buffered": buffered(),
    }


def network() -> nn.Sequential:
    """The same weights as ours."""
    torch.manual_seed(0)
    layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def stepper(net: nn.Module, optimizer: Any, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """A function that makes one step with the next row of labels."""
    loss, rows = nn.CrossEntropyLoss(), cycle(y)

    def step() -> None:
        optimizer.zero_grad()
        loss(net(x), next(rows)).backward()
        optimizer.step()

    return step


def weights_of(net: nn.Module) -> list[torch.Tensor]:
    """What the tiles, or the plain layers, of a network hold."""
    # An analog layer is a linear one too, without a weight of its own.
    held: list[Any] = [part for part in net.modules() if isinstance(part, nn.Linear)]
    return [
        part.get_weights()[0] if isinstance(part, AnalogLinear) else part.weight.detach().clone()
        for part in held
    ]


def state_of(net: Any) -> list[torch.Tensor]:
    """All that pulses move, by tile: weights, and hidden ones of the arrays behind them."""
    return [
        torch.stack([
            tile.tile.get_weights().clone(),
            *(v.clone() for k, v in tile.get_hidden_parameters().items() if "weight" in k),
        ])
        for tile in net.analog_tiles()
    ]  # fmt: skip


def follows(name: str, arms: Arms, plain: nn.Module, analog: nn.Module) -> None:
    """Leave with a sentence if three steps do not move single arrays as they move plain torch.

    Arrays with write noise (``hfo2``) and pairs of arrays show it too late to be told from noise.
    """
    before = [weights_of(net) for net in (plain, analog)]
    for step in [*arms.values()] * 3:
        step()
    base, mine = (
        torch.cat([(w - v).flatten() for w, v in zip(weights_of(net), old, strict=True)])
        for net, old in zip((plain, analog), before, strict=True)
    )
    share = share_done(mine, base)
    if "hfo2" not in name and "tiki_taka" not in name and not 0.5 < share < 1.6:
        sys.exit(f"steps of aihwkit ({name}) make {share:.2f} of the change that they should")


def training_step(data: Data) -> dict[str, dict[str, float]]:
    """Steps of analog SGD and of plain torch, in turns; inputs and labels are ours.

    ``cells_moved`` is the share of weights behind which something moved in all these steps. An
    event-driven step takes as long as it has to do: the least time is of the idlest step, as is
    ours, and the median of a common one.
    """
    try_compiled()
    found = {}
    for name, config in rules().items():
        for batch in (int(n) for n in data["batches"]):
            x, y = (torch.from_numpy(data[f"{key}_{batch}"]) for key in "xy")
            plain, analog = network(), convert_to_analog(network(), config)
            analog.train()
            sgd = AnalogSGD(analog.parameters(), lr=RATE)
            sgd.regroup_param_groups(analog)
            arms: Arms = {
                "torch": stepper(plain, torch.optim.SGD(plain.parameters(), lr=RATE), x, y),
                "step": stepper(analog, sgd, x, y),
            }
            before = state_of(analog)
            follows(name, arms, plain, analog)
            # A slow arm needs fewer rounds: its least time is steady.
            slow = "tiki_taka_2" in name and batch > 1
            times = spent(arms, 4 if slow else int(data["rounds"]), time.process_time)
            base, mine = (min(column) for column in times)
            pairs = zip(before, state_of(analog), strict=True)
            moved = torch.cat([(old != new).any(dim=0).flatten() for old, new in pairs])
            share = float(moved.float().mean())
            if share < 0.01:
                sys.exit(f"steps of aihwkit ({name}) move {share:.2%} of the weights")
            found[f"{name}, {batch}"] = {
                "torch_ms": base, "step_ms": mine, "ratio": mine / base, "cells_moved": share,
                "median_ms": median(times[1]), "median_ratio": median(times[1]) / median(times[0]),
            }  # fmt: skip
    return found


def analog_inference(data: Data) -> dict[str, float]:
    """Wall time over torch's of one forward pass of the peer's torch tile, with 8-bit converters.

    Its read noise is the same for all outputs and inputs (``out_noise``): this tile has no noise of
    the cells, which both of ours have. ``fixed`` has fixed ranges, as ours after calibration;
    ``managed`` finds them anew for each vector, the peer's default.
    """

    def reader(**more: Any) -> Any:
        fixed = {
            "noise_management": NoiseManagementType.NONE,
            "bound_management": BoundManagementType.NONE,
        }
        bits = {"out_noise": 0.01, "inp_res": 1 / 254, "out_res": 1 / 254, "inp_bound": 4.0}
        return layer(TorchInferenceRPUConfig(forward=IOParameters(**{**bits, **fixed, **more})))

    x, calls = torch.from_numpy(data["x"]), int(data["calls"])
    managed = {
        "noise_management": NoiseManagementType.ABS_MAX,
        "bound_management": BoundManagementType.ITERATIVE,
    }
    plain = nn.Linear(SIDE, SIDE, bias=False)
    nets = {"torch": plain, "fixed": reader(), "managed": reader(**managed)}
    perfect = reader(is_perfect=True)
    with torch.inference_mode():
        for net in (perfect, *list(nets.values())[1:]):
            tile_of(net).set_weights(plain.weight)
        if not torch.allclose(perfect.eval()(x), plain(x), atol=1e-4):
            sys.exit("a perfect tile of aihwkit does not multiply")
        arms: Arms = {
            name: lambda net=net: [net(x) for _ in range(calls)] for name, net in nets.items()
        }
        for net in nets.values():
            net.eval()
        times = least(arms, int(data["rounds"]), time.perf_counter)
    return {name: ms / times[0] for name, ms in zip(nets, times, strict=True)}


def cells(data: Data) -> dict[str, float]:
    """Programming and drift of a torch tile of phase-change cells on pairs, by the default model.

    Its drift has read noise of its own; ``drift`` draws it too but at a scale of zero, and
    ``drift_with_read_noise`` is the default. Drift compensation is off, as in what ours times.
    """
    tile = tile_of(layer(TorchInferenceRPUConfig(drift_compensation=None)))
    target = torch.from_numpy(data["target"])
    tile.set_weights(target)
    arms: Arms = {
        "program": lambda: tile.program_weights(from_reference=True),
        "drift_with_read_noise": lambda: tile.drift_weights(DAY),
    }
    found = dict(zip(arms, least(arms, int(data["rounds"])), strict=True))
    near = torch.stack([target.flatten(), tile.programmed_weights.flatten()]).corrcoef()[0, 1]
    if not 0.8 < near < 1.0:
        sys.exit(f"programmed weights of aihwkit do not follow their targets: {near}")
    tile.rpu_config.noise_model.read_noise_scale = 0.0
    found["drift"] = least({"drift": lambda: tile.drift_weights(DAY)}, int(data["rounds"]))[0]
    return found


JOBS: dict[str, Callable[[Data], Any]] = {
    "analog_inference": analog_inference,
    "cells": cells,
    "pulsed_update": pulsed_update,
    "training_step": training_step,
}


def main() -> None:
    torch.set_num_threads(1)
    with np.load(sys.argv[2]) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    print(json.dumps(JOBS[sys.argv[1]](data)))


if __name__ == "__main__":
    main()
