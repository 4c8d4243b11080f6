import dataclasses

import pytest

from clnf.core.units import quantity, units_of


@dataclasses.dataclass(kw_only=True)
class Pulse:
    width_s: float = quantity("s", 1e-7)
    count: int = quantity("1")
    name: str = "set"


def test_units_are_read_from_class_and_instance() -> None:
    assert units_of(Pulse) == {"width_s": "s", "count": "1"}
    assert units_of(Pulse(count=3)) == units_of(Pulse)


def test_a_quantity_without_default_is_required() -> None:
    assert Pulse(count=3).width_s == 1e-7
    with pytest.raises(TypeError, match="count"):
        Pulse()
