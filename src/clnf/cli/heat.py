"""``clnf chip heat``: how warm a chip gets while its model draws, and what keeps it cooler."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from clnf.cli.options import Json, within
from clnf.cli.show import Bars, emit, say, show_table
from clnf.core.errors import ConfigError
from clnf.core.files import check_file

if TYPE_CHECKING:
    from clnf.chip.heat.course import Course
    from clnf.chip.heat.effects import TileHeat
    from clnf.chip.heat.lessons import Taught
    from clnf.chip.heat.network import Cooling, ThermalNetwork
    from clnf.chip.heat.sweep import Point
    from clnf.chip.heat.throttle import Throttled
    from clnf.chip.hosting import Chip
    from clnf.cli.warm_pictures import Drawn, Quality

__all__ = ["app", "heat"]

ZERO_C_K = 273.15
_TILES = (1, 2, 4, 8, 16, 32)
_SETTLED, _COURSE = 5.0, 200  # time constants that are followed, and steps
_CALLED = {"johnson": "thermal noise"}
_GIVEN_BY = {"conductance_temperature_coefficient": "--slope", "read_voltage_v": "--read-v"}
app = typer.Typer()


class _Found(NamedTuple):
    """All that is shown."""

    points: "list[Point]"
    tiles: "list[TileHeat]"
    held: "list[Throttled]"
    network: "ThermalNetwork"
    courses: "dict[str, Course]"
    taught: "Taught | None"
    quality: "list[Quality]"


@app.command(epilog="Example: clnf chip heat --pitch 44 --tiles 8 --package 40 --picture heat.png")
def heat(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder; else the bundled model.")
    ] = None,
    pitch: Annotated[
        list[float] | None,
        typer.Option("--pitch", help="From cell to cell, in nm; may be given often."),
    ] = None,
    tiles: Annotated[
        list[int] | None,
        typer.Option("--tiles", min=1, help="Tiles that work at once; may be given often."),
    ] = None,
    package: Annotated[
        float | None,
        typer.Option("--package", help="Package to air, K/W; HotSpot's heat sink if not given."),
    ] = None,
    ambient_c: Annotated[float, typer.Option("--ambient-c", help="Air around it, in °C.")] = 45.0,
    slope: Annotated[
        float | None,
        typer.Option("--slope", help="Relative change of the cells' conductance by kelvin."),
    ] = None,
    limit_c: Annotated[
        float | None, typer.Option("--limit-c", help="Hold the hottest cell below, in °C.")
    ] = None,
    read_v: Annotated[
        float | None, typer.Option("--read-v", help="Voltage of a read, for its thermal noise.")
    ] = None,
    draw_warm: Annotated[
        bool, typer.Option("--draw", help="Draw at these temperatures, too, and calibrate there.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="How long to follow; five time constants if not given."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.png", help="Draw the temperatures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how warm cells get while the model draws, by pitch and by tiles at once."""
    from clnf.cli.warm_pictures import bundled, known, of_run

    if picture is not None:
        check_file(picture, ".png")
    cooling = _cooling(pitch or [], (package, ambient_c), limit_c, seconds)
    supplied = {"conductance_temperature_coefficient": slope, "read_voltage_v": read_v}
    known(run, supplied)
    with Bars(quiet=as_json) as bars:
        bars.say("drawing a few pictures, to see what each tile does")
        drawn = bundled(supplied) if run is None else of_run(run)
        found = _find(drawn, pitch, tiles, cooling, (limit_c, seconds))
        if draw_warm:
            _pictures(drawn, found)
    if picture:
        _draw(drawn.chip, found, picture)
    emit(_values(found), as_json, lambda: _show(found, picture))


def _cooling(
    pitches: list[float],
    cooled: tuple[float | None, float],
    limit_c: float | None,
    seconds: float | None,
) -> "Cooling":
    """What cools the chip; all that cannot be is refused here, in the units it was given in."""
    from clnf.chip.heat.network import Cooling

    package, ambient_c = cooled
    for pitch in pitches:
        within("--pitch", pitch, (1.0, 1e5), "nm")
    within("--package", package, (1e-6, 1e6), "K/W")
    within("--ambient-c", ambient_c, (-273.0, 1000.0), "°C")
    within("--seconds", seconds, (1e-9, 1e9), "s")
    if limit_c is not None and not ambient_c < limit_c < float("inf"):
        raise ConfigError(
            f"--limit-c must be above the air's {ambient_c:g} °C, got {limit_c:g}; correct it"
        )
    return Cooling(package_k_w=package, ambient_k=ambient_c + ZERO_C_K)


