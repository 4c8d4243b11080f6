"""Digits on chips: as learned without limits, cast onto a chip, and learned under its limits.

    python benchmarks/spiking_chips.py               JSON lines, all runs
    python benchmarks/spiking_chips.py into FILE     runs that the file lacks, added to it
    python benchmarks/spiking_chips.py table FILE    runs of a file as a table
    python benchmarks/spiking_chips.py section FILE  the same as a section of RESULTS.md

Digits 0 to 7 of ``digits10k``, since Xylo has 8 outputs, as brightness of 4 x 4 fields, since it
has 16 inputs: an input spikes in a step by chance, with half its brightness, 40 steps of 1 ms.
16-64-8 cells, the class that spikes most is the answer. 2,000 digits teach four times over, 1,000
others are asked; three seeds. One JSON line a chip:

    free      accuracy of the float net
    cast      the same net in the chip's whole numbers, without a lesson more
    learned   after one time more over the lessons, under the limits; in the chip's whole numbers
    control   the float net after the same lessons more
    low, high joules of an inference by the figures named, ``none`` where no chip's were published

The middle of three seeds, and all three. Arms of a seed see the same events in the same order.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from peers.rows import command
from torch import Tensor, nn

from clnf.core.rng import torch_rng
from clnf.spiking import IF, LIF, FastSigmoid, SpikingLinear
from clnf.spiking.chain import Chain
from clnf.spiking.energy import Counts, bill, count, figures
from clnf.spiking.profiles import Constrained, check, deploy, profile
from clnf.streams.bundled import digits10k

STEPS, DT_S, HIDDEN, CLASSES = 40, 1e-3, 64, 8
TAUGHT, ASKED, BATCH, TIMES, SEEDS = 2000, 1000, 50, 4, (0, 1, 2)
CHIPS = {
    "loihi": (LIF(tau_s=16e-3, reset_v=0.0), "loihi"),
    "xylo": (LIF(tau_s=16e-3), "cmos_45nm"),
    "speck": (IF(), "cmos_45nm"),
    "memristive:cmo_hfox": (LIF(tau_s=16e-3), "cmos_45nm"),
    "memristive:hfox_generic": (LIF(tau_s=16e-3), "cmos_45nm"),
}


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Brightness of 16 fields, 0 to 1, and labels."""
    digits = digits10k()
    x, y = torch.tensor(digits.images), torch.tensor(digits.labels)
    some = (y < CLASSES).nonzero().flatten()
    order = some[torch.randperm(len(some), generator=torch_rng(seed, "order"))]
    order = order[: TAUGHT + ASKED]
    x = x[order].permute(0, 3, 1, 2) / 255.0
    fields = nn.functional.avg_pool2d(x, 7).flatten(1)
    return fields / fields.amax(1, keepdim=True).clamp_min(1e-6), y[order]


def events(fields: Tensor, seed: int, *place: int) -> Tensor:
    """Spikes [T, B, 16]."""
    rng = torch_rng(seed, "events", *place)
    return (torch.rand(STEPS, *fields.shape, generator=rng) < 0.5 * fields).float()


def taught(
    run: Callable[[Tensor], Tensor], net: nn.Module, data: tuple[Tensor, Tensor], seed: int,
    times: range,
) -> None:  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01 if not times.start else 0.003)
    x, y = data[0][:TAUGHT], data[1][:TAUGHT]
    for turn in times:
        order = torch.randperm(TAUGHT, generator=torch_rng(seed, "lesson", turn))
        for n, chosen in enumerate(order.split(BATCH)):
            out = run(events(x[chosen], seed, turn, n)).mean(0)
            loss = nn.functional.cross_entropy(20 * out, y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def right(run: Callable[[Tensor], Tensor], data: tuple[Tensor, Tensor], seed: int) -> float:
    x = events(data[0][TAUGHT:], seed, -1, 0)
    with torch.no_grad():
        return float((run(x).sum(0).argmax(1) == data[1][TAUGHT:]).double().mean())


def of_seed(name: str, seed: int) -> dict[str, float]:
    cell, priced = CHIPS[name]
    slope = FastSigmoid(width_v=0.5)
    first = SpikingLinear((16, HIDDEN), cell, dt_s=DT_S, surrogate=slope, seed=seed)
    last = SpikingLinear((HIDDEN, CLASSES), cell, dt_s=DT_S, surrogate=slope, seed=seed + 100)
    net, data = Chain(first, last), drawn(seed)
    for layer in (first, last):
        layer.weight.data *= 2
    taught(net, net, data, seed, range(TIMES))
    chip = Constrained(net, profile(name))
    chip.die = seed
    found = {"free": right(net, data, seed), "cast": right(deploy(chip), data, seed)}
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    taught(net, net, data, seed, range(TIMES, TIMES + 1))
    found["control"] = right(net, data, seed)
    net.load_state_dict(kept)
    taught(chip, net, data, seed, range(TIMES, TIMES + 1))
    found["learned"] = right(deploy(chip), data, seed)
    asked = events(data[0][TAUGHT:], seed, -1, 0)
    total = sum(count(chip, asked).values(), Counts())
    each = bill(total, figures(priced), samples=ASKED).each
    found |= {"synaptic_operations": total.synaptic_operations / ASKED}
    found |= {"low_j": each.low, "high_j": each.high, "fits": float(check(net, profile(name)).fits)}
    return found


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that are not there yet."""
    have = {(one["chip"], one["seed"]) for one in done}
    for seed in SEEDS:
        for name in CHIPS:
            if (name, seed) not in have:
                begun = time.process_time()
                row = {"benchmark": "spiking_chips", "chip": name, "seed": seed}
                row |= of_seed(name, seed)
                yield row | {"seconds": round(time.process_time() - begun, 1)}


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The middle of the seeds, a line a chip."""
    for name, (cell, priced) in CHIPS.items():
        own = [one for one in rows if one["chip"] == name]
        if not own:
            continue
        figures_of = [key for key in own[0] if key not in ("benchmark", "chip", "seed")]
        middle = {key: statistics.median(one[key] for one in own) for key in figures_of}
        every = {key: [one[key] for one in own] for key in ("free", "cast", "control", "learned")}
        told = {"chip": name, "cell": type(cell).__name__, "figures": priced}
        yield {"benchmark": "spiking_chips", **told, **middle, "seeds": every}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """For a page."""
    yield "| chip | free | cast | learned | control | synaptic operations |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in summed(rows):
        points = " | ".join(f"{one[key]:.3f}" for key in ("free", "cast", "learned", "control"))
        yield f"| {one['chip']} | {points} | {one['synaptic_operations']:.0f} |"


def main() -> None:
    command("spiking_chips", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
