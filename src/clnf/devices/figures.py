"""Figures of merit of a material, derived from its catalogue row in a way that is said with each.

    states of a cell that is pulsed:      range / step, in mean steps (no count of pulses); with
                                          write noise, levels 6 sigma apart: 1 + range / (6 w dw)
    states of a cell that is programmed:  levels whose +-3 sigma of programming noise do not touch
    write energy of two terminals:        V^2 G t, G in the middle of the window
    retention at another temperature:     t exp(Ea / k (1/T - 1/T0)), only where Ea is known

Each is one figure for a mean cell right after the write: spreads from cell to cell, drift and read
noise are not in it. Gated cells (ECRAM, FeFET, SONOS, capacitor) do not conduct when written, so
V^2 G t says nothing about them. V^2 G t takes the conductance of a read, as NeuroSim does; a cell
conducts differently at the voltage of a write.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

from clnf.core.units import quantity
from clnf.devices.materials import Material, Value

__all__ = [
    "Figure",
    "bounds",
    "endurance",
    "levels",
    "on_off",
    "retention",
    "single",
    "states",
    "write_energy",
    "write_voltage",
]

BOLTZMANN_J_K = 1.380649e-23
TWO_TERMINALS = ("soft_bounds", "exponential", "pcm", "reram", "cbram", "mos2")
SIGMAS = 3.0
_GRID = 4000
_COUNTABLE = 1000  # more levels than this are too fine for the grid


@final
@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of merit, or what is missing for it.

    Attributes:
        value: in SI; None where it cannot be had.
        limit: ``"at_least"`` or ``"at_most"`` where only a bound is known.
        source: where it, or what it was derived from, was published.
        how: what kind of figure it is, or why there is none.
        missing: keys to supply where there is no value, or a bound only.
    """

    value: float | None = quantity("1", None)
    limit: str = ""
    source: str = ""
    how: str = ""
    missing: tuple[str, ...] = ()


def single(material: Material, key: str) -> Figure:
    """A published number as it stands, or the key that is missing."""
    value = material.values.get(key)
    if value is None:
        return Figure(how=f"no {key} was published", missing=(key,))
    return Figure(
        value=value.number,
        limit=value.limit,
        source=value.source,
        how=value.note or "as published",
        missing=(key,) if value.limit else (),
    )


def states(material: Material, asked: float) -> Figure:
    """How many states a cell has: as published, else from its steps or its programming noise.

    Args:
        material: the row.
        asked: states wanted; a published "more than" that is below it gives way to a derivation.
    """
    published = single(material, "states")
    if published.value is not None and (not published.limit or published.value >= asked):
        return published
    derived = _from_steps(material) or _from_programming(material)
    if derived is None or (derived.value or 0.0) < (published.value or 0.0):
        wanted = "no states, and no step or programming noise and window, were published"
        return published if published.value else Figure(how=wanted, missing=("states",))
    return derived


def _from_steps(material: Material) -> Figure | None:
    step, noise = material.values.get("step"), material.values.get("write_noise")
    if step is None:
        return None
    low, high = bounds(material)
    steps = (high - low) / step.number
    how = f"range / step = {steps:.4g} mean steps, which is no count of pulses"
    if noise is None or noise.number == 0:
        return Figure(value=steps, source=step.source, how=how)
    levels = 1 + math.floor(steps / (2 * SIGMAS * noise.number))
    how += f"; write noise of {noise.number:g} steps leaves the levels 6 sigma apart"
    return Figure(value=min(levels, steps), source=step.source, how=how)


def _from_programming(material: Material) -> Figure | None:
    law = _programming(material)
    window = _window(material)
    if law is None or window is None:
        return None
    noise, sigma = law
    low, high, start = window
    count = levels(sigma, low, high)
    fine = count > _COUNTABLE
    return Figure(
        value=count,
        limit="at_least" if fine else "",
        source=noise.source,
        how=f"levels whose +-3 sigma of programming noise do not touch, window {start}",
        missing=("states",) if fine else (),
    )


def bounds(material: Material) -> tuple[float, float]:
    """Lower and upper mean bound of the weight; -1 and 1 where the row does not say otherwise."""
    published = material.values.get("weight_range")
    low, high = published.coefficients if published else (-1.0, 1.0)
    return low, high


def levels(sigma: Callable[[float], float], low: float, high: float) -> int:
    """Count the levels between two ends whose bands of +-3 sigma do not touch.

    The first level is at ``low``, each next one at the first point of a grid of 4000 that fits.
    """
    count, edge = 1, low + SIGMAS * sigma(low)
    for place in range(1, _GRID + 1):
        level = low + (high - low) * place / _GRID
        spread = SIGMAS * max(sigma(level), 0.0)
        if level - spread >= edge:
            count, edge = count + 1, level + spread
    return count