def _find(
    drawn: "Drawn",
    pitches: list[float] | None,
    tiles: list[int] | None,
    cooling: "Cooling",
    until: tuple[float | None, float | None],
) -> _Found:
    """Rest at all densities; the tiles, the throttling and the course in time of the last."""
    from clnf.chip.heat.effects import conduction_laws, report
    from clnf.chip.heat.lessons import taught
    from clnf.chip.heat.network import ThermalNetwork
    from clnf.chip.heat.plan import place
    from clnf.chip.heat.sweep import density
    from clnf.chip.heat.throttle import throttle

    chip, done, lessons = drawn.chip, drawn.done, drawn.lessons
    limit_c, seconds = until
    own = place(chip).pitch_m if not pitches else 0.0
    wide = [nm * 1e-9 for nm in pitches or ()] or [own]
    points = density(chip, done, wide, sorted(set(tiles or _TILES)), cooling)
    network = ThermalNetwork(place(chip, pitch_m=wide[-1]), cooling)
    laws, most = conduction_laws(chip), points[-1].at_once
    limit = None if limit_c is None else limit_c + ZERO_C_K
    hows: list[Literal["slower", "fewer"]] = [] if limit is None else ["slower", "fewer"]
    held = [throttle(network, done, limit or 0.0, how, at_once=most, laws=laws) for how in hows]
    return _Found(
        points=points,
        tiles=report(chip, points[-1].state),
        held=held,
        network=network,
        courses=_courses(network, drawn, (most, limit, seconds)),
        taught=taught(network, lessons, at_once=most, laws=laws) if lessons else None,
        quality=[],
    )


def _pictures(drawn: "Drawn", found: _Found) -> None:
    """Add what is drawn at the temperatures of the last line."""
    from clnf.cli.warm_pictures import qualities

    found.quality.extend(qualities(drawn, found.network, found.points[-1].state))


def _courses(
    network: "ThermalNetwork", drawn: "Drawn", how: tuple[int, float | None, float | None]
) -> "dict[str, Course]":
    """The pictures drawn over and over from a cold start, without a limit and below it."""
    from dataclasses import replace

    from clnf.chip.heat.course import Pacing, follow, settling_s
    from clnf.chip.heat.effects import conduction_laws

    most, limit, seconds = how
    whole = _SETTLED * settling_s(network, drawn.done) if seconds is None else seconds
    free = Pacing(seconds=whole, step_s=whole / _COURSE, repeats=None, at_once=most)
    kinds = {"no limit": free}
    if limit is not None:
        kinds["slower"] = replace(free, limit_k=limit)
        kinds["fewer"] = replace(free, limit_k=limit, how="fewer")
    laws = conduction_laws(drawn.chip)
    return {name: follow(network, [drawn.done], one, laws=laws) for name, one in kinds.items()}


def _draw(chip: "Chip", found: _Found, path: Path) -> None:
    from clnf.chip.heat.picture import draw

    draw(
        chip, found.network, found.points[-1].state, path, points=found.points,
        courses=found.courses,
    )  # fmt: skip


def _values(found: _Found) -> dict[str, Any]:
    """What was found as JSON values, in SI units."""
    return {
        "points": [
            {
                "pitch_m": point.pitch_m,
                "tiles_at_once": point.at_once,
                "area_m2": point.area_m2,
                "time_s": point.state.span_s,
                "energy_j": point.state.energy_j,
                "mean_k": float(point.state.mean_k.mean()),
                "hottest_k": point.state.peak_k,
                "knee": point.knee,
            }
            for point in found.points
        ],
        "tiles": [asdict(tile) for tile in found.tiles],
        "throttling": [
            {
                "how": one.how,
                "limit_k": one.limit_k,
                "tiles_at_once": one.at_once,
                "slower": one.slower,
                "cost_s": one.cost_s,
                "hottest_k": one.held.peak_k,
            }
            for one in found.held
        ],
        "in_time": {name: _in_time(course) for name, course in found.courses.items()},
        "pictures": [asdict(one) for one in found.quality],
        "lessons": [] if found.taught is None else [asdict(one) for one in found.taught.lessons],
    }


