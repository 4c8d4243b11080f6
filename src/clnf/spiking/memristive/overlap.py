"""Two waves meet at a cell: the voltage across it, and what the cell's own law makes of that.

    V(t) = V_column(t - t_post) - V_row(t - t_pre)
    dose up   = integral over V > 0 of f(V) / f(V0) dt / t0        in measured pulses
    dose down = integral over V < 0 of f(|V|) / f(|V0-|) dt / t0
    heat      = integral of V^2 dt,  energy = G x heat

f is a law of :mod:`clnf.devices.voltage`; V0, V0- and t0 are those of the pulses at which steps of
the cell were measured. So a window of STDP is nobody's assumption here: it follows from two waves
and a cell. A cell whose row or column alone is active is half-selected, and is treated alike.

``speed`` is how much faster lines run than spikes do: with 1 a wave of 20 ms is on the line for
20 ms; with 1000, as in accelerated circuits, for 20 us. With ``gated`` a cell's row is driven only
while its column is, which saves what rows give off while they wait: there each column needs a
switch of its own.

Simplified: a step is proportional to the time a voltage lasts, and one law holds for both signs;
lines have no resistance and no capacity. Cells for which the sign of a voltage does not matter
(phase change) have no such window.

Sources: Zamarreno-Ramos et al., Frontiers in Neuroscience 5, 26 (2011), equations 1 to 4.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import ConfigError, DeviceLimitError, ShapeError
from clnf.core.inputs import check_fields, number, seconds, shown
from clnf.core.ledger import ATTOJOULES_PER_JOULE
from clnf.core.tensors import dense, not_finite
from clnf.core.units import quantity
from clnf.devices.cell import Cell, Pulse
from clnf.devices.voltage import AbstractVoltageLaw, law_of
from clnf.spiking.memristive.kernels import Tables
from clnf.spiking.memristive.waves import Wave, bipolar, rectangle

__all__ = ["Overlap", "Window", "window"]

_POINTS = 64  # at which a step of a wave is looked at
_FEWEST = 32  # of them between two corners
_MOST_PHASES = 4096
_MOST_DOSE = 1000.0
# Of what two waves write together, what one alone may.
_MOST_SPOILED = 0.25
# A step that moves a cell by less than this share of a pulse is no write.
_LEAST_DOSE = 1e-3


def _check_speed(speed: float) -> None:
    if not 0 < speed < float("inf"):
        raise ConfigError(f"a speed is above 0, got {speed}; correct it")


@final
@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Waves on rows and columns, and the cells between them.

    Attributes:
        pre: on a row, after a spike before the synapse.
        post: on a column, after a spike behind it.
        law: how a cell's step follows from volts.
        pulse: at which the cell's steps were measured.
        speed: of lines against spikes, see the head of this module.
        gated: whether a row reaches a cell only while the cell's column is driven.
    """

    pre: Wave
    post: Wave
    law: AbstractVoltageLaw
    pulse: Pulse
    speed: float = quantity("1", 1.0)
    gated: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        _check_speed(self.speed)
        if min(map(self.law.rate, (self.pulse.up_v, self.pulse.down_v))) <= 0:
            raise DeviceLimitError(
                f"pulses of {self.pulse.up_v} and {self.pulse.down_v} V, at which steps were "
                "measured, move nothing by this law; its threshold must be below them"
            )

    @classmethod
    def simplified(
        cls,
        cell: Cell,
        law: AbstractVoltageLaw | None,
        *,
        window_s: float,
        width_s: float,
        doses: tuple[float, float] = (1.0, 0.5),
        speed: float = 1.0,
    ) -> "Overlap":
        """A rectangle before, two levels behind: up if the row spiked lately, down if not.

        A column's first level alone writes down. While a row's rectangle lasts it is held off, and
        the second level and the rectangle together write up; each of them is half of what that
        takes.

        Args:
            cell: whose pulse and law.
            law: numbers of yours.
            window_s: how long a spike before counts as late.
            width_s: of each of the two levels.
            doses: measured pulses of a spike behind, up and down.
            speed: of lines against spikes.

        Raises:
            ConfigError: a time, a dose or a speed that is not above 0 and finite, or no two doses.
            DeviceLimitError: the cell's pulse or law is unknown, or a voltage alone would write
                what only two together may.
        """
        pulse, known = cell.need(cell.pulse), law_of(cell, law)
        seconds("window_s", window_s), seconds("width_s", width_s)
        _check_speed(number("speed", speed))
        if not isinstance(doses, tuple | list) or len(doses) != 2:
            raise ConfigError(f"doses are two numbers, up and down, got {shown(doses)}; give both")
        if not all(0 < number("a dose", dose) < float("inf") for dose in doses):
            raise ConfigError(f"doses are pulses above 0, got {doses}; correct them")
        rates = [dose * pulse.width_s * speed / width_s for dose in doses]
        up_v = known.amplitude_v(rates[0] * known.rate(pulse.up_v))
        down_v = known.amplitude_v(rates[1] * known.rate(pulse.down_v))
        found = cls(
            pre=rectangle(-up_v / 2, window_s), post=bipolar(-down_v, up_v / 2, width_s),
            law=known, pulse=pulse, speed=speed,
        )  # fmt: skip
        both = found.rates(np.array([up_v / 2 - down_v, up_v / 2])) * pulse.width_s
        spoiled = max(-float(both[0]) / rates[1], float(both[1]) * window_s / width_s / rates[0])
        if spoiled > _MOST_SPOILED:
            raise DeviceLimitError(
                f"{up_v / 2:.3g} V of a row alone, or left of {down_v:.3g} V down, would write "
                f"{spoiled:.0%} of what both together do; take a steeper law, smaller doses, wider "
                "levels or slower lines"
            )
        return found

    def check_cell(self, cell: Cell) -> None:
        """Refuse a cell whose steps were measured at another pulse than the one of these waves.

        Raises:
            ConfigError: it is another cell.
        """
        found = cell.need(cell.pulse)
        if found != self.pulse:
            raise ConfigError(
                f"these waves are for a cell that is measured at {self.pulse}, got "
                f"{cell.material.name} at {found}; make an Overlap for this cell"
            )

    def rates(self, volts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measured pulses a second of a line's time at volts across a cell, signed."""
        fine, place = np.unique(np.round(volts, 9), return_inverse=True)
        up, down = self.law.rate(self.pulse.up_v), self.law.rate(self.pulse.down_v)
        each = [self.law.rate(v) / up if v > 0 else -self.law.rate(v) / down for v in fine]
        # A law may be above 0 without any voltage (the exponential one); no voltage is no step.
        found = np.where(fine == 0.0, 0.0, each)[place].reshape(volts.shape)
        return np.asarray(found / self.pulse.width_s, np.float64)

    def tables(self, dt_s: float) -> Tables:
        """What steps of ``dt_s`` seconds of spikes' time do, for all pairs of phases.

        Levels are added up without an error, also those of waves much shorter than a step.

        Raises:
            ConfigError: ``dt_s`` is no finite time above 0, or so short that waves have too many
                steps.
            DeviceLimitError: a step would be more than a thousand pulses.
        """
        seconds("dt_s", dt_s)
        phases = [int(np.ceil(wave.end_s / dt_s - 1e-9)) for wave in (self.pre, self.post)]
        if max(phases) > _MOST_PHASES:
            raise ConfigError(
                f"waves of {max(phases)} steps of {dt_s} s are more than {_MOST_PHASES}; take "
                "longer steps"
            )
        inside, part = _inside((self.pre, self.post), dt_s)
        lines = []
        for wave, count in zip((self.pre, self.post), phases, strict=True):
            v = wave.at((np.arange(count)[:, None] + inside) * dt_s)
            lines.append(np.concatenate([v, np.zeros((1, len(inside)))]))
        volts = lines[1][None] - lines[0][:, None]
        if self.gated:
            volts[:, -1] = 0.0
        line_s = dt_s / self.speed * part
        rate = self.rates(volts)
        up, down = ((np.maximum(sign * rate, 0.0) * line_s).sum(-1) for sign in (1, -1))
        _check_dose("a step of these waves", max(up.max(), down.max()))
        heat = (np.square(volts) * line_s).sum(-1) * ATTOJOULES_PER_JOULE
        writes = _begins(up) + _begins(down)
        return Tables(up.astype(np.float32), down.astype(np.float32), heat, writes)


def _check_dose(what: str, dose: float) -> None:
    if not dose <= _MOST_DOSE:
        raise DeviceLimitError(
            f"{what} is {dose:.3g} measured pulses, at most {_MOST_DOSE:g} make sense; lower the "
            "waves or speed them up"
        )


def _inside(
    waves: tuple[Wave, ...], dt_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of a step, in steps, and the part of it that each stands for.

    They lie between the places that corners of waves have in their steps.
    """
    places = np.concatenate([np.array(wave.times_s) / dt_s % 1.0 for wave in waves])
    inner = np.unique(np.round(places, 9) % 1.0)
    corners = np.unique([0.0, *inner, 1.0])
    points, parts = [], []
    for first, last in pairwise(corners):
        count = max(_FEWEST, round((last - first) * _POINTS))
        points.append(first + (last - first) * (np.arange(count) + 0.5) / count)
        parts.append(np.full(count, (last - first) / count))
    return np.concatenate(points), np.concatenate(parts)


def _begins(dose: NDArray[np.float64]) -> NDArray[np.int32]:
    """Where a write begins: a dose in this step, and none in the one before it."""
    busy = dose > _LEAST_DOSE
    before = np.zeros_like(busy)
    before[1:, 1:] = busy[:-1, :-1]
    before[-1, 1:] |= busy[-1, :-1]
    before[1:, -1] |= busy[:-1, -1]
    return (busy & ~before).astype(np.int32)


class Window(NamedTuple):
    """What a pair of spikes does to a cell, by how much later the second one is.

    Attributes:
        change_s: of the conductance, S.
        up: measured pulses up.
        down: measured pulses down.
        energy_j: given off in the cell.
    """

    change_s: Tensor
    up: Tensor
    down: Tensor
    energy_j: Tensor


def window(cell: Cell, overlap: Overlap, lags_s: object, *, weight: float = 0.0) -> Window:
    """The window of STDP of a typical cell: no spread, no noise, one pair of spikes.

    Args:
        cell: between the lines.
        overlap: their waves.
        lags_s: by how much the spike behind the synapse is later, [L].
        weight: where the cell is before, between the bounds of its steps.

    Raises:
        ConfigError: waves for another cell, or a weight out of bounds.
        ShapeError: lags that are not finite times [L].
        DeviceLimitError: the cell's window or steps are unknown, or a pair of spikes would be more
            than a thousand pulses.

    >>> from clnf.devices.families import cell
    >>> from clnf.devices.materials import material
    >>> from clnf.devices.voltage import Threshold
    >>> row = material("ecram_li").supply(conductance_min_s=1e-6, conductance_max_s=1e-5)
    >>> row = row.supply(write_voltage_v=2.0, write_time_s=1e-3)
    >>> law = Threshold(threshold_v=1.0, exponent=1.0, source="an example")
    >>> found = Overlap.simplified(cell(row), law, window_s=20e-3, width_s=1e-3)
    >>> [round(v, 2) for v in window(cell(row), found, [5e-3, -5e-3]).change_s.mul(1e9).tolist()]
    [9.0, -4.5]
    """
    cell.need(cell.window)
    response = cell.need(cell.response)
    overlap.check_cell(cell)
    if not response.bound_min <= number("weight", weight) <= response.bound_max:
        raise ConfigError(
            f"a cell is between the bounds of its steps, {response.bound_min:g} and "
            f"{response.bound_max:g}, got weight {weight}; correct it"
        )
    given = dense("lags_s", lags_s, dtype=torch.float64).detach()
    if given.dim() != 1 or not len(given) or not_finite(given):
        raise ShapeError(
            f"lags are finite times in one row, got shape {[*given.shape]} "
            f"{not_finite(given)}; correct them".replace(" ;", ";")
        )
    lags = given.numpy()
    volts, each_s = _across(overlap, lags)
    dose = torch.from_numpy(overlap.rates(volts) * each_s)
    heat = torch.from_numpy(np.square(volts) * each_s)
    up, down = ((dose * sign).clamp(min=0.0).sum(1) for sign in (1, -1))
    _check_dose("a pair of spikes", max(float(up.max()), float(down.max())))
    w = torch.full((len(lags),), float(weight), dtype=torch.float64)
    begun, energy = cell.conductance_s(w.clone()), torch.zeros_like(w)
    for now, warm in zip(dose.T, heat.T, strict=True):
        energy += cell.conductance_s(w.clone()) * warm
        for sign in (1, -1):
            size = (now * sign).clamp(min=0.0)
            parts = int(np.ceil(float(size.max()) * 10))  # a tenth of a pulse at a time
            for _ in range(parts):
                moved = w + sign * size / parts * response.mean_step(w, up=sign > 0).clamp(min=0.0)
                w = moved.clamp(response.bound_min, response.bound_max)
    return Window(cell.conductance_s(w.clone()) - begun, up, down, energy)


def _across(
    overlap: Overlap, lags: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Volts across a cell at points of each lag, in order, and a line's seconds of each; [L, K].

    Points lie between the corners of both waves, so that levels are added up without an error.
    """
    pre, post = overlap.pre, overlap.post
    own = np.broadcast_to((0.0, *pre.times_s), (len(lags), len(pre.times_s) + 1))
    behind = lags[:, None] + np.array((0.0, *post.times_s))
    corners = np.sort(np.concatenate([own, behind], 1), axis=1)
    gaps = np.diff(corners)
    inside = (np.arange(_POINTS) + 0.5) / _POINTS
    at = (corners[:, :-1, None] + gaps[:, :, None] * inside).reshape(len(lags), -1)
    each_s = np.repeat(gaps / _POINTS, _POINTS, axis=1) / overlap.speed
    since = at - lags[:, None]
    row = pre.at(at)
    if overlap.gated:
        row = np.where((since < 0) | (since > post.end_s), 0.0, row)
    return post.at(since) - row, each_s
