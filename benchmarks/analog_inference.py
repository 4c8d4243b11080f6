"""Cost of reading: one 512 x 512 analog layer against torch's own, batch 64, one thread.

Demanded: at most 2.5 times torch's time with read noise and 8-bit converters. The arms differ in
how read noise is made and in what the converters do; the last one sends inputs bit by bit, seven
products in all.
Arms take turns, so a busy machine slows all of them; the ratio is between the fastest rounds.

aihwkit's torch tile reads the same inputs in a process of its own, in turns with torch there;
``ratio_to_aihwkit`` is our ratio to torch over its ratio to torch. What it cannot do as we do is
said in ``peers/aihwkit_jobs.py``. Where it cannot be had, quoted figures of another day stand in,
and no ratio is made of them.
"""

import json
import time
from collections.abc import Callable

import numpy as np
import torch
from peers import aihwkit
from torch import nn

from clnf.chip.converters import ConverterKind
from clnf.chip.hosting import host
from clnf.chip.spec import ChipSpec, ideal_chip

SIDE, BATCH, ROUNDS, CALLS, DEMANDED = 512, 64, 200, 4, 2.5

# Our arm, and the kind of the peer that is nearest to it.
PEERS = {"separable": "fixed"}
QUOTED = {"separable": 3.0}

FLAWED = ConverterKind(offset_lsb=1.0, gain_error=0.01, noise_lsb=0.5, bow_lsb=0.5)


def analog(spec: ChipSpec) -> nn.Module:
    """One stored layer on a programmed chip, its converters' ranges found."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(SIDE, SIDE))
    host(net, assign=lambda name, leaf: "core", seed=1, spec=spec).program_core()
    return net


def seconds(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> float:
    """Wall time of one call, from a few in a row."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call(x)
    return (time.perf_counter() - start) / CALLS


def peer(x: torch.Tensor) -> dict[str, float]:
    """Ratios of aihwkit to torch by kind of read noise; nothing where it cannot be had."""
    numbers = {"rounds": np.array(ROUNDS), "calls": np.array(CALLS)}
    found = aihwkit.measured("analog_inference", x=x.numpy(), **numbers) or {}
    for name, ratio in found.items():
        if name == "torch":
            continue
        print(json.dumps({
            "benchmark": "analog_inference", "arm": f"aihwkit {name}", "side": SIDE,
            "batch": BATCH, "ratio_to_torch": round(ratio, 3), "source": aihwkit.MEASURED,
        }))  # fmt: skip
    return found


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    arms: dict[str, nn.Module] = {
        "torch": nn.Linear(SIDE, SIDE),
        "ideal": analog(ideal_chip()),
        "separable": analog(ChipSpec()),
        "exact": analog(ChipSpec(read_noise="exact")),
        "flawed": analog(ChipSpec(converters=FLAWED)),
        "serial": analog(ChipSpec(converters=ConverterKind(serial_bits=1))),
    }
    x = torch.randn(BATCH, SIDE)
    found, fastest = peer(x), dict.fromkeys(arms, float("inf"))
    with torch.inference_mode():
        for arm in arms.values():
            arm(x)
        for _ in range(ROUNDS):
            for name, arm in arms.items():
                fastest[name] = min(fastest[name], seconds(arm, x))
    for name, best in fastest.items():
        ratio = best / fastest["torch"]
        theirs = found.get(PEERS.get(name, ""))
        print(json.dumps({
            "benchmark": "analog_inference", "arm": name, "side": SIDE, "batch": BATCH,
            "call_s": round(best, 7), "ratio_to_torch": round(ratio, 3),
            "demanded": DEMANDED, "met": ratio <= DEMANDED,
            **aihwkit.beside(ratio, theirs, QUOTED.get(name), "over_torch"),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
