"""Commands of the living model: run, learn, generate, feedback, report."""

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from clnf.cli.options import DeviceName, Json, RunFolder, Threads, place
from clnf.cli.show import Bars, emit

if TYPE_CHECKING:
    from clnf.living.arm import Progress

__all__ = ["app"]

app = typer.Typer()
T = TypeVar("T")

Concept = Annotated[str, typer.Option("--concept", help="Name of the concept, such as hands.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The PNG file to write.")]
Root = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]


@app.command(epilog="Example: clnf run --quick")
def run(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe; the bundled emoji recipe when left out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; else the recipe's.")] = None,
    runs: Root = Path("runs"),
    resume: Annotated[str | None, typer.Option(help="Go on with this run.")] = None,
    quick: Annotated[bool, typer.Option(help="The same path with short lessons.")] = False,
    seed: Annotated[int | None, typer.Option(help="Another seed than the recipe's.")] = None,
    device: DeviceName = "cpu",
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Teach the model a stream of lessons on its chip, beside plain fine-tuning."""
    from clnf.cli.screen import show_run
    from clnf.living.run import Run

    place(device, threads)
    one = Run(runs / resume) if resume else Run.start(runs, name, recipe, quick=quick, seed=seed)
    with one.writing(), Bars(quiet=as_json) as bars:
        _watch(bars, one.go(threads=max(1, threads)))
    emit(one.summary(), as_json, lambda: show_run(one))


@app.command(epilog="Example: clnf learn runs/emoji ~/pictures/cats --concept cats")
def learn(
    folder: RunFolder,
    pictures: Annotated[Path, typer.Argument(help="A folder of PNG, JPEG or WebP files.")],
    concept: Concept,
    device: DeviceName = "cpu",
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Teach the model your own pictures, through the same gate and verdict."""
    from clnf.cli.screen import show_lesson
    from clnf.living.run import Run
    from clnf.living.teach import add_folder

    place(device, threads)
    one = Run(folder)
    with one.writing(), one.arm() as arm, Bars(quiet=as_json) as bars:
        name = add_folder(arm, pictures, concept, lambda n, of: bars.at("read pictures", n, of))
        _watch(bars, arm.run())
    one.report()
    emit(one.lesson(name), as_json, lambda: show_lesson(one, name))


@app.command(epilog="Example: clnf generate runs/emoji --concept hands -n 16 --seed 7 -o hands.png")
def generate(
    folder: RunFolder,
    concept: Concept,
    n: Annotated[int, typer.Option("-n", help="How many pictures.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    steps: Annotated[int, typer.Option(help="Heun steps.")] = 12,
    guidance: Annotated[float, typer.Option(help="Strength of the concept.")] = 2.0,
    out: Out = Path("out.png"),
    device: DeviceName = "cpu",
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Draw pictures of a concept; the files say how they were made."""
    from clnf.living.generate import Wish, draw_from_run

    place(device, threads)
    wish = Wish(concept=concept, n=n, seed=seed, steps=steps, guidance=guidance)
    files = [str(path) for path in draw_from_run(folder, wish, out)]
    emit({"files": files}, as_json, lambda: print(f"{files[0]} and {len(files) - 1} pictures"))


@app.command(
    epilog="Example: clnf feedback runs/emoji --image a-003.png --edited fixed.png --concept hands"
)
def feedback(
    folder: RunFolder,
    image: Annotated[Path, typer.Option(help="A picture as clnf generate wrote it.")],
    edited: Annotated[Path, typer.Option(help="The same picture as it should be.")],
    concept: Concept,
    device: DeviceName = "cpu",
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Teach the model an edit, and measure what it changed."""
    from clnf.cli.screen import show_feedback
    from clnf.living.run import Run
    from clnf.living.teach import learn_edit

    place(device, threads)
    one = Run(folder)
    with one.writing(), one.arm() as arm, Bars(quiet=as_json) as bars:
        result = _watch(bars, learn_edit(arm, image, edited, concept))
    one.report()
    emit(result, as_json, lambda: show_feedback(result))


@app.command(epilog="Example: clnf report runs/emoji")
def report(folder: RunFolder, as_json: Json = False) -> None:
    """Write report.html again from the run's journal, and say what it holds."""
    from clnf.cli.screen import show_run
    from clnf.living.run import Run

    one = Run(folder)
    path = one.report()
    emit({**one.summary(), "report": str(path)}, as_json, lambda: show_run(one))


def _watch(bars: Bars, work: "Generator[Progress, None, T]") -> "T":
    """Show a piece of work as it goes on; gives what it returns."""
    while True:
        try:
            at = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if at.note:
            bars.say(f"{at.arm}: {at.lesson}: {at.note}".removeprefix(": "))
        elif at.arm:
            bars.whole(at.arm, at.share, f"{at.lesson}: {at.phase}".removeprefix(": "))
        elif at.phase:
            bars.at(f"{at.lesson}: {at.phase}", at.done, at.total)
