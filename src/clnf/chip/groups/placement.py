"""Where tiles lie on a grid of equal places, and what their talk costs there.

    energy = sum over flows of bits (hops + 1) routing_bit_j + bits hops pitch wire_bit_m_j

A flow passes the router of its own place and one more for each place it goes on, along rows and
columns. The first router is what the ledger charges; the rest depends on the placement. A wire's
joules per bit and metre are in no row of the technology table, so without a figure of your own they
are left out, and :class:`Routing` says so.

Tiles are placed by simulated annealing (Kirkpatrick et al., Science 220, 671, 1983) of bits times
hops, with a pull between tiles of a group. What is simplified: one router a place, no queues, and
every place is as large as the largest tile.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clnf.chip.groups.traffic import PORT, Flow
from clnf.chip.heat.plan import Plan, Site, place
from clnf.chip.hosting import Chip
from clnf.chip.technology import Constant
from clnf.core.errors import ConfigError
from clnf.core.rng import numpy_rng
from clnf.core.units import quantity

__all__ = [
    "Moves",
    "Net",
    "Placement",
    "Routing",
    "anneal",
    "anneal_reference",
    "arrange",
    "place_m",
    "plan_of",
    "routing",
    "scatter",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@final
@dataclass(frozen=True, kw_only=True)
class Placement:
    """Tiles on a grid.

    Attributes:
        names: of the tiles.
        places: place of each, counted along rows of the grid.
        rows: of the grid.
        columns: of the grid; the port lies left of the middle row.
    """

    names: tuple[str, ...]
    places: tuple[int, ...] = quantity("1")
    rows: int = quantity("1")
    columns: int = quantity("1")

    def hops(self, source: str, sink: str) -> int:
        """Places that a bit goes on from one tile, or the port, to another."""
        a, b = (self._at(name) for name in (source, sink))
        return abs(a[0] - b[0]) + abs(a[1] - b[1])

    def _at(self, name: str) -> tuple[int, int]:
        if name == PORT:
            return self.rows // 2, -1
        return divmod(self.places[self.names.index(name)], self.columns)


class Net(NamedTuple):
    """What tiles pull at each other with, as the kernel takes it.

    Attributes:
        first: where each tile's neighbours begin in the next two, [tiles + 1].
        others: neighbours.
        pulls: bits to and from each of them.
        port: bits to and from the port, [tiles].
        hops: from place to place, [places, places].
        port_hops: from the port, [places].
    """

    first: Ints
    others: Ints
    pulls: Floats
    port: Floats
    hops: Floats
    port_hops: Floats


class Moves(NamedTuple):
    """What is tried one after the other: a tile, a place for it, and what may be lost by it."""

    tile: Ints
    place: Ints
    lose: Floats


def scatter(names: Sequence[str], seed: int) -> Placement:
    """Tiles at random places: the control that every placement must beat."""
    rows, columns = _grid(len(names))
    order = numpy_rng(seed, "placement").permutation(rows * columns)[: len(names)]
    return Placement(names=tuple(names), places=tuple(order.tolist()), rows=rows, columns=columns)


def arrange(
    flows: Sequence[Flow],
    groups: Mapping[str, str | None],
    *,
    seed: int,
    together: float = 0.05,
    tries: int = 3000,
) -> Placement:
    """Place tiles near those they talk to, and tiles of a group near each other.

    Args:
        flows: see :func:`clnf.chip.groups.traffic.traffic`.
        groups: group of every tile that is placed, None for those of none.
        seed: of the start and of every try.
        together: pull between tiles of a group: all of a tile's pulls to its group add up to this
            share of the mean tile's traffic; >= 0. 0 looks at traffic alone.
        tries: for each tile, >= 1.

    Raises:
        ConfigError: a flow names a tile that is not placed, or a number is out of range.
    """
    names = tuple(groups)
    if not names or not 0 <= together < math.inf or tries < 1:
        raise ConfigError(
            "placing needs at least one tile, together of at least 0 and at least one try, got "
            f"{len(names)} tiles, {together} and {tries}"
        )
    start = scatter(names, seed)
    net = _net(flows, names, groups, together, start)
    moves = _moves(net, len(names), tries, seed)
    places = np.array(start.places)
    anneal(places, net, moves)
    return replace(start, places=tuple(places.tolist()))


def _grid(count: int) -> tuple[int, int]:
    columns = math.isqrt(max(count - 1, 0)) + 1
    return -(-count // columns), columns


def _net(
    flows: Sequence[Flow], names: Sequence[str], groups: Mapping[str, str | None],
    together: float, grid: Placement,
) -> Net:  # fmt: skip
    number = {name: n for n, name in enumerate(names)}
    port, between = np.zeros(len(names)), np.zeros((len(names), len(names)))
    for flow in flows:
        ends = [end for end in (flow.source, flow.sink) if end != PORT]
        if missing := [end for end in ends if end not in number]:
            raise ConfigError(f"tile {missing[0]} talks and has no place; give it a group, or None")
        if len(ends) == 1:
            port[number[ends[0]]] += flow.bits
        elif ends[0] != ends[1]:
            a, b = (number[end] for end in ends)
            between[a, b] += flow.bits
            between[b, a] += flow.bits
    usual = max(float(between.sum() + port.sum()) / len(names), 1.0)
    members: dict[str, list[int]] = {}
    for name, group in groups.items():
        if group is not None:
            members.setdefault(group, []).append(number[name])
    for mine in members.values():
        if together and len(mine) > 1:
            between[np.ix_(mine, mine)] += together * usual / (len(mine) - 1)
    np.fill_diagonal(between, 0.0)
    rows, others = np.nonzero(between)
    first = np.searchsorted(rows, np.arange(len(names) + 1))
    y, x = np.divmod(np.arange(grid.rows * grid.columns), grid.columns)
    hops = np.abs(y[:, None] - y) + np.abs(x[:, None] - x)
    port_hops = np.abs(y - grid.rows // 2) + x + 1
    return Net(first, others, between[rows, others], port, hops.astype(float),
               port_hops.astype(float))  # fmt: skip


def _moves(net: Net, tiles: int, tries: int, seed: int) -> Moves:
    """Tries that may lose less and less: at first the usual tile's talk over two places."""
    rng, count = numpy_rng(seed, "annealing"), tiles * tries
    usual = float(net.pulls.sum() + net.port.sum()) / tiles
    warmth = usual * np.geomspace(2.0, 1e-4, count)
    return Moves(
        rng.integers(0, tiles, count),
        rng.integers(0, len(net.port_hops), count),
        rng.exponential(1.0, count) * warmth,
    )


