"""What peripheral circuits cost per operation, read from a table that names its sources."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, final

from clnf.core.errors import ConfigError, DeviceLimitError
from clnf.core.units import quantity

__all__ = ["Constant", "Technology", "technologies", "technology"]

_NOTHING: Mapping[str, "Constant"] = MappingProxyType({})
_CONVERTER = re.compile(r"(adc|dac)_(\d+)_(j|area_m2)")
_THERMAL_BITS = 10  # from here on an ADC's energy doubles per bit


@final
@dataclass(frozen=True, kw_only=True)
class Constant:
    """A published or measured number.

    Attributes:
        value: in the SI unit that the constant's name ends with.
        source: where it was published, or how it was measured.
    """

    value: float = quantity("SI")
    source: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.value < float("inf") or not self.source.strip():
            raise ConfigError(
                f"a constant is a finite number of at least 0 with a source, got {self.value} "
                f"from {self.source!r}"
            )


@final
class Technology:
    """Energy, time and area of the digital and mixed-signal parts around an array.

    A value nobody published is absent, and asking for it is an error.

    Args:
        name: row of ``technology.toml``.
        constants: what is known, by name.
    """

    def __init__(self, name: str, constants: Mapping[str, Constant]) -> None:
        self.name = name
        self._constants = dict(constants)

    def __contains__(self, constant: str) -> bool:
        return constant in self._constants

    def get(self, constant: str) -> float:
        """The value of one constant, in the SI unit its name ends with.

        Raises:
            DeviceLimitError: it is not known.
        """
        if constant not in self._constants:
            raise DeviceLimitError(
                f"no published value of {constant!r} is known for {self.name}; name a technology "
                "to borrow it from (borrow='isaac_32nm') or supply one with its source"
            )
        return self._constants[constant].value

    @property
    def sources(self) -> dict[str, str]:
        """Where each constant was published, by its name."""
        return {name: constant.source for name, constant in self._constants.items()}

    @property
    def cell_read_j(self) -> float:
        """One cell during one matrix-vector product."""
        return self.get("cell_read_j")

    @property
    def mvm_s(self) -> float:
        """One matrix-vector product of a tile."""
        return self.get("mvm_s")

    @property
    def dac_j(self) -> float:
        """Driving one row once, with the bits asked for."""
        return self.get("dac_j")

    @property
    def adc_j(self) -> float:
        """One conversion at the bits asked for."""
        return self.get("adc_j")

    @property
    def shift_add_j(self) -> float:
        """Adding one converted value to a partial sum."""
        return self.get("shift_add_j")

    @property
    def buffer_bit_j(self) -> float:
        """Moving one bit through the tile's buffer."""
        return self.get("buffer_bit_j")

    @property
    def routing_bit_j(self) -> float:
        """Moving one bit between tiles through a router."""
        return self.get("routing_bit_j")

    @property
    def add_j(self) -> float:
        """One 32-bit floating-point addition."""
        return self.get("add_j")

    @property
    def multiply_j(self) -> float:
        """One 32-bit floating-point multiplication."""
        return self.get("multiply_j")

    @property
    def leakage_w(self) -> float:
        """What one tile leaks; no row of the table has it."""
        return self.get("leakage_w")


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("clnf.chip").joinpath("technology.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def technologies() -> dict[str, str]:
    """Names of all technologies, and what each one is."""
    return {name: row["title"] for name, row in _table().items()}


def technology(
    name: str,
    adc_bits: int,
    *,
    dac_bits: int = 8,
    borrow: str = "",
    supply: Mapping[str, Constant] = _NOTHING,
) -> Technology:
    """The constants of one technology for converters of so many bits.

    A converter between two tabulated widths costs what the next wider one costs. Above 10 bits
    the energy of an ADC doubles per bit (thermal-noise limit); a DAC wider than any in the table
    is charged as the widest.

    Args:
        name: row of ``technology.toml``.
        adc_bits: of an output conversion.
        dac_bits: of one drive of a row.
        borrow: another row, for whatever the first one lacks; its sources say so.
        supply: constants of your own; they come first.

    Raises:
        ConfigError: there is no technology of that name, or no constant of a name supplied.

    >>> technology("isaac_32nm", 8).adc_j
    1.67e-12
    >>> technology("timely_65nm", 8, borrow="isaac_32nm").sources["shift_add_j"]
    'borrowed from isaac_32nm: ISAAC shift-and-add, via hwcomponents tables'
    """
    constants = _row(name, adc_bits, dac_bits)
    wrong = supply.keys() - _names()
    if wrong:
        raise ConfigError(
            f"no constant is called {', '.join(sorted(wrong))}; "
            f"known: {', '.join(sorted(_names()))}"
        )
    if borrow:
        lent = {
            key: Constant(value=item.value, source=f"borrowed from {borrow}: {item.source}")
            for key, item in _row(borrow, adc_bits, dac_bits).items()
        }
        constants = lent | constants
    return Technology(name, constants | dict(supply))


@cache
def _names() -> frozenset[str]:
    """Every constant that any technology has, and the one that none has."""
    rows = [_row(name, 4, 8) for name in _table()]
    return frozenset({"leakage_w"}.union(*rows))


def _row(name: str, adc_bits: int, dac_bits: int) -> dict[str, Constant]:
    table = _table()
    if name not in table:
        raise ConfigError(f"no technology {name!r}; known: {', '.join(table)}")
    constants: dict[str, Constant] = {}
    widths: dict[tuple[str, str], dict[int, Constant]] = {}
    for key, item in table[name].items():
        if key == "title":
            continue
        constant = Constant(value=float(item["value"]), source=item["source"])
        found = _CONVERTER.fullmatch(key)
        if found is None:
            constants[key] = constant
        else:
            part, bits, unit = found.groups()
            widths.setdefault((part, unit), {})[int(bits)] = constant
    for (part, unit), known in widths.items():
        chosen = _width(part, unit, known, adc_bits if part == "adc" else dac_bits)
        if chosen is not None:
            constants[f"{part}_{unit}"] = chosen
    return constants


def _width(part: str, unit: str, known: dict[int, Constant], bits: int) -> Constant | None:
    """What is known of a converter of ``bits``: the next wider one, or the rule beyond it."""
    widest = max(known)
    if bits <= widest:
        return known[min(width for width in known if width >= bits)]
    if part == "dac":
        return known[widest]
    if unit == "j" and widest >= _THERMAL_BITS:
        top = known[widest]
        return Constant(value=top.value * 2.0 ** (bits - widest), source=top.source)
    return None
