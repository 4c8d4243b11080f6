"""Weights of a population as memristive cells: what they read, how they are pulsed, what it takes.

    pair       W = range (w+ - w-) / (wmax - wmin)
    reference  W = 2 range (w - w0) / (wmax - wmin),  w0 where steps up and down are alike
    single     W = range (w - wmin) / (wmax - wmin),  never below 0 but for spread

w are visible weights of cells between the mean bounds of their steps. Cells are kept by rows, one
an input, as a crossbar has them: state [planes, I, N], weights [N, I] as layers have them.

A read of a row takes V^2 G t in each of its cells for every event; a pulse takes V^2 G t of the
cell before it. Both are charged to a ledger. Pulses of a pair go to its two cells in turn. Reads
have no noise here but for what writing left; wires and converters are the chip's, not this room's.
"""

from dataclasses import dataclass
from typing import Literal, cast, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, DataError, DeviceLimitError, ShapeError
from clnf.core.inputs import check_fields, instance
from clnf.core.ledger import ATTOJOULES_PER_JOULE, Ledger
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.devices import pulse_reference, pulses
from clnf.devices.cell import Cell, Unknown
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import Response, cell_traits, fresh_cells
from clnf.spiking.convolution.maps import pair

__all__ = ["CellArray", "Lay", "Read"]

# Operations between two looks at how far windows have closed.
_AGEING = 64
_PROGRAM_ROUNDS = 20
_MOST_PULSES = 32767  # of a train, as kernels count them


@final
@dataclass(frozen=True, kw_only=True)
class Read:
    """What an event of 1 puts on a row to be read.

    Attributes:
        volt_v: amplitude.
        width_s: how long it lasts.
    """

    volt_v: float = quantity("V", 0.1)
    width_s: float = quantity("s", 10e-9)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (0 < self.volt_v < 100 and 0 < self.width_s < 1):
            raise ConfigError(
                f"a read has volts and seconds above 0, got {self.volt_v} and {self.width_s}"
            )


@final
@dataclass(frozen=True, kw_only=True)
class Lay:
    """How weights lie on cells.

    Attributes:
        kind: see the head of this module.
        range_v: the weight of a cell at the end of its window, in volts a spike.
        read: of a row.
        kernels: False for the plain way always.
    """

    kind: Literal["pair", "reference", "single"] = "pair"
    range_v: float = quantity("V", 1.0)
    read: Read = Read()
    kernels: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind not in ("pair", "reference", "single") or not 0 < self.range_v < float("inf"):
            raise ConfigError(
                "weights lie on cells as pair, reference or single, with a range above 0 V, got "
                f"{self.kind!r} and {self.range_v}"
            )


