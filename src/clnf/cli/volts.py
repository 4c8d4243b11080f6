"""A learning rate in volts as ``clnf chip learn`` is asked for one."""

from typing import TYPE_CHECKING, NamedTuple

from clnf.cli.options import within
from clnf.core.errors import ConfigError

if TYPE_CHECKING:
    from clnf.chip.local import ColumnVolts, Drive
    from clnf.chip.spec import ChipSpec

__all__ = ["NO_VOLTS", "Volts", "drive_of", "program"]


class Volts(NamedTuple):
    """A learning rate in volts, as it was asked for."""

    law: str
    amplitude_v: float | None
    width_ns: float | None
    source: str


NO_VOLTS = Volts("", None, None, "")


def drive_of(spec: "ChipSpec", asked: Volts) -> "Drive | None":
    """The source of pulses that was asked for; None where nothing was said of volts.

    Args:
        spec: whose cells are pulsed.
        asked: words of the command line.

    Raises:
        ConfigError: they are no law, no range, or no law was given with them.
        DeviceLimitError: no cell stands that amplitude.
    """
    from clnf.chip.local import Drive
    from clnf.devices.voltage import parsed

    if asked == NO_VOLTS:
        return None
    if not asked.law:
        raise ConfigError(
            "--amplitude, --width-ns and --volts need a law of steps in volts, which no source "
            "gives; add --law sinh:S, exponential:S or threshold:VT:A"
        )
    within("--amplitude", asked.amplitude_v, (0.0, 100.0), "V")
    within("--width-ns", asked.width_ns, (1e-3, 1e9), "ns")
    cell = spec.make(plastic=True).cell
    top = cell.need(cell.pulse).up_v
    words = asked.source.split(":") if asked.source else ["0", f"{1.5 * top}"]
    try:
        low, high, bits = float(words[0]), float(words[1]), int(words[2]) if words[2:] else 0
    except (ValueError, IndexError):
        raise ConfigError(
            f"--volts {asked.source!r} is not LOW:HIGH or LOW:HIGH:BITS; write for example "
            "0.9:1.8:6"
        ) from None
    law = parsed(asked.law, source="given on the command line")
    drive = Drive.of(cell, law, low_v=low, high_v=high, bits=bits)
    drive.rate(_first_v(drive, asked))  # an amplitude that no cell stands is refused here
    return drive


def _first_v(drive: "Drive", asked: Volts) -> float:
    return drive.reference_v if asked.amplitude_v is None else asked.amplitude_v


def program(columns: "ColumnVolts", driven: "tuple[Drive, Volts]", share: float) -> None:
    """Program the volts for a share of the first rate.

    Args:
        columns: of one layer.
        driven: the source, and what was asked of it.
        share: 0 to 1.
    """
    drive, asked = driven
    width_s = None if asked.width_ns is None else asked.width_ns * 1e-9
    columns.set(share * drive.rate(_first_v(drive, asked), width_s), width_s=width_s)
