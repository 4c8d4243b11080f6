"""A capacitor and three transistors: steps nearly constant, and the charge leaks.

    step(w) = dw (1 - slope w / b)
    G(t) = rest + (G - rest) exp(-t / tau)

The life of a charge is published in batches of training; supply batch_s, the time one takes, to
have it leak. Rest is the middle of the window, as the source's model decays to w = 0.

Source: Li et al., VLSI 2018.
"""

from clnf.devices import parts
from clnf.devices.cell import Cell
from clnf.devices.drift import LeakDrift
from clnf.devices.materials import Material

__all__ = ["cell"]


def cell(row: Material) -> Cell:
    """The cell of a row of this family."""
    return parts.assemble(row, response=parts.linear_response, drift=_leak)


def _leak(row: Material) -> LeakDrift:
    window = parts.window_of(row)
    batch_s, batches = row.get("batch_s").number, row.get("state_lifetime_batches").number
    return LeakDrift(
        lifetime_s=batch_s * batches,
        spread=parts.optional(row, "state_lifetime_spread"),
        rest_s=(window.low_s + window.high_s) / 2,
    )
