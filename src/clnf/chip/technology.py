"""What peripheral circuits cost per operation, read from a table that names its sources."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, final

from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Technology", "technology"]


@final
@dataclass(frozen=True, kw_only=True)
class Technology:
    """Energy and time of the digital and mixed-signal parts around an array.

    Attributes:
        name: row of ``technology.toml``.
        cell_read_j: one cell during one matrix-vector product.
        mvm_s: one matrix-vector product of a tile.
        dac_j: driving one row once.
        adc_j: one conversion at the bits asked for.
        shift_add_j: adding one converted value to a partial sum.
        buffer_bit_j: moving one bit through the tile's buffer.
        routing_bit_j: moving one bit between tiles through a router.
        add_j: one 32-bit floating-point addition.
        multiply_j: one 32-bit floating-point multiplication.
        sources: where each constant was published, by its name.
    """

    name: str
    cell_read_j: float = quantity("J")
    mvm_s: float = quantity("s")
    dac_j: float = quantity("J")
    adc_j: float = quantity("J")
    shift_add_j: float = quantity("J")
    buffer_bit_j: float = quantity("J")
    routing_bit_j: float = quantity("J")
    add_j: float = quantity("J")
    multiply_j: float = quantity("J")
    sources: dict[str, str]


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("clnf.chip").joinpath("technology.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def technology(name: str, adc_bits: int) -> Technology:
    """The constants of one technology for converters of ``adc_bits``.

    An ADC between two tabulated widths costs what the next wider one costs; above 10 bits the
    energy doubles per bit (thermal-noise limit).

    Raises:
        ConfigError: there is no technology of that name.

    >>> technology("isaac_32nm", 8).adc_j
    1.67e-12
    """
    table = _table()
    if name not in table:
        raise ConfigError(f"no technology {name!r}; known: {', '.join(table)}")
    row = {key: item for key, item in table[name].items() if key != "title"}
    known = sorted(int(key.split("_")[1]) for key in row if key.startswith("adc_"))
    width = min((bits for bits in known if bits >= adc_bits), default=known[-1])
    adc = row[f"adc_{width}_j"]
    extra = 2.0 ** max(adc_bits - known[-1], 0)
    plain = {key: item for key, item in row.items() if not key.startswith("adc_")}
    return Technology(
        name=name,
        adc_j=adc["value"] * extra,
        sources={"adc_j": adc["source"]} | {key: item["source"] for key, item in plain.items()},
        **{key: item["value"] for key, item in plain.items()},
    )
