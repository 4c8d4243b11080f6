"""One cell: its parameters, how a pulse, a read and time change it, and where values come from.

The names of the catalogue load with the package, which stays free of torch:

>>> from clnf import devices
>>> devices.material("hfo2_array").family
'soft_bounds'
"""

from typing import Any

# Loaded at once and not when first used: a package binds a module that it loads under the module's
# name, so ``select`` the function has to be bound after ``select`` the module.
from clnf.devices.materials import Material, Value, lookup, material, materials
from clnf.devices.select import Need, select

__all__ = ["Material", "Need", "Value", "fit", "lookup", "material", "materials", "select"]


def __getattr__(name: str) -> Any:
    """Load what needs more than the catalogue when it is first used (PEP 562)."""
    if name == "fit":
        from clnf.devices.fitting import fit

        return fit
    raise AttributeError(f"module 'clnf.devices' has no attribute '{name}'")