@njit(cache=True, nogil=True)
def anneal(places: Ints, net: Net, moves: Moves) -> None:
    """Try one move after the other, in place; a tile changes with what lies where it goes.

    A move is made where it costs less than what it may lose (an exponential draw times the warmth,
    which accepts as Metropolis' rule does).
    """
    lying = np.full(net.port_hops.shape[0], -1, np.int64)
    for tile in range(places.shape[0]):
        lying[places[tile]] = tile
    for n in range(moves.tile.shape[0]):
        tile, there = moves.tile[n], moves.place[n]
        here, other = places[tile], lying[there]
        cost = net.port[tile] * (net.port_hops[there] - net.port_hops[here])
        for k in range(net.first[tile], net.first[tile + 1]):
            if net.others[k] != other:
                at = places[net.others[k]]
                cost += net.pulls[k] * (net.hops[there, at] - net.hops[here, at])
        if other >= 0:
            cost += net.port[other] * (net.port_hops[here] - net.port_hops[there])
            for k in range(net.first[other], net.first[other + 1]):
                if net.others[k] != tile:
                    at = places[net.others[k]]
                    cost += net.pulls[k] * (net.hops[here, at] - net.hops[there, at])
        if here != there and cost < moves.lose[n]:
            places[tile], lying[there], lying[here] = there, tile, other
            if other >= 0:
                places[other] = here