def _in_time(course: "Course") -> dict[str, Any]:
    """A course as JSON values; of times and temperatures every tenth."""
    return {
        "times_s": course.times_s[9::10].tolist(),
        "hottest_k": course.peaks_k[9::10].tolist(),
        "full_speed_s": course.full_speed_s,
        "turns": course.turns,
        "given_j": course.given_j,
        "stored_j": course.stored_j,
    }


def _show(found: _Found, picture: Path | None) -> None:
    """Print the densities, the hottest tiles, and what stays as it is."""
    rows = [
        (
            f"{point.pitch_m * 1e9:.4g}",
            f"{point.at_once}{' *' if point.knee else ''}",
            f"{point.area_m2 * 1e6:.1f}",
            f"{point.state.energy_j * 1e6:.3f}",
            f"{point.state.span_s * 1e3:.3f}",
            f"{1e3 * point.state.energy_j / point.state.span_s:.2f}",
            f"{point.state.mean_k.mean() - ZERO_C_K:.2f}",
            f"{point.state.peak_k - ZERO_C_K:.2f}",
        )
        for point in found.points
    ]
    heads = ("pitch nm", "tiles at once", "mm²", "µJ", "ms", "mW", "mean °C", "hottest °C")
    title = "A few pictures, drawn again and again; * is the knee."
    show_table(heads, rows, title=title)
    hottest = sorted(found.tiles, key=lambda tile: -tile.hottest_k)[:5]
    warm = [
        (
            tile.tile,
            f"{tile.mean_k - ZERO_C_K:.2f}",
            f"{tile.hottest_k - ZERO_C_K:.2f}",
            "unknown" if tile.conductance is None else f"{tile.conductance:.4f}",
            "unknown" if tile.retention_s is None else f"{tile.retention_s:.3g} s",
        )
        for tile in hottest
    ]
    of_tile = ("tile", "mean °C", "hottest °C", "conductance over 27 °C", "retention")
    show_table(of_tile, warm, title="The hottest tiles of the last line:")
    stay = {(part, _short(why)) for tile in found.tiles for part, why in tile.unaffected.items()}
    for part, why in sorted(stay):
        say(f"{_CALLED.get(part, part)} stays as it is: {why}")
    for one in found.held:
        longer = one.held.span_s / (one.held.span_s - one.cost_s)
        print(
            f"below {one.limit_k - ZERO_C_K:.4g} °C by {one.how}: {one.at_once} tiles at once, "
            f"{longer:.3f} times as long, {one.cost_s * 1e3:.4g} ms more"
        )
    _show_times(found)
    for drawing in found.quality:
        say(drawing.sentence)
    if picture:
        print(f"picture: {picture}")


def _show_times(found: _Found) -> None:
    """Print how fast the chip warms, what a limit costs in time, and how warm lessons were."""
    free = found.courses["no limit"]
    print(
        f"in time: after {free.times_s[0]:.3g} s at {free.peaks_k[0] - ZERO_C_K:.2f} °C, after "
        f"{free.times_s[-1]:.3g} s at {free.peaks_k[-1] - ZERO_C_K:.2f} °C"
    )
    for one in found.held:
        course = found.courses[one.how]
        steady = free.times_s[-1] / one.held.span_s
        print(
            f"below {one.limit_k - ZERO_C_K:.4g} °C by {one.how}, from cold: full speed for "
            f"{course.full_speed_s:.3g} s,\n  {course.turns / free.turns:.1%} of the work in "
            f"{free.times_s[-1]:.3g} s; at a steady pace {steady / free.turns:.1%}"
        )
    if found.taught is not None:
        rows = [
            (one.lesson, f"{one.end_s * 1e3:.3f}", f"{one.hottest_k - ZERO_C_K:.3f}")
            for one in found.taught.lessons
        ]
        show_table(("lesson", "until ms", "hottest °C"), rows, title="Lessons, one after another:")


def _short(why: str) -> str:
    """A sentence without the temperature that differs from tile to tile, for the command line."""
    for key, option in _GIVEN_BY.items():
        if f"{key!r}" in why:
            return f"no source says {key} of these cells; {option} gives one to the bundled model"
    return why if " K needs " not in why else "it needs " + why.partition(" K needs ")[2]
