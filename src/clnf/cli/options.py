"""Options that many commands share, declared once."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clnf.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from clnf.devices.materials import Material

__all__ = [
    "ArmThreads",
    "DeviceName",
    "Json",
    "OutFolder",
    "RunFolder",
    "Threads",
    "place",
    "supplied",
    "supplied_to",
    "within",
]


def _named_folder(text: str) -> Path:
    # An unset variable of a shell comes as '', which a path takes for the folder one stands in.
    if not text:
        raise ConfigError("--out is empty; name a folder, or . for this one")
    return Path(text)


Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

OutFolder = Annotated[
    Path,
    typer.Option("--out", parser=_named_folder, metavar="FOLDER", help="Folder for the files."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder: runs/NAME.")]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where torch runs: cpu by default; off the cpu plain torch replaces the compiled "
        "kernels.",
        metavar="NAME",
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Threads of torch; 0: torch chooses.")
]
# A run has two processes, the guarded arm and the plain one.
ArmThreads = Annotated[
    int,
    typer.Option("--threads", min=0, help="Threads of torch in each arm; 0: torch chooses."),
]


def supplied_to(name: str, words: list[str]) -> "Material":
    """One material with values from the command line.

    Args:
        name: of a row of the catalogue, or a TOML file.
        words: see :func:`supplied`; all of them are for this material.

    Raises:
        ConfigError: a value is for another material, which would go unheard.
    """
    from clnf.devices.materials import material

    row, own = material(name), _values(words)
    if others := sorted(set(own) - {row.name}):
        raise ConfigError(
            f"--supply is for {others[0]}, but the cells are those of {row.name}; write "
            f"{row.name}.KEY=VALUE"
        )
    return row.supply(**own.get(row.name, {}))


def within(option: str, value: float | None, ends: tuple[float, float], unit: str = "") -> None:
    """Refuse a number outside its range before any work, in the unit it was given in.

    Args:
        option: its name.
        value: given; None where it was not.
        ends: smallest and largest allowed.
        unit: of all three; none for a pure number.

    Raises:
        ConfigError: it is outside, or no number.
    """
    if value is not None and not ends[0] <= value <= ends[1]:
        wanted = f"{ends[0]:g} to {ends[1]:g} {unit}".strip()
        raise ConfigError(f"{option} must be {wanted}, got {value:g}; correct it")


def place(device: str, threads: int) -> "torch.device":
    """Choose where and on how many threads torch runs.

    Args:
        device: a name torch knows, such as ``cpu`` or ``cuda:0``.
        threads: number of threads, >= 0; 0 changes nothing.

    Returns:
        The device, tried with a few of the chip's draws.

    Raises:
        ConfigError: torch does not know the device, cannot use it here, or calculates wrongly
            on it.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    # What torch says of a device it cannot use is for its makers.
    with suppress(RuntimeError, AssertionError, ImportError, TypeError):
        chosen = torch.device(device)
        if chosen.type == "cpu" or _draws_alike(chosen):
            return chosen
    names = ["cpu"]
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        names += [f"{kind}:{number}" for number in range(torch.accelerator.device_count())]
    raise ConfigError(f"device {device!r} cannot be used here; torch can use: {', '.join(names)}")


def _draws_alike(device: "torch.device") -> bool:
    """Whether a device does the arithmetic of whole words that draws are made of."""
    import torch

    from clnf.devices.draws import hash_normals

    here, there = (hash_normals(0, ("trial",), (64,), device=d) for d in ("cpu", device))
    return torch.equal(here, there.cpu())


def supplied(words: list[str]) -> "list[Material]":
    """The catalogue with values from the command line.

    Args:
        words: ``NAME.KEY=VALUE`` in SI units, coefficients with commas between them.

    Returns:
        All rows.

    Raises:
        ConfigError: a word has another form, or an unknown name or key.
    """
    from clnf.devices.materials import material, materials

    rows = {name: material(name) for name in materials()}
    # All values of a material at once: both ends of a window may be new.
    rows |= {name: material(name).supply(**values) for name, values in _values(words).items()}
    return list(rows.values())


def _values(words: list[str]) -> dict[str, dict[str, float | tuple[float, ...]]]:
    """Values by material and key."""
    own: dict[str, dict[str, float | tuple[float, ...]]] = {}
    for word in words:
        place, _, number = word.partition("=")
        name, _, key = place.partition(".")
        try:
            parts = [float(part) for part in number.split(",")]
        except ValueError:
            raise ConfigError(
                f"--supply {word!r} is not NAME.KEY=VALUE; write for example "
                "hfo2_array.endurance_cycles=1e6"
            ) from None
        own.setdefault(name, {})[key] = parts[0] if len(parts) == 1 else tuple(parts)
    return own
