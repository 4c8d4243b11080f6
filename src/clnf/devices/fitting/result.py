"""What a fit found."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from clnf.core.errors import ConfigError
from clnf.core.files import check_file, write_files
from clnf.core.inputs import shown
from clnf.core.toml import dump_toml
from clnf.core.units import quantity
from clnf.devices.fitting.choose import Score
from clnf.devices.fitting.estimate import Estimate
from clnf.devices.fitting.intervals import Parameter
from clnf.devices.fitting.levels import Levels
from clnf.devices.fitting.problem import Problem
from clnf.devices.keys import checked
from clnf.devices.materials import materials

__all__ = ["Fit", "Outlier", "check_name", "check_pulse"]

# Laws of the catalogue: constant steps are a linear law of slope 0.
_CATALOGUE_LAW = {"constant": "linear"}


@final
@dataclass(frozen=True, kw_only=True)
class Outlier:
    """One reading that no noise of the model explains.

    Attributes:
        device: name of the device.
        pulse: number of the pulse.
        conductance_s: what was read.
        expected_s: what the model foretold, None for a reading that is on no level.
    """

    device: str
    pulse: int = quantity("1")
    conductance_s: float = quantity("S")
    expected_s: float | None = quantity("S")


@final
@dataclass(frozen=True, kw_only=True)
class Fit:
    """The best law for measured pulse trains.

    Attributes:
        file: name of the file.
        sha256: of the file.
        law: name of the law.
        parameters: numbers by catalogue key, with confidence intervals.
        rate: chance that an interval holds the truth.
        scores: of all laws, best first.
        levels: levels of the conductance, None where it has none.
        outliers: readings set aside.
        dead: names of devices that never move.
        contrary: names of devices that move against their pulses; left out.
        warnings: what a reader of the numbers must know.
        devices: number of devices.
        pulses: number of pulses, read or not.
        readings: number of readings.
        converged: whether the search ended by itself.
        problem: the traces of the living devices, scaled.
        estimate: what was fitted to them.
    """

    file: str
    sha256: str
    law: str
    parameters: dict[str, Parameter]
    rate: float = quantity("1")
    scores: tuple[Score, ...]
    levels: Levels | None
    outliers: tuple[Outlier, ...]
    dead: tuple[str, ...]
    contrary: tuple[str, ...]
    warnings: tuple[str, ...]
    devices: int = quantity("1")
    pulses: int = quantity("1")
    readings: int = quantity("1")
    converged: bool
    problem: Problem = field(repr=False)
    estimate: Estimate = field(repr=False)

    @property
    def source(self) -> str:
        """Where the numbers come from, in one line."""
        count = f"{self.devices} device{'' if self.devices == 1 else 's'}"
        return f"fitted to {self.file} (sha256 {self.sha256[:16]}), {count}, {self.pulses} pulses"

    def material(
        self, name: str, *, write_voltage_v: float | None = None, write_time_s: float | None = None
    ) -> str:
        """The cell as one row of a materials catalogue, TOML text.

        Args:
            name: of the row: small letters, digits and underscores.
            write_voltage_v: amplitude of the pulses, where known.
            write_time_s: their width, where known.

        Raises:
            ConfigError: the name cannot stand as a row's name, or a number is none.
            DeviceLimitError: amplitude or width is not positive.
        """
        check_name(name)
        check_pulse(write_voltage_v, write_time_s)
        row: dict[str, object] = {
            "title": f"measured cell, {self.law.replace('_', ' ')} steps",
            "family": "fitted",
            "law": _CATALOGUE_LAW.get(self.law, self.law),
        }
        for key, one in self.parameters.items():
            item = {"value": one.value, "unit": one.unit, "source": self.source}
            row[key] = item if one.low == one.high else item | {"interval": [one.low, one.high]}
        for key, value, unit in (
            ("write_voltage_v", write_voltage_v, "V"), ("write_time_s", write_time_s, "s")
        ):  # fmt: skip
            if value is not None:
                row[key] = {"value": value, "unit": unit, "source": "supplied by the user"}
        return dump_toml({name: row})

    def save(
        self,
        path: Path,
        name: str,
        *,
        write_voltage_v: float | None = None,
        write_time_s: float | None = None,
    ) -> str:
        """Write the material to a file, whole or not at all, and return the text's SHA-256.

        Raises:
            ExportError: the file cannot be written.
            ClnfError: as :meth:`material`.
        """
        text = self.material(name, write_voltage_v=write_voltage_v, write_time_s=write_time_s)
        write_files([(check_file(path), text.encode())])
        return hashlib.sha256(text.encode()).hexdigest()


def check_name(name: str) -> None:
    """Raise ConfigError where a name cannot stand as a row of its own beside the catalogue's."""
    text = isinstance(name, str)
    if not (text and name.isascii() and name.isidentifier() and name == name.lower()):
        raise ConfigError(
            f"{shown(name)} cannot name a material; take small letters, digits and underscores"
        )
    if name in materials():
        raise ConfigError(f"{name} is a material of the catalogue; give yours another name")


def check_pulse(write_voltage_v: float | None, write_time_s: float | None) -> None:
    """Refuse an amplitude or width of pulses that no catalogue would take."""
    for key, value in (("write_voltage_v", write_voltage_v), ("write_time_s", write_time_s)):
        if value is not None:
            checked(key, value)
