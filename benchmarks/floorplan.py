"""What a lesson leaves alone, and what talk between tiles costs.

    python benchmarks/floorplan.py

``isolation``: the bundled generator on a chip is taught two new families, one after the other, each
with rehearsal of all others. Before and after each lesson the field is asked about every family, at
fixed noise and with the draws of read noise fixed by their counters. ``identical`` counts numbers
of the families not taught whose bits are all the same, ``of`` all of them; ``largest`` is the
largest difference over the root-mean-square answer. Three ways:

    groups   adapters of its own for each family, one group open at a time
    open     the same adapters, all gates open: rehearsal writes the other families' too
    shared   one adapter for all (control)

``loss`` is the flow-matching loss of the taught families before and after their lessons: what
isolation costs in learning. ``pulses`` are those of the lessons.

``routing``: joules of one field evaluation with tiles placed by groups, by traffic alone, and at
random, on the default recipe's tiles; ``x_random`` is the ratio to random placement. Hops through
routers alone: no table has the energy of a bit in a millimetre of wire. Three seeds.
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from clnf.chip import Chip, ChipSpec, PulseRule, host
from clnf.chip.groups import Groups, answers, compared
from clnf.chip.groups.placement import arrange, routing, scatter
from clnf.chip.groups.traffic import traffic
from clnf.continual.adapters import attach
from clnf.continual.adapters.switched import Switch, attach_switched
from clnf.core.records import Batch
from clnf.core.rng import fold, torch_rng
from clnf.living.floor import group_of
from clnf.living.recipe import ChipPart
from clnf.media.bundled import load_core
from clnf.media.flow import FlowModel, noise_for
from clnf.streams.bundled import CORE_FAMILIES, emoji32, family

SEEDS, NEW, STEPS, BATCH, REHEARSED = (1, 2, 3), ("hands", "shapes"), 16, 12, 2
LR, DIGITAL_LR = 1e-2, 3e-2
FAMILIES = (*CORE_FAMILIES, *NEW)  # the row of each in the look-up table is its place plus one


def adapted(name: str, leaf: nn.Module) -> bool:
    return isinstance(leaf, nn.Conv2d) and leaf.kernel_size == (3, 3)


def pictures(name: str) -> Tensor:
    chosen = emoji32().images[np.asarray(family(name))]
    return torch.from_numpy(chosen.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1.0


class Taught:
    """The bundled generator with adapters on a chip."""

    def __init__(self, seed: int, *, shared: bool) -> None:
        self.engine: FlowModel = load_core()[0].requires_grad_(False)
        net, self.seed = self.engine.net, seed
        if shared:
            attach(net, rank=4, seed=seed, only=adapted)
        else:
            switch = Switch(NEW)
            rows = [-1] * net.params.concepts
            for number, name in enumerate(NEW):
                rows[FAMILIES.index(name) + 1] = number
            switch.follow(net, rows, 2)
            attach_switched(net, switch, rank=4, seed=seed, only=adapted)
        spec = ChipSpec(tile_rows=512, tile_columns=512)
        self.chip: Chip = host(
            self.engine,
            assign=lambda name, leaf: "plastic" if name.endswith((".down", ".up")) else "core",
            seed=fold(seed, "chip"),
            spec=spec,
        )
        self.chip.program_core()
        net.concept.requires_grad_(True)
        self.pictures = {name: pictures(name) for name in FAMILIES}
        self.ask = {name: partial(self.field, n + 1) for n, name in enumerate(FAMILIES)}
        for one in self.ask.values():  # every converter takes its range once
            with torch.no_grad():
                one()

    def field(self, row: int) -> Tensor:
        """Velocities of eight noises at two times, asked for one family."""
        x = noise_for([fold(self.seed, "ask", n) for n in range(8)], (3, 32, 32))
        t = torch.tensor([0.3, 0.7]).repeat(4)
        out: Tensor = self.engine.net(x, t, torch.full((8,), row, dtype=torch.int64))
        return out

    def batch(self, name: str, step: int) -> Batch:
        """Samples of a family and a few of each other one."""
        parts = []
        for number, other in enumerate(FAMILIES):
            count = BATCH if other == name else REHEARSED
            rng = torch_rng(self.seed, "batch", name, other, step)
            chosen = torch.randint(len(self.pictures[other]), (count,), generator=rng)
            parts.append(Batch.of(self.pictures[other][chosen], number + 1))
        return Batch.cat(parts)

    @torch.no_grad()
    def loss(self, name: str) -> float:
        held = Batch.of(self.pictures[name][:48], FAMILIES.index(name) + 1)
        rng = torch_rng(self.seed, "loss", name)
        return float(self.engine.loss(held, rng).mean())

    def lesson(self, name: str) -> None:
        optimizer = self.chip.optimizer(
            [p for p in self.engine.parameters() if p.requires_grad],
            lr=LR,
            rule=PulseRule(digital_lr=DIGITAL_LR),
        )
        table, row = self.engine.net.concept.weight, FAMILIES.index(name) + 1
        self.chip.ledger.lesson = name
        self.engine.train()
        for step in range(STEPS):
            optimizer.zero_grad()
            rng = torch_rng(self.seed, "step", name, step)
            for group in optimizer.param_groups:  # the last steps settle what the first ones moved
                top = DIGITAL_LR if group["kind"] == "digital" else LR
                group["lr"] = top * (1.0 - 0.9 * step / STEPS)
            self.engine.loss(self.batch(name, step), rng).mean().backward()
            assert table.grad is not None
            own = table.grad[row].clone()
            table.grad.zero_()
            table.grad[row] = own
            nn.utils.clip_grad_norm_(self.engine.parameters(), 1.0)
            optimizer.step()
        self.engine.eval()


def group_of_pair(name: str) -> str | None:
    words = name.split(".")
    return words[words.index("of") + 1] if "of" in words else None


def isolation(way: str, seed: int) -> dict[str, float]:
    one = Taught(seed, shared=way == "shared")
    groups = None
    if way == "groups":
        groups = Groups(one.chip, one.engine, group_of_pair, free=("net.concept.weight",))
    same = of = 0
    largest, before_loss, after_loss = 0.0, [], []
    for name in NEW:
        before = answers(one.chip, one.ask)
        before_loss.append(one.loss(name))
        if groups is not None:
            groups.open(name)
        one.lesson(name)
        if groups is not None:
            groups.close()
        after_loss.append(one.loss(name))
        found = compared(before, answers(one.chip, one.ask))
        for other in FAMILIES:
            if other != name:
                of, same = of + found[other].outputs, same + found[other].outputs
                same -= found[other].changed
                largest = max(largest, found[other].relative)
    return {
        "identical": same,
        "of": of,
        "largest": largest,
        "loss_before": statistics.mean(before_loss),
        "loss_after": statistics.mean(after_loss),
        "pulses": sum(one.chip.ledger.total(op="pulse", lesson=name).count for name in NEW),
    }


def routed() -> Callable[[int], dict[str, float]]:
    """The default recipe's tiles and their talk; what a seed gives."""
    part, engine = ChipPart(), load_core()[0].requires_grad_(False)
    attach(engine.net, rank=8, only=lambda name, leaf: adapted(name, leaf) or "modulate" in name)
    spec = ChipSpec(
        tile_rows=part.tile_rows,
        tile_columns=part.tile_columns,
        plastic_tile_rows=part.plastic_tile_rows,
    )
    chip = host(
        engine,
        assign=lambda name, leaf: "plastic" if name.endswith((".down", ".up")) else "core",
        seed=0,
        spec=spec,
    )
    chip.program_core()
    x, t, row = torch.randn(1, 3, 32, 32), torch.tensor([0.5]), torch.tensor([1])
    flows = traffic(chip, lambda: engine.net(x, t, row))
    groups = {name: group_of(name.partition("[")[0]) for name in chip.tiles}

    def of(seed: int) -> dict[str, float]:
        cost = {
            "groups_j": routing(chip, flows, arrange(flows, groups, seed=seed)).energy_j,
            "traffic_j": routing(
                chip, flows, arrange(flows, groups, seed=seed, together=0.0)
            ).energy_j,
            "random_j": routing(chip, flows, scatter(tuple(groups), seed)).energy_j,
        }
        return cost | {
            "x_random": cost["random_j"] / cost["groups_j"],
            "tiles": len(groups),
            "bits": sum(flow.bits for flow in flows),
        }

    return of


def summed(make: Callable[[int], dict[str, float]]) -> dict[str, list[float]]:
    """Mean, least and largest over seeds."""
    runs = [make(seed) for seed in SEEDS]
    return {
        key: [float(f"{f(run[key] for run in runs):.6g}") for f in (statistics.mean, min, max)]
        for key in runs[0]
    }


def main() -> None:
    start = time.perf_counter()
    torch.set_num_threads(1)
    print(json.dumps({"of": "routing", **summed(routed())}), flush=True)
    for way in ("groups", "open", "shared"):
        line = summed(partial(isolation, way))
        print(json.dumps({"of": "isolation", "way": way, **line}), flush=True)
    print(json.dumps({"seconds": round(time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