def anneal_reference(places: Ints, net: Net, moves: Moves) -> None:
    """The same in plain numpy, with the whole cost worked out anew at every try."""

    def whole(at: Ints) -> float:
        ends = np.repeat(at, np.diff(net.first)), at[net.others]
        return float((net.pulls * net.hops[ends]).sum() / 2 + (net.port * net.port_hops[at]).sum())

    now = whole(places)
    for tile, there, lose in zip(*moves, strict=True):
        tried = places.copy()
        tried[places == there] = places[tile]
        tried[tile] = there
        cost = whole(tried)
        if places[tile] != there and cost - now < lose:
            places[:], now = tried, cost


@final
@dataclass(frozen=True, kw_only=True)
class Routing:
    """What the flows of one inference cost on a placement.

    Attributes:
        by_tile_j: joules by the tile that sends, or the port.
        routers_j: in routers.
        wires_j: in the wires between places; None where that is not known.
        bit_hops: bits times places they went on.
        bits: of all flows.
        unknown: what was left out and why.
    """

    by_tile_j: dict[str, float]
    routers_j: float = quantity("J")
    wires_j: float | None = quantity("J", None)
    bit_hops: float = quantity("1")
    bits: float = quantity("1")
    unknown: tuple[str, ...] = ()

    @property
    def energy_j(self) -> float:
        """All that is known."""
        return self.routers_j + (self.wires_j or 0.0)


def routing(
    chip: Chip, flows: Sequence[Flow], placed: Placement, *, wire_bit_m_j: Constant | None = None
) -> Routing:
    """What flows cost on a placement.

    Args:
        chip: whose technology says what a router takes for a bit, and how large tiles are.
        flows: of one inference, or any number of them.
        placed: where tiles lie.
        wire_bit_m_j: joules that a bit takes for a metre of wire, with its source; None: unknown.

    Raises:
        DeviceLimitError: the technology has no ``routing_bit_j``.
    """
    each = chip.circuit.costs.get("routing_bit_j")
    pitch_m = 0.0 if wire_bit_m_j is None else place_m(chip)
    wire = 0.0 if wire_bit_m_j is None else wire_bit_m_j.value * pitch_m
    at = {name: placed._at(name) for name in (*placed.names, PORT)}
    by_tile: dict[str, float] = {}
    bits = bit_hops = 0.0
    for flow in flows:
        (y, x), (v, u) = at[flow.source], at[flow.sink]
        hops = abs(y - v) + abs(x - u)
        bits, bit_hops = bits + flow.bits, bit_hops + flow.bits * hops
        joules = flow.bits * ((hops + 1) * each + hops * wire)
        by_tile[flow.source] = by_tile.get(flow.source, 0.0) + joules
    known = wire_bit_m_j is not None
    return Routing(
        by_tile_j=by_tile,
        routers_j=(bits + bit_hops) * each,
        wires_j=bit_hops * wire if known else None,
        bit_hops=bit_hops,
        bits=bits,
        unknown=() if known else ("wires: no technology row has a wire_bit_m_j; supply one",),
    )


def place_m(chip: Chip) -> float:
    """Side of a place: that of the largest tile."""
    return max(site.side_m for site in place(chip).sites)


def plan_of(chip: Chip, placed: Placement, *, pitch_m: float | None = None) -> Plan:
    """A placement as a plan for :mod:`clnf.chip.heat`: each tile in the corner of its place.

    Args:
        chip: whose technology says what tiles occupy.
        placed: where they lie.
        pitch_m: from cell to cell; None for the root of the technology's area of a cell.
    """
    squares = {site.name: site for site in place(chip, pitch_m=pitch_m).sites}
    side = max(site.side_m for site in squares.values())
    sites: list[Site] = []
    for name, at in zip(placed.names, placed.places, strict=True):
        row, column = divmod(at, placed.columns)
        middle_m = (side - squares[name].side_m) / 2
        left, low = column * side + middle_m, (placed.rows - 1 - row) * side + middle_m
        sites.append(replace(squares[name], left_m=left, low_m=low))
    pitch = place(chip, pitch_m=pitch_m).pitch_m
    return Plan(
        width_m=placed.columns * side,
        depth_m=placed.rows * side,
        pitch_m=pitch,
        sites=tuple(sites),
    )
