"""``clnf chip``: the materials a chip can be made of."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clnf.cli import fit, floor, heat, learn, noise
from clnf.cli.options import Json, supplied
from clnf.cli.show import Bars, emit
from clnf.core.errors import ConfigError
from clnf.core.files import check_file

__all__ = ["app", "draw_material"]

YEAR_S = 365.25 * 86400.0
ZERO_C_K = 273.15

app = typer.Typer(
    help="Materials of memory cells: what is published, which fits a need, what yours are.",
    no_args_is_help=True,
    epilog="Example: clnf chip materials",
)
app.add_typer(fit.app)
app.add_typer(noise.app)
app.add_typer(heat.app)
app.add_typer(floor.app)
app.add_typer(learn.app)


@app.command(epilog="Example: clnf chip materials hfo2_array")
def materials(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="One material in full; all in short without.")
    ] = "",
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE.png",
            help="Draw what pulses, time and reads do to cells of the material named.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the materials catalogue: every published value with its source, and the gaps."""
    from clnf.cli.catalogue import show_material, show_materials
    from clnf.devices.materials import material, materials

    if picture:
        draw_material(name, picture)
    if name:
        row = material(name)
        emit(asdict(row), as_json, lambda: show_material(row))
    else:
        rows = [material(each) for each in materials()]
        emit([asdict(row) for row in rows], as_json, lambda: show_materials(rows))


@app.command(
    epilog="Example: clnf chip select --states 32 --lessons-per-day 100 --years 5 "
    "--retention-years 10 --temperature-c 85"
)
def select(
    states: Annotated[
        float | None, typer.Option("--states", help="States a cell must tell apart.")
    ] = None,
    on_off: Annotated[
        float | None, typer.Option("--on-off", help="Largest over smallest conductance.")
    ] = None,
    lessons_per_day: Annotated[
        float | None, typer.Option("--lessons-per-day", help="Lessons a day; give --years too.")
    ] = None,
    years: Annotated[float | None, typer.Option("--years", help="Years of teaching.")] = None,
    pulses_per_lesson: Annotated[
        float,
        typer.Option(
            "--pulses-per-lesson",
            help="Writes of the busiest cell in a lesson; 100 is one at each step of the default "
            "recipe's lesson, a cautious count.",
        ),
    ] = 100.0,
    retention_years: Annotated[
        float | None, typer.Option("--retention-years", help="Years a state must be kept.")
    ] = None,
    temperature_c: Annotated[
        float | None,
        typer.Option("--temperature-c", help="Temperature at which it is kept, in °C."),
    ] = None,
    write_energy_pj: Annotated[
        float | None, typer.Option("--write-energy-pj", help="Energy of a write pulse, at most.")
    ] = None,
    write_time_ns: Annotated[
        float | None, typer.Option("--write-time-ns", help="Width of a write pulse, at most.")
    ] = None,
    write_voltage_v: Annotated[
        float | None, typer.Option("--write-voltage-v", help="Amplitude of a pulse, at most.")
    ] = None,
    supply: Annotated[
        list[str] | None,
        typer.Option(
            "--supply",
            metavar="NAME.KEY=VALUE",
            help="A value of your own in SI units; may be given often.",
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many to list; 0: all.")] = 8,
    as_json: Json = False,
) -> None:
    """Choose a substrate: rank materials for a need, with reasons and the missing facts."""
    from clnf.cli.catalogue import choice_values, show_choices
    from clnf.devices.select import Need, select

    need = Need(
        states=states, on_off=on_off, lessons_per_day=lessons_per_day, years=years,
        pulses_per_lesson=pulses_per_lesson, retention_s=_si(retention_years, YEAR_S),
        temperature_k=_kelvin(temperature_c),
        write_energy_j=_si(write_energy_pj, 1e-12), write_time_s=_si(write_time_ns, 1e-9),
        write_voltage_v=write_voltage_v,
    )  # fmt: skip
    choices = select(need, supplied(supply or []))
    emit([choice_values(one) for one in choices], as_json, lambda: show_choices(need, choices, top))


def draw_material(name: str, picture: Path) -> None:
    """Draw a material's curves, with a line that says so while cells are simulated.

    Args:
        name: of the material.
        picture: the file.

    Raises:
        ConfigError: no material of that name, or none was named.
        ExportError: the picture cannot be written.
    """
    from clnf.devices.materials import material

    if not name:
        raise ConfigError("a picture shows one material, got none; name one before --picture")
    row, picture = material(name), check_file(picture, ".png")
    with Bars() as bars:
        bars.say(f"drawing {name}; the first picture also compiles kernels, which takes a while")
        from clnf.devices.curves import draw

        draw(row, picture)
        bars.say(f"picture: {picture}")


def _kelvin(celsius: float | None) -> float | None:
    """A temperature, refused in the unit it was given in."""
    if celsius is not None and not -ZERO_C_K < celsius < float("inf"):
        raise ConfigError(
            f"--temperature-c must be above {-ZERO_C_K:g} °C, got {celsius:g}; correct it"
        )
    return None if celsius is None else celsius + ZERO_C_K


def _si(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
