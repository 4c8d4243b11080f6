"""How a file in continuous time becomes steps, and cells of a file cells of this room.

A file says neither how long a step is nor what a value in it stands for. Three meanings are in use:

    hold   x lasts for the step                        an exact step adds r (1 - exp(-dt/tau)) x
    kick   x dt arrives at once as the step ends                          r dt/tau x
    dirac  x arrives at once, an event of area 1                          r / tau x

Tools in which a spike adds its weight to the membrane write r = tau/dt, which is 1 under "kick" and
under explicit steps of "hold". For IF and I, r dt x, r dt x and r x.
"""

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch

from clnf.core.errors import ConfigError, DataError
from clnf.core.inputs import check_fields, number
from clnf.core.units import quantity
from clnf.spiking.cells import IF, LI, LIF, AbstractCell, CubaLI, CubaLIF
from clnf.spiking.coefficients import Method, Value
from clnf.spiking.exchange.extras import ours
from clnf.spiking.exchange.graph import SPIKING, Array, Graph, Node

__all__ = ["Meaning", "Reading", "cell_of", "values_of"]

Meaning = Literal["hold", "kick", "dirac"]


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file is read as.

    Attributes:
        dt_s: seconds of a step.
        drive: what a value in a step stands for, see the head of this module.
        method: how a step is taken, see :mod:`clnf.spiking.cells`.
    """

    dt_s: float = quantity("s")
    drive: Meaning = "hold"
    method: Method = "exact"

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < number("dt_s", self.dt_s) < float("inf"):
            raise ConfigError(f"dt_s must be above 0, got {self.dt_s}; correct it")

    @staticmethod
    def of(graph: Graph) -> "Reading":
        """As the graph was written here.

        Raises:
            DataError: it was not, and does not say.
        """
        found = ours(graph.metadata).get("reading")
        if not isinstance(found, dict):
            raise DataError(
                "the file does not say how long a step is, nor what a value stands for; give a "
                "Reading, such as Reading(dt_s=1e-3, drive='hold')"
            )
        try:
            return Reading(**{str(key): value for key, value in found.items()})
        except TypeError:
            raise DataError(f"the file's reading is damaged, got {found}; give one") from None

    def gain(self, r: Array, tau: Array | float) -> Array:
        """Volts for an input of 1; for the cells' own ``drive``, from NIR's ``r`` and ``tau``."""
        if self.drive == "hold":
            return r
        return r * (self.dt_s / tau) if self.drive == "kick" else r / tau


def values_of(array: Array, dtype: torch.dtype) -> Value:
    """A parameter: one number where all cells share it, else a tensor.

    Raises:
        DataError: a value that is not finite in this type.
    """
    found = torch.from_numpy(np.array(array, np.float64)).to(dtype)
    if not bool(found.isfinite().all()):
        raise DataError(f"parameters are finite {str(dtype)[6:]}, got {_first_bad(array)}")
    if array.size and (array == array.flat[0]).all():
        return float(array.flat[0])
    return found


def _first_bad(array: Array) -> str:
    wide = array.reshape(-1).astype(np.float64)
    bad = wide[~(np.abs(wide) < 3e38)]
    return f"{bad[0]:g}" if bad.size else "a value out of range"


@np.errstate(all="ignore")  # files hold any numbers
def cell_of(node: Node, how: Reading, dtype: torch.dtype = torch.float32) -> AbstractCell:
    """The cells of this room with the equations of a node.

    What only we write, a reset by subtraction and a refractory time, is taken from the metadata.

    Raises:
        DataError: the node is no population, or a parameter is not finite.
        ConfigError: a time constant is not above 0, or shorter than an explicit step.

    >>> one = {"tau": [0.02], "r": [2.0], "v_leak": [0.0]}
    >>> cell_of(Node.of("LI", one), Reading(dt_s=1e-3)).gain
    2.0
    """
    kind, wide = node.kind, {}
    for name in ("r", "tau", "tau_mem", "tau_syn", "w_in", "v_leak", "v_threshold", "v_reset"):
        if name in node.values or (name == "w_in" and kind.startswith("Cuba")):
            wide[name] = node.array(name).astype(np.float64)
            values_of(wide[name], dtype)
    for name in ("tau", "tau_mem", "tau_syn"):
        if name in wide and not (wide[name] > 0).all():
            raise DataError(f"{name} must be above 0 s, got {wide[name].min():g}; correct it")
    with np.errstate(over="ignore"):
        if kind in ("IF", "I"):
            # Without a leak, r is volts a second.
            gain = how.gain(wide["r"], 1.0)
        elif kind.startswith("Cuba"):
            gain = how.gain(wide["r"] * wide["w_in"], wide["tau_syn"])
        else:
            gain = how.gain(wide["r"], wide["tau"])
    more: dict[str, Any] = {"gain": values_of(gain, dtype), "method": how.method}
    more["drive"] = "hold" if how.drive == "hold" else "kick"
    if kind in SPIKING:
        more |= _spiking(node, dtype)
    if kind in ("LI", "LIF", "CubaLI", "CubaLIF"):
        more["tau_s"] = values_of(wide["tau_mem" if kind.startswith("Cuba") else "tau"], dtype)
        more["leak_v"] = values_of(wide["v_leak"], dtype)
    if kind.startswith("Cuba"):
        more["synapse_tau_s"] = values_of(wide["tau_syn"], dtype)
    if kind == "I":
        more |= {"tau_s": float("inf"), "drive": "kick"}
        if how.drive == "hold":
            more["gain"] = values_of(wide["r"] * how.dt_s, dtype)
        return LI(**more)
    kinds: dict[str, Any] = {
        "IF": IF, "LI": LI, "LIF": LIF, "CubaLI": CubaLI, "CubaLIF": CubaLIF
    }  # fmt: skip
    if kind not in kinds:
        raise DataError(f"{kind} is no population of cells")
    return kinds[kind](**more)


def _spiking(node: Node, dtype: torch.dtype) -> dict[str, Any]:
    own = ours(node.metadata).get("cell")
    own = own if isinstance(own, dict) else {}
    more: dict[str, Any] = {"threshold_v": values_of(node.array("v_threshold"), dtype)}
    if own.get("reset") != "subtract":
        more["reset_v"] = values_of(node.array("v_reset"), dtype)
    if "refractory_s" in own:
        more["refractory_s"] = number("refractory_s", own["refractory_s"])
    return more
