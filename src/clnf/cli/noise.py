"""``clnf chip noise``: which noise helps a coarse converter, measured and by theory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clnf.cli.options import Json, supplied_to
from clnf.cli.show import Bars, emit, show_table
from clnf.core.errors import ConfigError
from clnf.core.files import check_file, write_files
from clnf.core.inputs import whole

if TYPE_CHECKING:
    from clnf.chip.resonance import Study
    from clnf.devices.materials import Material

__all__ = ["app", "noise", "row"]

_MOST_LOOKS = 256  # twice as many take several times as long
app = typer.Typer()


@app.command(epilog="Example: clnf chip noise pcm_hermes --contrast 0.25 --picture noise.png")
def noise(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Material of the cells.")],
    contrast: Annotated[
        list[float] | None,
        typer.Option(help="What to look for, in steps of the converters; may be repeated."),
    ] = None,
    looks: Annotated[
        int, typer.Option(help="Columns that look at once, a power of two up to 256.")
    ] = 16,
    bits: Annotated[int, typer.Option(help="Bits of the columns' converters.")] = 4,
    trials: Annotated[int, typer.Option(help="Trials at each noise.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of cells and draws.")] = 0,
    cells: Annotated[
        bool, typer.Option("--cells", help="Noise of the cells themselves, not at the inputs.")
    ] = False,
    supply: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME.KEY=VALUE", help="A value of your own, SI; may be repeated."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the curves there, a PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Add noise to what a converter cannot see: find the best, or say that there is none."""
    kinds = {"looks": looks, "bits": bits, "trials": trials, "seed": seed}
    contrasts = contrast or [0.1, 0.25, 0.4, 0.7]
    _check(contrasts, kinds, picture)
    stored = _stores(name, supply or [])
    from clnf.chip.resonance import study, study_cells, study_picture

    measure = study_cells if cells else study
    with Bars(quiet=as_json) as bars:
        bars.say("looking at contrasts; the first run also compiles kernels, which takes a while")
        studies = [measure(stored, one, **kinds) for one in contrasts]
    if picture:
        write_files([(picture, study_picture(studies, f"cells of {name}"))])
    emit([row(one) for one in studies], as_json, lambda: _show(studies, name))


def _stores(name: str, supply: list[str]) -> "Material":
    """The material, if its cells can hold a template between wires."""
    from clnf.devices.cell import Unknown
    from clnf.devices.families import cell

    row = supplied_to(name, supply)
    known = cell(row)
    known.need(known.window)
    if isinstance(known.response, Unknown):  # others are brought there by pulses
        known.need(known.programming)
    return row


def _check(contrasts: list[float], kinds: dict[str, int], picture: Path | None) -> None:
    """Refuse what cannot be studied or written before anything is said or compiled."""
    whole("--trials", kinds["trials"], least=20)
    whole("--bits", kinds["bits"], least=2, most=16)
    looks = whole("--looks", kinds["looks"], least=1, most=_MOST_LOOKS)
    if looks & (looks - 1):
        raise ConfigError(
            f"--looks must be a power of two, got {looks}; take {1 << looks.bit_length()}"
        )
    for one in contrasts:
        if not 0 <= one <= 100:
            raise ConfigError(f"--contrast must be 0 to 100 steps, got {one:g}; correct it")
    if picture is not None:
        check_file(picture, ".png")


def row(one: "Study") -> dict[str, Any]:
    """A study as JSON values."""
    curve = zip(one.found.curve, one.theory, strict=True)
    return {
        "contrast_steps": one.contrast_steps,
        "helps": one.found.helps,
        "sigma_steps": one.found.sigma,
        "theory_sigma_steps": one.told.sigma,
        "theory_interval_steps": [one.told.low, one.told.high],
        "agrees": one.agrees,
        "accuracy": one.found.accuracy,
        "theory_accuracy": one.told.accuracy,
        "at_zero": one.found.at_zero,
        "p_value": one.found.p_value,
        "worst_gap_to_theory": one.worst_gap,
        "own_noise_steps": one.own_noise_steps,
        "source": one.source,
        "offset_share": one.offset_share,
        "curve": [[p.sigma, p.accuracy, p.error, told] for p, told in curve],
    }


def _show(studies: "list[Study]", name: str) -> None:
    rows = [
        [
            f"{one.contrast_steps:g}",
            "yes" if one.found.helps else "no",
            f"{one.found.sigma:.3f}" if one.found.helps else "-",
            f"{one.told.low:.3f} to {one.told.high:.3f}" if one.told.helps else "-",
            f"{one.found.accuracy:.3f}",
            f"{one.found.at_zero:.3f}",
            f"{one.found.p_value:.1g}" if one.found.p_value else "< 1e-300",
        ]
        for one in studies
    ]
    heads = ["contrast", "noise helps", "best", "theory says", "right", "without", "p"]
    show_table(heads, rows, title=f"Detection on cells of {name}; noise and contrast in steps")
    print(f"noise from {studies[0].source}")
