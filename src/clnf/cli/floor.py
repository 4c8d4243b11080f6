"""``clnf chip map``: where a model's tiles lie, what they do, how worn and how warm they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clnf.cli.options import Json, within
from clnf.cli.show import Bars, emit, show_table

if TYPE_CHECKING:
    from clnf.living.floor import Floor

__all__ = ["app"]

ZERO_C_K = 273.15
_WORST = 5
app = typer.Typer()


@app.command(name="map", epilog="Example: clnf chip map runs/emoji --picture chip.png")
def map_(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder; else a model untaught.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.png", help="Draw the chip.")
    ] = None,
    package: Annotated[
        float | None,
        typer.Option("--package", help="Package to air, K/W; HotSpot's heat sink if not given."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the placement.")] = 0,
    together: Annotated[
        float | None,
        typer.Option("--together", help="Pull between tiles of a group; 0: none, 2: strong."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a model's chip: groups of tiles, area, routing energy, wear, warmth."""
    from clnf.chip.groups.picture import draw_floor
    from clnf.cli.warm_pictures import known
    from clnf.core.files import check_file

    if picture:
        check_file(picture, ".png")
    within("--package", package, (1e-6, 1e6), "K/W")
    within("--together", together, (0.0, 1e6))
    known(run, {})
    with Bars(quiet=as_json) as bars:
        bars.say("drawing a few pictures, to see what each tile does")
        floor = _look(run, package, seed, together)
    if picture:
        draw_floor(floor.network, floor.seen, floor.tiles, picture)
    emit(floor.to_json(), as_json, lambda: _show(floor, picture))


def _look(folder: Path | None, package: float | None, seed: int, together: float | None) -> "Floor":
    """A run's model as its newest snapshot left it, or a fresh one; looked at."""
    from clnf.chip.heat.network import Cooling
    from clnf.living import snapshots
    from clnf.living.floor import look
    from clnf.living.model import LivingModel
    from clnf.living.recipe import Recipe
    from clnf.living.run import Run

    if folder is None:  # without wires, which change no charge
        model = LivingModel(Recipe(name="untaught").changed("chip", wire_ohm=0.0))
        model.chip.program_core()
    else:
        model = LivingModel(Run(folder).recipe)
        model.load_state_dict(snapshots.load_latest(folder / "snapshots").parts)
    return look(model, seed=seed, cooling=Cooling(package_k_w=package), together=together)


def _show(floor: "Floor", picture: Path | None) -> None:
    """Print the groups, the most worn tiles, and what routing costs."""
    rows = [
        (
            line.group,
            line.tiles,
            line.learning,
            f"{100 * line.used:.2g} %",
            f"{line.area_m2 * 1e6:.2f}",
            f"{line.work_j * 1e6:.2f}",
            f"{line.routing_j * 1e9:.0f}",
            f"{line.most_worn:,}",
            f"{line.hottest_k - ZERO_C_K:.2f}",
        )
        for line in floor.groups
    ]
    heads = ("group", "tiles", "learn", "used", "mm²", "work µJ", "routing nJ", "most worn",
             "hottest °C")  # fmt: skip
    evaluations = floor.evaluations
    title = f"Work: {evaluations} evaluations of the field. Routing: one evaluation."
    show_table(heads, rows, title=title)
    worst = sorted(floor.tiles, key=lambda line: -line.most_worn)[:_WORST]
    worn = [
        (
            line.tile,
            line.group,
            f"{line.most_worn:,}",
            "unknown" if line.spent is None else f"{100 * line.spent:.3g} %",
            f"{line.hottest_k - ZERO_C_K:.2f}",
        )
        for line in worst
    ]
    show_table(("tile", "group", "writes", "of its endurance", "hottest °C"), worn,
               title="The most worn tiles:")  # fmt: skip
    routing = floor.routing
    hops = routing.bit_hops / max(routing.bits, 1.0)
    print(
        f"routing: {routing.energy_j * 1e6:.3g} µJ an evaluation, a bit goes {hops:.2f} places on; "
        f"{floor.random_j * 1e6:.3g} µJ were tiles placed at random"
    )
    for left_out in routing.unknown:
        print(f"left out: {left_out}")
    if picture:
        print(f"picture: {picture}")
