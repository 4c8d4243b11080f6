"""Filamentary and bulk ReRAM that stores: programmed with read-back, relaxing afterwards.

    CMO/HfOx:  G(t) = G_prog + mean ln t + (slope ln t + offset) xi,  read sigma = K log10(G) ...
    NeuRRAM:   spread growing from one second to two days, read sigma = 1 % of G
    others:    programming error only

Pulses one by one are described where a row has steps: supply step, slope_up and slope_down.

Source: Falcone et al., arXiv 2502.04524; Wan et al., Nature 2022; Milo et al., IRPS 2021.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.drift import Drift, LogDrift, RelaxationDrift
from clnf.devices.materials import Material
from clnf.devices.noise import LevelNoise, ReadNoise
from clnf.devices.programming import PolynomialError

__all__ = ["cell"]

_DAY_S = 86400.0


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.linear_response, noise=_noise, drift=_drift)


def _noise(row: Material) -> ReadNoise:
    if "read_noise_log10" in row.values:
        scale_s, time_s = row.get("read_noise_log10").number, row.get("read_time_s").number
        return LevelNoise(scale_s=scale_s, read_time_s=time_s)
    return parts.relative_noise(row)


def _drift(row: Material) -> Drift:
    if "drift_log_mean_s" in row.values:
        slope, offset = row.get("drift_log_spread_s").coefficients
        return LogDrift(mean_s=row.get("drift_log_mean_s").number, spread_s=(slope, offset))
    if "relaxation_spread_1s_s" in row.values:
        full = row.get("conductance_max_s").number
        spreads = tuple(
            PolynomialError(coefficients_s=parts.many(row, f"relaxation_spread_{a}_s"), unit_s=full)
            for a in ("1s", "1d", "2d")
        )
        return RelaxationDrift(ages_s=(1.0, _DAY_S, 2 * _DAY_S), spreads=spreads)
    return parts.no_drift(row)
