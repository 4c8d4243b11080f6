"""Phase-change cells that store: programming error, drift by structural relaxation, 1/f noise.

    programmed:  G = G_target + sigma_prog(g) xi,  g = G_target / Gmax
    drift:       G(t) = G_prog ((t + t0) / t0)^-nu,  nu once per programming
    read:        sigma(t) = G(t) Q(g) sqrt(ln((t + tr) / (2 tr)))

Drift and noise go by the programmed conductance. Pulses one by one are those of the exponential
family's training row; a row with steps of its own has them here too.

Source: Nandakumar et al., ICECS 2019 (GST); Le Gallo et al., Nat. Electron. 2023 (HERMES).
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.materials import Material
from clnf.devices.noise import PiecewiseNoise, PowerNoise, ReadNoise

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(
        row,
        window=parts.window_from_zero,
        response=parts.exponential_response,
        noise=_noise,
        drift=parts.power_drift,
    )


def _noise(row: Material) -> ReadNoise:
    full, time_s = row.get("conductance_max_s").number, row.get("read_time_s").number
    if "read_noise_log" in row.values:
        return PiecewiseNoise(
            log=parts.four(row, "read_noise_log"),
            start=row.get("read_noise_from").number,
            above=parts.many(row, "read_noise_polynomial"),
            read_time_s=time_s,
            conductance_max_s=full,
        )
    return PowerNoise(
        scale=row.get("read_noise_scale").number,
        exponent=row.get("read_noise_exponent").number,
        cap=row.get("read_noise_cap").number,
        read_time_s=time_s,
        conductance_max_s=full,
    )
