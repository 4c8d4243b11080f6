"""What is measured of aihwkit, in a process of its own: ``python -P aihwkit_jobs.py JOB DATA``.

Prints one JSON object, the least time of each arm. Settings are those nearest to ours; where they
differ the job says so. Reading and programming are measured on its tiles of plain torch.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from aihwkit.nn import AnalogLinear
from aihwkit.simulator.configs import (
    BoundManagementType,
    IOParameters,
    NoiseManagementType,
    TorchInferenceRPUConfig,
)
from numpy.typing import NDArray
from torch import nn

Data = dict[str, NDArray[Any]]
Arms = dict[str, Callable[[], object]]
SIDE, RATE, DAY = 512, 0.05, 86_400.0


def least(arms: Arms, rounds: int, clock: Callable[[], float] = time.process_time) -> list[float]:
    """Least time of each arm in ms; arms take turns, and the first turn does not count."""
    times = [float("inf")] * len(arms)
    for turn in range(rounds + 1):
        for k, arm in enumerate(arms.values()):
            start = clock()
            arm()
            if turn:
                times[k] = min(times[k], (clock() - start) * 1e3)
    return times


def layer(config: Any, side: int = SIDE) -> Any:
    """One tile without a bias."""
    torch.manual_seed(0)
    return AnalogLinear(side, side, bias=False, rpu_config=config)


def tile_of(analog: Any) -> Any:
    """The only tile of a layer."""
    return next(iter(analog.analog_tiles()))


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
}


def main() -> None:
    torch.set_num_threads(1)
    with np.load(sys.argv[2]) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    print(json.dumps(JOBS[sys.argv[1]](data)))


if __name__ == "__main__":
    main()