def _programming(material: Material) -> tuple[Value, Callable[[float], float]] | None:
    values = material.values
    if "programming_noise_s" in values and "conductance_max_s" in values:
        noise, top = values["programming_noise_s"], values["conductance_max_s"].number
        return noise, lambda level: _polynomial(noise.coefficients, level / top)
    if "programming_noise_g" in values:
        noise = values["programming_noise_g"]
        return noise, lambda level: _polynomial(noise.coefficients, level)
    if "programming_noise_saturating" in values:
        noise = values["programming_noise_saturating"]
        height, scale = noise.coefficients
        return noise, lambda level: -height * math.expm1(-level / scale)
    return None


def _polynomial(coefficients: Sequence[float], x: float) -> float:
    return sum(factor * x**power for power, factor in enumerate(coefficients))


def _window(material: Material) -> tuple[float, float, str] | None:
    """Ends of the window, in siemens or for a current-read cell in amperes, and how it begins."""
    values = material.values
    current = "programming_noise_saturating" in values
    top = values.get("current_max_a" if current else "conductance_max_s")
    if top is None:
        return None
    if not current and "conductance_min_s" in values:
        return values["conductance_min_s"].number, top.number, "as published"
    if "on_off" in values:
        return top.number / values["on_off"].number, top.number, "from on/off"
    return 0.0, top.number, "from 0, as no lower end was published"


def on_off(material: Material) -> Figure:
    """Largest over smallest conductance: as published, else from the ends of the window."""
    published = single(material, "on_off")
    low, high = (material.values.get(f"conductance_{end}_s") for end in ("min", "max"))
    if published.value is not None or low is None or high is None or low.number == 0:
        return published
    how = "upper over lower end of the window"
    return Figure(value=high.number / low.number, source=high.source, how=how)


def endurance(material: Material, states: float | None) -> Figure:
    """Writes a cell survives; unknown for more states than it was tested with.

    Args:
        material: the row.
        states: states wanted, None where that does not matter.
    """
    figure, tested = single(material, "endurance_cycles"), material.values.get("endurance_states")
    if figure.value is None or tested is None or states is None or states <= tested.number:
        return figure
    how = f"tested with {tested.number:g} states only"
    return Figure(source=figure.source, how=how, missing=("endurance_cycles",))


def retention(material: Material, temperature_k: float | None) -> Figure:
    """How long a state is kept at a temperature.

    A figure published at the same or a higher temperature holds as it stands, which is cautious;
    any other needs the activation energy.

    Args:
        material: the row.
        temperature_k: None takes the figure at whatever temperature it was published.
    """
    figure = single(material, "retention_s")
    measured = material.values.get("retention_temperature_k")
    barrier = material.values.get("retention_activation")
    if temperature_k is None:
        return figure
    if figure.value is None:
        return replace(figure, missing=("retention_s", "retention_temperature_k"))
    if measured is None:
        how = "retention was published without its temperature"
        return Figure(source=figure.source, how=how, missing=("retention_temperature_k",))
    if barrier is not None:
        inverse = 1 / temperature_k - 1 / measured.number
        slower = math.exp(min(barrier.number / BOLTZMANN_J_K * inverse, 600.0))
        how = f"{figure.how}; carried over from {measured.number:g} K with its activation energy"
        return replace(figure, value=figure.value * slower, how=how)
    if measured.number >= temperature_k:
        return replace(figure, how=f"{figure.how}, at {measured.number:g} K")
    how = f"retention was published at {measured.number:g} K, below that, and no activation energy"
    return Figure(source=figure.source, how=how, missing=("retention_activation",))


def write_energy(material: Material) -> Figure:
    """Energy of one write pulse: as published, else V^2 G t in the middle of the window."""
    values = material.values
    if "write_energy_j" in values:
        return single(material, "write_energy_j")
    if material.family not in TWO_TERMINALS:
        how = "a gated cell does not conduct when written, and no energy was published"
        return Figure(how=how, missing=("write_energy_j",))
    keys = ["conductance_max_s", "write_voltage_v", "write_time_s"]
    if "conductance_min_s" not in values and "on_off" not in values:
        keys.insert(0, "conductance_min_s")
    missing = tuple(key for key in keys if key not in values)
    window = _window(material)
    if missing or window is None:
        return Figure(how="V^2 G t lacks a part", missing=missing)
    volts = write_voltage(material)
    energy = (volts.value or 0.0) ** 2 * (window[0] + window[1]) / 2
    limits = {values[key].limit for key in keys} - {""}
    return Figure(
        value=energy * values["write_time_s"].number,
        limit="".join(limits) if len(limits) == 1 else "",
        source=volts.source,
        how="V^2 G t of the larger pulse, G in the middle of the window",
        missing=("write_energy_j",) if limits else (),
    )


def write_voltage(material: Material) -> Figure:
    """Amplitude of the larger of the two write pulses."""
    figure, down = single(material, "write_voltage_v"), material.values.get("write_voltage_down_v")
    if figure.value is None or down is None or abs(down.number) <= figure.value:
        return figure
    return Figure(
        value=abs(down.number),
        limit=down.limit,
        source=down.source,
        how=down.note or "as published, of the pulse down",
    )
