"""Laws from catalogue rows: which keys make which part of a cell.

Each function raises DeviceLimitError with the name of the first value it lacks. Spreads that were
not published count as none: the effect is left out, nothing is invented.
"""

from collections.abc import Callable
from typing import NoReturn

from clnf.core.errors import DeviceLimitError
from clnf.devices.cell import Cell, Pulse, Window, known
from clnf.devices.drift import Drift, PowerDrift
from clnf.devices.lifetime import Endurance, Retention
from clnf.devices.materials import Material
from clnf.devices.noise import ReadNoise, RelativeNoise
from clnf.devices.programming import PolynomialError, ProgrammingError
from clnf.devices.response import Response
from clnf.devices.temperature import LinearTemperature

__all__ = [
    "assemble",
    "exponential_response",
    "four",
    "full_scale_error",
    "linear_response",
    "many",
    "no_drift",
    "optional",
    "power_drift",
    "power_response",
    "relative_noise",
    "soft_response",
    "window_from_zero",
    "window_of",
]


def assemble(
    row: Material,
    *,
    response: Callable[[Material], Response],
    window: Callable[[Material], Window] | None = None,
    programming: Callable[[Material], ProgrammingError] | None = None,
    noise: Callable[[Material], ReadNoise] | None = None,
    drift: Callable[[Material], Drift] | None = None,
) -> Cell:
    """A cell from the parts that its family makes in its own way; all others the common way."""
    return Cell(
        material=row,
        window=known(lambda: (window or window_of)(row)),
        response=known(lambda: response(row)),
        pulse=known(lambda: _pulse(row)),
        programming=known(lambda: (programming or full_scale_error)(row)),
        noise=known(lambda: (noise or relative_noise)(row)),
        drift=known(lambda: (drift or no_drift)(row)),
        retention=known(lambda: _retention(row)),
        endurance=known(lambda: _endurance(row)),
        temperature=known(lambda: _temperature(row)),
    )


def optional(row: Material, key: str, default: float = 0.0) -> float:
    """A published number, or what stands for its effect being left out."""
    return row.values[key].number if key in row.values else default


def many(row: Material, key: str) -> tuple[float, ...]:
    """Published coefficients, or none."""
    return row.values[key].coefficients if key in row.values else ()


def four(row: Material, key: str) -> tuple[float, float, float, float]:
    """Four published coefficients."""
    a, b, c, d = row.get(key).coefficients
    return a, b, c, d


def window_of(row: Material) -> Window:
    """Gmin and Gmax; Gmin from the on/off ratio where only that is known, else 0."""
    high = row.get("conductance_max_s").number
    if "conductance_min_s" in row.values:
        return Window(low_s=row.get("conductance_min_s").number, high_s=high)
    ratio = optional(row, "on_off")
    return Window(low_s=high / ratio if ratio else 0.0, high_s=high)


def window_from_zero(row: Material) -> Window:
    """Gmax alone: cells that are reset all the way are programmed from 0 up."""
    return Window(low_s=0.0, high_s=row.get("conductance_max_s").number)


def _pulse(row: Material) -> Pulse:
    """The write pulse; down as up where only that is known."""
    up = row.get("write_voltage_v").number
    down = optional(row, "write_voltage_down_v", -up)
    return Pulse(up_v=up, down_v=down, width_s=row.get("write_time_s").number)


def _spreads(row: Material) -> dict[str, float]:
    keys = {
        "step_spread": "step_spread",
        "bias_spread": "up_down_spread",
        "bound_max_spread": "bound_max_spread",
        "bound_min_spread": "bound_min_spread",
        "cycle_spread": "cycle_spread",
        "dead_fraction": "dead_fraction",
    }
    low, high = _bounds(row)
    return {name: optional(row, key) for name, key in keys.items()} | {
        "write_noise": _write_noise(row),
        "bound_min": low,
        "bound_max": high,
    }


def _bounds(row: Material) -> tuple[float, float]:
    low, high = many(row, "weight_range") or (-1.0, 1.0)
    return low, high


