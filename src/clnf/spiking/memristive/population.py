"""A population taught by its spikes alone: rows and columns drive waves, cells do the rest.

    v <- decay v + push + sum over rows that spike of W x,   spike where v > threshold + lift
    lift <- fading lift, + jump with each spike

A spike sets its cell to the reset, and it rests for a while. With ``inhibit_s`` only the cell
furthest above its threshold spikes in a step; all others are set back and held for that time. That
competition and the rising threshold are what makes cells of one population learn different things
(Querlioz et al. 2013). ``push`` is anything from outside, in volts: a teacher, or what must not
spike.

One sample at a time: what a sample writes is read by the next.

Source: Querlioz et al., IEEE Trans. Nanotechnology 12, 288 (2013).
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, DataError, ShapeError
from clnf.core.inputs import check_fields, instance, seconds
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.devices.dispatch import run
from clnf.devices.draws import hash_key
from clnf.spiking.coefficients import check_finite
from clnf.spiking.memristive import kernels, reference
from clnf.spiking.memristive.cells import CellArray
from clnf.spiking.memristive.kernels import Job, Lines, Matter, Population, Rule, Tables
from clnf.spiking.memristive.overlap import Overlap

__all__ = ["Competition", "MemristivePopulation"]


@final
@dataclass(frozen=True, kw_only=True)
class Competition:
    """Cells of a population.

    Attributes:
        tau_s: of the membrane.
        threshold_v: above which a cell spikes, before its lift.
        reset_v: what a spike sets it to.
        rest_s: after a cell's own spike.
        inhibit_s: how long a spike holds all others; 0 for no competition.
        jump_v: lift of the threshold with each spike.
        lift_tau_s: how fast the lift fades.
    """

    tau_s: float = quantity("s", 20e-3)
    threshold_v: float = quantity("V", 1.0)
    reset_v: float = quantity("V", 0.0)
    rest_s: float = quantity("s", 0.0)
    inhibit_s: float = quantity("s", 0.0)
    jump_v: float = quantity("V", 0.0)
    lift_tau_s: float = quantity("s", 1.0)

    def __post_init__(self) -> None:
        check_fields(self)
        check_finite(self)
        times = self.rest_s, self.inhibit_s, self.jump_v
        if not (self.tau_s > 0 and self.lift_tau_s > 0 and min(times) >= 0):
            raise ConfigError(
                "time constants are above 0, rest, inhibition and jump at least 0, got "
                f"{self.tau_s}, {self.lift_tau_s} and {times}; correct them"
            )
        if not self.reset_v < self.threshold_v < float("inf"):
            raise ConfigError(
                f"the reset is below the threshold, got {self.reset_v} and {self.threshold_v} V"
            )

    def rule(self, dt_s: float, cells: CellArray) -> Rule:
        """The numbers kernels work with."""
        single: Any = np.float32  # kernels and their twin round alike
        return Rule(
            decay=single(math.exp(-dt_s / self.tau_s)),
            threshold=single(self.threshold_v),
            reset=single(self.reset_v),
            jump=single(self.jump_v),
            fading=single(math.exp(-dt_s / self.lift_tau_s)),
            rest=round(self.rest_s / dt_s),
            held=round(self.inhibit_s / dt_s),
            scale=single(cells.scale_v),
            reference=single(cells.reference),
        )


@final
class MemristivePopulation(nn.Module):
    """Cells of a population behind memristive synapses, from event streams.

    Args:
        cells: the synapses.
        overlap: waves on rows and columns.
        competition: the cells behind them.
        dt_s: seconds of a step.

    Raises:
        ConfigError: waves for another cell than that of the synapses, or no step.

    >>> from clnf.devices.families import cell
    >>> from clnf.devices.materials import material
    >>> from clnf.devices.voltage import Threshold
    >>> row = material("ecram_li").supply(conductance_min_s=1e-6, conductance_max_s=1e-5)
    >>> one = cell(row.supply(write_voltage_v=1.0, write_time_s=1e-6))
    >>> law = Threshold(threshold_v=0.5, exponent=1.0, source="an example")
    >>> waves = Overlap.simplified(one, law, window_s=10e-3, width_s=1e-3)
    >>> cells = CellArray((1, 2), one, seed=1)
    >>> layer = MemristivePopulation(cells, waves, Competition(), dt_s=1e-3)
    >>> x, before = torch.tensor([[1.0, 0.0]]).repeat(4, 1), cells.weight()
    >>> spikes = layer.run(x, push=torch.full((4, 1), 0.6))
    >>> bool(cells.weight()[0, 0] > before[0, 0]), bool(cells.weight()[0, 1] < before[0, 1])
    (True, True)
    """

    lift: Tensor
    steps: Tensor

    def __init__(
        self, cells: CellArray, overlap: Overlap, competition: Competition, *, dt_s: float
    ) -> None:
        super().__init__()
        self.cells = instance("cells", cells, CellArray)
        self.overlap = instance("overlap", overlap, Overlap)
        self.competition = instance("competition", competition, Competition)
        self.dt_s = seconds("dt_s", dt_s)
        overlap.check_cell(cells.cell)
        found = overlap.tables(dt_s)
        self._tables = Tables(*(torch.from_numpy(np.ascontiguousarray(one)) for one in found))
        self.register_buffer("lift", torch.zeros(cells.shape[2]))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def run(self, x: object, *, push: Tensor | None = None, learn: bool = True) -> Tensor:
        """Spikes [T, N] for events [T, I] of one sample, from rest.

        Args:
            x: spikes, or graded ones.
            push: volts from outside at each step, [T, N].
            learn: whether lines are driven by waves; reads go on either way.

        Raises:
            ShapeError: events or pushes do not fit.
            DataError: events that are not finite, or a push that is NaN.
        """
        x = dense("events", x, dtype=torch.float32).contiguous()
        cells, (_, inputs, neurons) = self.cells, self.cells.shape
        push = (
            torch.zeros(len(x), neurons)
            if push is None
            else dense("pushes", push, dtype=torch.float32)
        )
        if x.dim() != 2 or x.shape[1] != inputs or push.shape != (len(x), neurons):
            raise ShapeError(
                f"events are [T, {inputs}] and pushes [T, {neurons}], got {[*x.shape]} and "
                f"{[*push.shape]}; correct them"
            )
        if bool(push.isnan().any()):
            raise DataError(f"pushes are volts, got {not_finite(push)}; correct them")
        cells.charge_reads(x)
        still, quiet = (size - 1 for size in self._tables.up.shape)
        lines = Lines(
            torch.full((inputs,), still, dtype=torch.int32),
            torch.full((neurons,), quiet, dtype=torch.int32),
        )
        zeros, waits = torch.zeros(neurons), torch.zeros(neurons, dtype=torch.int32)
        population = Population(zeros, self.lift, waits)
        out, sums = torch.empty(len(x), neurons), torch.zeros(2, dtype=torch.int64)
        job = Job(x, push.contiguous(), out, sums, int(self.steps), learn)
        rule = self.competition.rule(self.dt_s, cells)
        args = job, self._matter(), lines, population, rule, self._tables
        run(kernels.run, reference.run, args, compiled=cells.lay.kernels)
        if learn:
            self.steps += len(x)
            count, energy = sums.tolist()
            cells.ledger.charge_total("wave", tile=cells.name, count=count, energy_aj=energy)
            cells.worked()
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, B, N] of events [T, B, I]; learns in training mode, sample by sample."""
        each = [self.run(one, learn=self.training) for one in x.unbind(1)]
        return torch.stack(each, 1)

    def _matter(self) -> Matter:
        """The synapses' state as kernels take it."""
        cells, (low, high) = self.cells, self.cells.cell.bounds
        window = cells.cell.need(cells.cell.window)
        slope = window.span_s / (high - low)
        key: Any = hash_key(cells.seed, "waves", words=6)
        return Matter(
            cells.hidden, cells.seen, cells.wear, cells.table, cells.response.law(), key,
            window.low_s - slope * low, slope,
        )  # fmt: skip
