"""``clnf spike check``: does a spiking net fit a chip, and what does not?"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clnf.cli.options import Json, within
from clnf.cli.show import emit, say, show_table
from clnf.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

    from clnf.spiking.exchange.reading import Meaning
    from clnf.spiking.profiles.check import Fit

__all__ = ["check"]

NOT_FITTING = 1


def check(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .nir file, or layers in a .toml file.")
    ],
    chip: Annotated[
        str,
        typer.Option(
            "--chip",
            metavar="NAME",
            help="loihi, xylo, speck, memristive:MATERIAL, or a profile of yours: FILE.toml.",
        ),
    ],
    inputs: Annotated[
        str,
        typer.Option(
            "--inputs",
            metavar="SIZES",
            help="Shape of one sample at one step, such as 2,34,34, where the file does not say.",
        ),
    ] = "",
    dt_s: Annotated[
        float | None,
        typer.Option("--dt-s", help="Seconds of a step of a .nir file; as it says if not given."),
    ] = None,
    drive: Annotated[
        Literal["hold", "kick", "dirac"] | None,
        typer.Option(
            "--drive", help="What a value in a step of a .nir file stands for; hold if unsaid."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what of a net does not fit a chip and why; ends with 1 where something does not."""
    from clnf.spiking.profiles.check import check as held_against
    from clnf.spiking.profiles.profile import profile

    within("--dt-s", dt_s, (1e-9, 10.0), "s")
    wanted = profile(chip)
    sizes = _sizes(inputs)
    net, shape = _read(model, dt_s, drive, sizes)
    found = held_against(net, wanted, sizes or shape)
    assumed = _assumed(model)
    values = asdict(found) | {"fits": found.fits, "title": wanted.title, "assumed_dt_s": assumed}
    emit(values, as_json, lambda: _show(found, wanted.title, assumed))
    if not found.fits:
        raise typer.Exit(NOT_FITTING)


def _read(
    path: Path, dt_s: float | None, drive: "Meaning | None", inputs: tuple[int, ...] | None
) -> "tuple[nn.Module, tuple[int, ...] | None]":
    """A net and the shape of its inputs, where the file tells it."""
    if path.suffix == ".toml":
        if dt_s is not None or drive is not None:
            raise ConfigError("--dt-s and --drive are for .nir files; a .toml file says dt_s")
        from clnf.spiking.profiles.description import read_description

        try:
            return read_description(path, inputs)
        except ConfigError as error:
            raise ConfigError(_by_options(str(error), path)) from None
    if path.suffix != ".nir":
        raise ConfigError(f"a model is a .nir file or a .toml file of layers, got {path}; give one")
    from clnf.spiking.exchange import read_row

    try:
        return read_row(path, dt_s, drive)
    except DataError as error:
        raise DataError(_by_options(str(error), path)) from None


def _assumed(path: Path) -> float | None:
    """Seconds of a step that were taken because a file of layers names none."""
    if path.suffix != ".toml":
        return None
    from clnf.core.toml import load_toml
    from clnf.spiking.profiles.description import DT_S

    return None if "dt_s" in load_toml(path) else DT_S


def _by_options(told: str, path: Path) -> str:
    """What is said of a file, with options in place of calls."""
    if "does not say how long a step is" in told:
        return f"{path} does not say how long a step is; give --dt-s, such as --dt-s 1e-3"
    if "does not say how large a sample is" in told:
        return told.partition(";")[0] + "; give --inputs, such as --inputs 2,34,34"
    return told.replace("mended()", f"clnf spike nir {path} --write OUT")


def _sizes(text: str) -> tuple[int, ...] | None:
    if not text:
        return None
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--inputs are sizes such as 40 or 2,34,34, got {text!r}; correct it")
    return tuple(int(part) for part in parts)


def _show(found: "Fit", title: str, assumed_s: float | None) -> None:
    say(f"{found.chip}: {title}.")
    if assumed_s is not None:
        say(f"The model names no dt_s; taken are steps of {assumed_s:g} s.")
    faults = [one for one in found.findings if not one.fits]
    notes = [one for one in found.findings if one.fits]
    heads = ("layer", "what", "net", "chip", "what to do")
    for rows, said in ((faults, "Does not fit:"), (notes, "Fits, but:")):
        if rows:
            cells = [
                (one.layer or "all", one.limit, one.value, one.allowed, one.advice) for one in rows
            ]
            show_table(heads, cells, title=said)
    uses = [
        (
            one.resource,
            one.used,
            "not known" if one.most is None else one.most,
            f"{one.used / one.most:.1%}" if one.most else "",
        )
        for one in found.uses
    ]
    show_table(("resource", "used", "of", "share"), uses, title="Resources:")
    if found.cores:
        placed = [(n, "none" if core is None else str(core)) for n, core in found.cores.items()]
        show_table(("layer", "core"), placed, title="Cores:")
    if found.gaps:
        say("Not checked, since not known: " + ", ".join(found.gaps) + ".")
    broken = f"{len(faults)} of the limits {'is' if len(faults) == 1 else 'are'} broken"
    say("It fits." if found.fits else f"It does not fit: {broken}.")
