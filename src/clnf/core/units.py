"""Units of numeric fields, as machine-readable metadata.

SI inside, always. A dataclass field of a public record names its unit:

    tau_s: float = quantity("s", 1e-3)

and a test of the house fails on a numeric field without one ("1" marks a pure number).
"""

import dataclasses
from typing import Any

__all__ = ["quantity", "units_of"]


def quantity(unit: str, default: Any = dataclasses.MISSING) -> Any:
    """Declare a dataclass field with its unit.

    Args:
        unit: SI symbol such as ``"S"``, ``"J"``, ``"V"``; ``"1"`` for a pure number.
        default: the field's default; without one the field is required.

    Returns:
        A ``dataclasses.field`` carrying ``{"unit": unit}``.
    """
    return dataclasses.field(default=default, metadata={"unit": unit})


def units_of(record: Any) -> dict[str, str]:
    """Map each field of a dataclass (or instance) that declares a unit to that unit.

    >>> import dataclasses
    >>> @dataclasses.dataclass
    ... class Pulse: width_s: float = quantity("s", 1e-7)
    >>> units_of(Pulse)
    {'width_s': 's'}
    """
    return {
        field.name: field.metadata["unit"]
        for field in dataclasses.fields(record)
        if "unit" in field.metadata
    }
