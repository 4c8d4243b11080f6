"""Commands of the living model: run, learn, generate, feedback, report, undo, verify."""

import errno
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clnf.cli.options import ArmThreads, DeviceName, Json, RunFolder, Threads, place
from clnf.cli.show import Bars, Stopped, emit
from clnf.core.errors import ConfigError

if TYPE_CHECKING:
    from clnf.living.arm import Arm
    from clnf.living.progress import Progress
    from clnf.living.run import Run

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
    threads: ArmThreads = 1,
    as_json: Json = False,
) -> None:
    """Teach the model a stream of lessons on its chip, beside plain fine-tuning."""
    from clnf.cli.screen import show_run
    from clnf.living.run import Run, plain_name

    if resume is None:
        place(device, threads)
        one = Run.start(runs, name, recipe, quick=quick, seed=seed)
    elif recipe or name or quick or seed is not None:
        raise ConfigError("--resume goes on with the run's own recipe; leave out all but --runs")
    else:
        place(device, threads)
        one = Run(runs / plain_name(resume))
    with _writing(one, Bars(quiet=as_json)) as bars:
        _watch(bars, one.go(threads=threads, device=device))
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
    from clnf.living.teach import learn_folder

    def lesson(arm: "Arm", bars: Bars) -> "Generator[Progress, None, dict[str, Any]]":
        return learn_folder(arm, pictures, concept, partial(bars.at, "read pictures"))

    place(device, threads)
    _teach(folder, as_json, device, lesson)


@app.command(epilog="Example: clnf generate runs/emoji --concept hands -n 16 --seed 7 -o hands.png")
def generate(
    folder: RunFolder,
    concept: Concept,
    n: Annotated[int, typer.Option("-n", help="How many pictures.")] = 16,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    steps: Annotated[int, typer.Option(help="Heun steps.")] = 12,
    guidance: Annotated[float, typer.Option(help="Strength of the concept.")] = 2.0,
    like: Annotated[
        Path | None, typer.Option(help="Start from this picture, seen by a coarse sensor.")
    ] = None,
    contrast: Annotated[float, typer.Option(help="Share of the sensor's range it fills.")] = 1.0,
    sensor_bits: Annotated[int, typer.Option(help="Bits of the sensor.")] = 4,
    looks: Annotated[int, typer.Option(help="Looks that are averaged.")] = 16,
    keep: Annotated[float, typer.Option(help="How much of what was seen is kept, 0 to 1.")] = 0.5,
    dither: Annotated[
        float | None, typer.Option(help="Noise before the sensor; the best by theory without.")
    ] = None,
    source_noise: Annotated[
        float, typer.Option(help="Noise the source has by itself, in full scales.")
    ] = 0.0,
    out: Out = Path("out.png"),
    device: DeviceName = "cpu",
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Draw pictures of a concept; the files say how they were made."""
    from clnf.cli.screen import show_drawn
    from clnf.living.faint import Scene
    from clnf.living.generate import Wish, draw_from_run

    place(device, threads)
    wish = Wish(concept=concept, n=n, seed=seed, steps=steps, guidance=guidance)
    scene = None if like is None else Scene(
        picture=like, contrast=contrast, bits=sensor_bits, looks=looks, keep=keep, sigma=dither,
        noise=source_noise,
    )  # fmt: skip
    drawn = draw_from_run(folder, wish, out, device, scene)
    emit({**asdict(drawn), "files": [*map(str, drawn.files)]}, as_json, lambda: show_drawn(drawn))


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
    from clnf.living.teach import learn_edit

    place(device, threads)
    _teach(folder, as_json, device, lambda arm, _: learn_edit(arm, image, edited, concept))


@app.command(epilog="Example: clnf report runs/emoji")
def report(folder: RunFolder, as_json: Json = False) -> None:
    """Write report.html again from the run's journal, and say what it holds."""
    from clnf.cli.screen import show_run
    from clnf.living.run import Run

    one, path = Run(folder), folder / "report.html"
    try:
        one.report()
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        # A backup can be read all the same.
        print(f"clnf: {path} was not written again ({error.strerror})", file=sys.stderr)
    emit({**one.summary(), "report": str(path)}, as_json, lambda: show_run(one))


@app.command(epilog="Example: clnf undo runs/emoji --to 212")
def undo(
    folder: RunFolder,
    to: Annotated[int | None, typer.Option(help="Go back to this step; else list them.")] = None,
    device: DeviceName = "cpu",
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Undo lessons: write the cells back to what was known before them, and pay for it.

    Adapters that a concept got with a lesson that is undone count as never taught: 0 pulses.
    """
    from clnf.cli.screen import show_points
    from clnf.living.run import Run
    from clnf.living.store import points

    if to is not None:
        place(device, threads)
        _go_back(folder, to, device, as_json)
        return
    found = points(folder, Run(folder).recipe)
    emit([asdict(point) for point in found], as_json, lambda: show_points(folder, found))


@app.command(epilog="Example: clnf verify runs/emoji")
def verify(
    folder: RunFolder,
    mend: Annotated[
        bool, typer.Option("--repair", help="First put a bad journal back from a snapshot.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute every hash of a run anew; ends with 1 where a file or a row was changed."""
    from clnf.cli.screen import show_checked
    from clnf.living.verify import check, repair

    done = list(repair(folder)) if mend else []
    found = list(check(folder))
    good = all(one.good for one in found)
    value = {"run": str(folder), "good": good, "checked": [asdict(one) for one in found]}
    emit({**value, "repaired": done}, as_json, lambda: show_checked(found, done))
    if not good:
        raise typer.Exit(1)


def _go_back(folder: Path, step: int, device: str, as_json: bool) -> None:
    """Go back to a point of return, write the report anew, and show what it took."""
    from clnf.cli.screen import show_undone
    from clnf.living.run import Run

    one = Run(folder)
    with _writing(one, Bars(quiet=as_json)) as bars, one.arm(device=device) as arm:
        if arm.note:
            bars.say(arm.note)
        result = _watch(bars, arm.undo(step))
    path = one.report()
    emit({**result, "report": str(path)}, as_json, lambda: show_undone(result, path))


def _teach(
    folder: Path,
    as_json: bool,
    device: str,
    lesson: "Callable[[Arm, Bars], Generator[Progress, None, dict[str, Any]]]",
) -> None:
    """Teach a person's lesson, write the report anew, and show what came of it."""
    from clnf.cli.screen import show_lesson
    from clnf.living.run import Run

    one = Run(folder)
    with _writing(one, Bars(quiet=as_json)) as bars, one.arm(device=device) as arm:
        if arm.note:
            bars.say(arm.note)
        result = _watch(bars, lesson(arm, bars))
    path = one.report()
    emit({**result, "report": str(path)}, as_json, lambda: show_lesson(result, path))


@contextmanager
def _writing(one: "Run", bars: Bars) -> Iterator[Bars]:
    """Hold the run for writing and show bars; a Ctrl-C says how to go on.

    Raises:
        Stopped: somebody pressed Ctrl-C.
    """
    from clnf.living.teach import resume_command

    try:
        with one.writing(), bars:
            yield bars
    except KeyboardInterrupt:
        raise Stopped(f"stopped; go on with `{resume_command(one.folder)}`") from None


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