@final
class CellArray(nn.Module):
    """Cells behind a matrix of weights [N, I].

    The state is in buffers, so it is part of ``state_dict()``; the ledger is not.

    Args:
        shape: N and I.
        cell: whose physics holds; its window, steps and pulse must be known.
        seed: of spreads and noise.
        lay: how weights lie on cells.
        name: of the tile in the ledger.
        ledger: what is charged; None makes one.

    Raises:
        ConfigError: a shape that is not two whole numbers from 1 on.
        DeviceLimitError: a law is unknown, or steps of a pulse up alone are gradual.

    >>> from clnf.devices.families import cell
    >>> from clnf.devices.materials import material
    >>> row = material("ecram_li").supply(conductance_min_s=1e-6, conductance_max_s=1e-5)
    >>> row = row.supply(write_voltage_v=1.0, write_time_s=1e-6)
    >>> cells = CellArray((2, 3), cell(row), seed=1)
    >>> cells.pulse(torch.tensor([[5, 0, 0], [0, 0, -5]]))
    10
    >>> cells.weight().gt(0).tolist()
    [[True, False, False], [False, False, False]]
    """

    hidden: Tensor
    seen: Tensor
    wear: Tensor
    fresh: Tensor
    table: Tensor
    life: Tensor
    done: Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        cell: Cell,
        *,
        seed: int,
        lay: Lay | None = None,
        name: str = "synapses",
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__()
        self.cell, self.lay, self.name = instance("cell", cell, Cell), lay or Lay(), name
        self.ledger, self.seed = ledger or Ledger(), seed
        response = cell.need(cell.response)
        cell.need(cell.window), cell.need(cell.pulse)
        if response.bound_min >= 0:
            raise DeviceLimitError(
                f"{cell.material.name} is gradual upwards only, and its other pulse stands for no "
                "melting; synapses here need steps both ways, take another material"
            )
        neurons, inputs = pair("the shape of cells", shape, 1)
        self.planes = 2 if self.lay.kind == "pair" else 1
        self.shape = (self.planes, inputs, neurons)
        count = self.planes * inputs * neurons
        fresh = cell_traits(response, count, seed, compiled=self.lay.kernels)
        made = fresh_cells(response, fresh, seed, compiled=self.lay.kernels)
        self.register_buffer("hidden", made.hidden.view(self.shape))
        self.register_buffer("seen", made.seen.view(self.shape))
        self.register_buffer("wear", torch.zeros(self.shape, dtype=torch.float64))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_buffer("fresh", fresh, persistent=False)
        self.register_buffer("table", fresh.clone())
        life = None
        if not isinstance(cell.endurance, Unknown):
            life = cell.endurance.life(count, hash_key(seed, "life"))
        self.register_buffer("life", life, persistent=False)

    @property
    def response(self) -> Response:
        """The law of steps."""
        return self.cell.need(self.cell.response)

    @property
    def reference(self) -> float:
        """w0 of the head of this module, for one plane."""
        low, high = self.cell.bounds
        if self.lay.kind == "single":
            return low
        alike = self.response.symmetry
        return alike if alike == alike else (low + high) / 2

    @property
    def scale_v(self) -> float:
        """Volts of weight for each unit of w."""
        low, high = self.cell.bounds
        return self.lay.range_v * (2 if self.lay.kind == "reference" else 1) / (high - low)

    @property
    def weight_step(self) -> float:
        """Mean step of a weight by one pulse, V."""
        return self.scale_v * self.response.step

    def weight(self) -> Tensor:
        """What a read gives, [N, I] in volts a spike."""
        other = self.seen[1] if self.planes == 2 else self.reference
        return ((self.seen[0] - other) * self.scale_v).t().contiguous()

    def conductance_s(self) -> Tensor:
        """Of all cells, [planes, I, N]."""
        return self.cell.conductance_s(self.seen.clone())

    def pulse(self, due: Tensor) -> int:
        """Signed pulses [N, I], whole numbers; positive ones raise weights.

        Args:
            due: at most 32767 of either sign for a cell.

        Returns:
            How many were given.

        Raises:
            ShapeError: pulses of another shape.
            DataError: parts of pulses, more of them than a cell takes at once, or no numbers.
        """
        due = self._fitting("pulses", due)
        if not bool(due.any()):
            return 0
        rounded = due.to(torch.int16)
        # NaN, infinity, parts and numbers too large differ from what becomes of them.
        good = (rounded == due) & (rounded >= -_MOST_PULSES)
        if not bool(good.all()):
            place = (~good).nonzero()[0].tolist()
            raise DataError(
                f"pulses of a cell are whole numbers from -{_MOST_PULSES} to {_MOST_PULSES}, got "
                f"{due[tuple(place)].item():g} at {place}; round them or give them in parts"
            )
        number = int(self.done)
        plane = number % self.planes
        train = rounded.t().contiguous().view(-1)
        train = train.neg() if plane else train
        key = hash_key(self.seed, "pulse", number, words=6)
        job = PulseJob(train, torch.ones(len(train)), plane * len(train))
        table = self.table.view(4, self.planes, -1)[:, plane].contiguous()
        worn = torch.zeros(len(train), dtype=torch.int32)
        state = Cells(self.hidden[plane].view(-1), self.seen[plane].view(-1), worn)
        args = job, state, self.cell.law(), table, key
        kernel, plain = pulses.pulse_cells, pulse_reference.pulse_cells
        count, energy, _ = run(kernel, plain, args, compiled=self.lay.kernels)
        self.wear[plane] += worn.view(self.shape[1:])
        width_s = self.cell.need(self.cell.pulse).width_s
        self.ledger.charge_total(
            "pulse", tile=self.name, count=count, energy_aj=energy,
            time_ps=round(width_s * 1e12) * int(rounded.abs().max()),
        )  # fmt: skip
        self.worked()
        return int(count)

    def _fitting(self, name: str, values: object) -> Tensor:
        """A tensor of the weights' shape.

        Raises:
            ShapeError: another shape, or no tensor.
        """
        found, wanted = dense(name, values), [*self.shape[:0:-1]]
        if [*found.shape] != wanted:
            raise ShapeError(
                f"{name} have the shape {wanted} of the weights, got {[*found.shape]}; correct them"
            )
        return found

    def worked(self) -> None:
        """Count an operation, and now and then close the windows of worn cells."""
        self.done += 1
        endurance = self.cell.endurance
        if int(self.done) % _AGEING == 0 and not isinstance(endurance, Unknown):
            flat = self.hidden.view(-1)
            self.table.copy_(endurance.wear(self.fresh, self.wear.view(-1), self.life, flat))

    def write(self, weight: Tensor) -> float:
        """Bring weights [N, I] near to given ones, by pulses and reads in turn.

        Weights beyond the range end at its edge.

        Returns:
            The root mean square of what is left, V.

        Raises:
            ShapeError: weights of another shape.
            DataError: one is not finite.
        """
        weight = self._fitting("weights", weight)
        fault = not_finite(weight)
        if fault:
            raise DataError(f"weights to be written are finite, got {fault}; correct them")
        for _ in range(_PROGRAM_ROUNDS):
            gap = weight.detach() - self.weight()
            due = (gap / self.weight_step).round().clamp(-31, 31)
            if not bool(due.any()):
                break
            self.pulse(due)
        return float((weight.detach() - self.weight()).square().mean().sqrt())

    def charge_reads(self, events: Tensor) -> None:
        """Charge reads of rows for events [..., I]; graded ones by their square.

        Raises:
            ShapeError: another number of inputs.
            DataError: an event that is not finite.
        """
        inputs, columns = self.shape[1:]
        if events.dim() < 1 or events.shape[-1] != inputs:
            raise ShapeError(f"rows are {inputs}, got events {[*events.shape]}; correct them")
        flat, read = events.detach().reshape(-1, inputs), self.lay.read
        count = int(torch.count_nonzero(flat)) * columns * self.planes
        strength = flat.double().square().sum(0)
        rows_s = self.conductance_s().double().sum((0, 2))
        joules = float((strength * rows_s).sum()) * read.volt_v**2 * read.width_s
        if not joules < float("inf"):
            raise DataError(f"events are finite, got {not_finite(flat) or 'larger'}; correct them")
        self.ledger.charge_total(
            "read", tile=self.name, count=count, energy_aj=round(joules * ATTOJOULES_PER_JOULE)
        )

    def most_worn(self) -> float:
        """Measured pulses' worth of the most worn cell."""
        return cast(float, self.wear.max().item())
