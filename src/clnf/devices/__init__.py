"""One cell: its parameters, how a pulse, a read and time change it, and where values come from.

The names of the catalogue load with the package, which stays free of torch; ``Cell`` loads when
first used:

>>> from clnf import devices
>>> devices.material("hfo2_array").family
'soft_bounds'
"""

import importlib
from typing import TYPE_CHECKING, Any

# Loaded at once and not when first used: a package binds a module that it loads under the module's
# name, so ``select`` the function has to be bound after ``select`` the module.
from clnf.devices.materials import Material, Value, lookup, material, materials
from clnf.devices.select import Need, select

if TYPE_CHECKING:
    from clnf.devices.cell import Cell
    from clnf.devices.fitting import fit

_LATER = {"Cell": "clnf.devices.cell", "fit": "clnf.devices.fitting"}

__all__ = ["Cell", "Material", "Need", "Value", "fit", "lookup", "material", "materials", "select"]


def __getattr__(name: str) -> Any:
    """Load what needs more than the catalogue when it is first used (PEP 562)."""
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'clnf.devices' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the names without loading them."""
    return [*__all__]
