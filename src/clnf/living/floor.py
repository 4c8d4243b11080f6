"""The chip of a living model as a floor: what its tiles do, where they lie, how worn they are."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from clnf.chip.groups.picture import draw_floor
from clnf.chip.groups.placement import Routing, arrange, plan_of, routing, scatter
from clnf.chip.groups.table import GroupLine, Seen, TileLine, group_lines, tile_lines
from clnf.chip.groups.traffic import Flow, traffic
from clnf.chip.heat.network import Cooling, ThermalNetwork
from clnf.chip.heat.power import work
from clnf.chip.hosting import Chip
from clnf.core.rng import fold
from clnf.core.units import quantity
from clnf.living.features import feature_row
from clnf.living.files import write_whole
from clnf.living.model import LivingModel
from clnf.media.flow import last, noise_for

__all__ = ["CHIP_JSON", "CHIP_PNG", "Floor", "group_of", "keep_floor", "look", "untouched"]

CHIP_PNG, CHIP_JSON = "chip.png", "chip.json"
_PULL, _OWN_PULL = 0.05, 2.0
_PICTURES, _STEPS = 16, 2  # at most one of each concept
# Tries of a placement. Two thousand tiles would take six times as many, half a minute, for a fifth
# less routing; that is too long for a picture.
_MOVES = 1_000_000


@final
@dataclass(frozen=True, kw_only=True)
class Floor:
    """What was seen of a chip while its model drew a few pictures.

    Attributes:
        network: its thermal resistances.
        seen: groups, placement, talk, work and temperatures.
        tiles: a line for each.
        groups: a line for each.
        random_j: routing energy of a field evaluation, were the tiles placed at random.
        evaluations: field evaluations that the work was made of.
    """

    network: ThermalNetwork
    seen: Seen
    tiles: list[TileLine]
    groups: list[GroupLine]
    random_j: float = quantity("J")
    evaluations: int = quantity("1")

    @property
    def routing(self) -> Routing:
        """Of one field evaluation."""
        return self.seen.routing

    def to_json(self) -> dict[str, Any]:
        """All lines and the sums of routing as JSON values."""
        return {
            "groups": [asdict(line) for line in self.groups],
            "tiles": [asdict(line) for line in self.tiles],
            "routing": {
                "energy_j": self.routing.energy_j,
                "random_placement_j": self.random_j,
                "bits": self.routing.bits,
                "hops_a_bit": self.routing.bit_hops / max(self.routing.bits, 1.0),
                "unknown": list(self.routing.unknown),
            },
            "hottest_k": self.seen.state.peak_k,
            "evaluations": self.evaluations,
        }


def group_of(layer: str) -> str | None:
    """Group of a layer of the bundled net: its feature's, if it has one, else its stage.

    >>> group_of("net.up.1.conv1.of.hands.down"), group_of("net.up.1.conv1.base")
    ('hands', 'up 1')
    """
    words = layer.split(".")
    if "of" in words:
        return words[words.index("of") + 1]
    stage = words[1] if words[0] == "net" and len(words) > 1 else words[0]
    return f"{stage} {words[2]}" if stage in ("down", "up") else stage


@contextmanager
def untouched(chip: Chip) -> Iterator[None]:
    """Let a chip be read without a trace: bill, counts of reads and converters are put back."""
    rows = chip.ledger.state()
    layers = list(chip.layers.values())
    kept = [(one.reads, [c.range for c in (one.dac, *one.adcs)]) for one in layers]
    try:
        yield
    finally:
        chip.ledger.load_state(rows)
        for layer, (reads, ranges) in zip(layers, kept, strict=True):
            layer.reads = reads
            for converter, value in zip((layer.dac, *layer.adcs), ranges, strict=True):
                converter.range = value


def look(
    model: LivingModel,
    *,
    seed: int = 0,
    cooling: Cooling | None = None,
    together: float | None = None,
) -> Floor:
    """Let a model draw a picture of each concept and see what its tiles do; it stays as it was.

    Args:
        model: whose core is programmed.
        seed: of the placement and the pictures.
        cooling: of the chip; None for HotSpot's heat sink.
        together: pull between tiles of a group, see
            :func:`clnf.chip.groups.placement.arrange`; None for 0.05, or 2 where concepts have
            tiles of their own: each then lies in one piece, for more routing.
    """
    chip, engine = model.chip, model.engine
    was_training = engine.training
    engine.eval()
    groups = _groups(model)
    count = min(len(model.concepts.names), _PICTURES)
    rows = torch.arange(1, count + 1)
    noise = noise_for([fold(seed, "floor", n) for n in range(count)], (3, 32, 32))
    with untouched(chip):
        flows = _flows(model, noise, rows)
        before = chip.ledger.state()
        last(engine.sample(rows, noise=noise, steps=_STEPS, guidance=2.0))
        done = work(chip.ledger.state(), before)
    engine.train(was_training)
    pull = (_OWN_PULL if "core" in groups.values() else _PULL) if together is None else together
    tries = min(3000, max(300, _MOVES // len(groups)))
    placed = arrange(flows, groups, seed=fold(seed, "floor"), together=pull, tries=tries)
    network = ThermalNetwork(plan_of(chip, placed), cooling)
    tiles = chip.tiles
    known = {name: one for name, one in done.items() if name in tiles}
    cost = routing(chip, flows, placed)
    seen = Seen(groups, placed, cost, known, network.rest(known))
    lines = tile_lines(chip, seen)
    control = routing(chip, flows, scatter(tuple(groups), fold(seed, "floor")))
    return Floor(
        network=network, seen=seen, tiles=lines, groups=group_lines(lines),
        random_j=control.energy_j, evaluations=2 * count * (2 * _STEPS - 1),
    )  # fmt: skip


def _flows(model: LivingModel, noise: Tensor, rows: Tensor) -> list[Flow]:
    """Talk of the mean evaluation, each concept asked by itself: it may have tiles of its own."""
    device, half, bits = model.engine.device, torch.full((1,), 0.5), dict[Flow, float]()
    for x, row in zip(noise.split(1), rows.split(1), strict=True):
        field = [one.to(device) for one in (x, half, row)]
        for flow in traffic(model.chip, partial(model.engine.net, *field)):
            key = replace(flow, bits=0.0)
            bits[key] = bits.get(key, 0.0) + flow.bits / len(rows)
    return [replace(flow, bits=value) for flow, value in bits.items()]


def _groups(model: LivingModel) -> dict[str, str | None]:
    """Group of each tile. Where concepts have tiles of their own, the rest is the core."""
    known, found = model.concepts.names, dict[str, str | None]()
    own = any(".of." in name for name in model.chip.layers)
    for tile in model.chip.tiles:
        name = tile.partition("[")[0]
        group = group_of(name) if ".of." in name or not own else "core"
        row = None if group is None else feature_row(group)
        found[tile] = known[row - 1] if row is not None and row <= len(known) else group
    return found


def keep_floor(model: LivingModel, folder: Path) -> Floor:
    """Look at a model's chip, and leave a picture and a table where the report looks for them.

    Args:
        model: see :func:`look`.
        folder: the arm's; ``media/chip.png`` and ``media/chip.json`` in it are replaced.
    """
    floor = look(model, seed=model.recipe.seed)
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    draw_floor(floor.network, floor.seen, floor.tiles, media / CHIP_PNG)
    text = json.dumps(floor.to_json(), indent=1, allow_nan=False)
    write_whole([(media / CHIP_JSON, text.encode())], durable=False)
    return floor