def _steps(row: Material) -> dict[str, float]:
    if "step_up" in row.values or "step_down" in row.values:
        names = ("step_up", "step_down")
        return {name: row.get(name).number for name in names}
    # As in the simulator whose tables the rows are from: a bias weakens one direction and leaves
    # the other, up where it is negative, down where it is positive.
    step, bias = row.get("step").number, optional(row, "up_down_bias")
    return {"step_up": step * (1 + min(bias, 0.0)), "step_down": step * (1 - max(bias, 0.0))}


def _write_noise(row: Material) -> float:
    """Write noise in mean steps of both directions; ``step`` is what its source counts it in."""
    if "step" not in row.values or "step_up" in row.values:
        return optional(row, "write_noise")
    mean = sum(_steps(row).values()) / 2
    return optional(row, "write_noise") * row.get("step").number / mean if mean > 0 else 0.0


def linear_response(row: Material) -> Response:
    """Steps that fall linearly towards the bound."""
    up, down = row.get("slope_up").number, row.get("slope_down").number
    steps = _steps(row)
    return Response(kind="linear", shape_up=up, shape_down=down, **steps, **_spreads(row))


def soft_response(row: Material) -> Response:
    """Steps that fall linearly to nothing at the bound."""
    steps = _steps(row)
    return Response(kind="linear", shape_up=1.0, shape_down=1.0, **steps, **_spreads(row))


def exponential_response(row: Material) -> Response:
    """Steps that change exponentially with the state."""
    up, down = (
        row.values.get(f"exponential_gamma_{d}") or row.get("exponential_gamma")
        for d in ("up", "down")
    )
    return Response(
        kind="exponential",
        shape_up=up.number,
        shape_down=down.number,
        factor_up=row.get("exponential_up").number,
        factor_down=row.get("exponential_down").number,
        scale=row.get("exponential_a").number,
        offset=row.get("exponential_b").number,
        **_steps(row),
        **_spreads(row),
    )


def power_response(row: Material) -> Response:
    """Steps that fall as a power of the way left."""
    shapes = [row.get(f"power_{d}").number for d in ("up", "down")]
    steps = _steps(row)
    return Response(
        kind="power", shape_up=shapes[0], shape_down=shapes[1], **steps, **_spreads(row)
    )


def full_scale_error(row: Material) -> PolynomialError:
    """Programming error, a polynomial in g = G / Gmax, or in G where that was published."""
    if "programming_noise_s" in row.values:
        full = row.get("conductance_max_s").number
        return PolynomialError(coefficients_s=many(row, "programming_noise_s"), unit_s=full)
    error = row.get("programming_noise_g").coefficients
    return PolynomialError(coefficients_s=error, unit_s=1.0)


def power_drift(row: Material) -> PowerDrift:
    """Drift by a power of time, its exponent from the programmed conductance."""
    return PowerDrift(
        mean=four(row, "drift_mean"),
        mean_start=optional(row, "drift_mean_from", 2.0),
        mean_above=many(row, "drift_mean_polynomial"),
        spread=four(row, "drift_spread"),
        spread_start=optional(row, "drift_spread_from", 2.0),
        spread_above=many(row, "drift_spread_polynomial"),
        reference_s=row.get("drift_reference_s").number,
        conductance_max_s=row.get("conductance_max_s").number,
    )


def _retention(row: Material) -> Retention:
    """Loss of a state."""
    temperature = optional(row, "retention_temperature_k") or None
    activation = optional(row, "retention_activation") or None
    time_s = row.get("retention_s").number
    return Retention(retention_s=time_s, temperature_k=temperature, activation_j=activation)


def _endurance(row: Material) -> Endurance:
    """Writes a cell survives."""
    return Endurance(cycles=row.get("endurance_cycles").number)


def _temperature(row: Material) -> LinearTemperature:
    """Change of conductance with temperature."""
    return LinearTemperature(per_k=row.get("conductance_temperature_coefficient").number)


def relative_noise(row: Material) -> RelativeNoise:
    """Read noise as a share of the conductance."""
    return RelativeNoise(fraction=row.get("read_noise_scale").number)


def no_drift(row: Material) -> NoReturn:
    """For families whose sources have no law of drift.

    Raises:
        DeviceLimitError: always.
    """
    raise DeviceLimitError(
        f"no law of drift was published for {row.name} ({row.title}); cells of this family do "
        "not drift here"
    )
