"""``clnf chip learn``: digits learned on tiles by a local rule, beside pulsed backpropagation."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from clnf.cli.options import Json, supplied_to, within
from clnf.cli.show import Bars, emit, say, show_table
from clnf.cli.volts import Volts, drive_of, program
from clnf.core.files import check_file, write_files

if TYPE_CHECKING:
    from torch import Tensor, nn

    from clnf.chip.local import AbstractMethod, Course, Drive, Events, Limits, Spent
    from clnf.chip.local.picture import Moment
    from clnf.chip.spec import ChipSpec

__all__ = ["app", "learn"]

_BATCH, _LOOKS, _OWED = 32, 8, 8.0
_TEACH, _TEST = slice(0, 4000), slice(5000, 6000)
# Rates that benchmarks/local_rules.py found best on HfO2 cells, by its tuning seeds and digits.
_RATES = {
    "mlp": {"layerwise": 3.0, "forward-forward": 10.0, "equilibrium": 3.0},
    "conv": {"feedback": 0.3, "forward-forward": 0.3},
}
app = typer.Typer()


class _Wish(NamedTuple):
    """What is taught, and on what."""

    net: str
    spec: "ChipSpec"
    lr: float | None
    steps: int
    seed: int
    budget: float | None
    owed: float


class _Done(NamedTuple):
    """A course at its end."""

    name: str
    moments: "list[Moment]"
    spent: "Spent"
    lr: float
    events: "Events | None"
    limits: "dict[str, Limits]"


@app.command(
    epilog="Example: clnf chip learn --rule layerwise --material hfo2_array_optimised --epochs 2 "
    "--picture learn.png"
)
def learn(
    rule: Annotated[
        str,
        typer.Option(
            help="Where errors come from: backpropagation, feedback, layerwise, forward-forward "
            "or equilibrium."
        ),
    ] = "layerwise",
    material: Annotated[
        str, typer.Option(metavar="NAME", help="Cells that learn.")
    ] = "hfo2_array_optimised",
    net: Annotated[str, typer.Option(help="What learns: mlp or conv.")] = "mlp",
    epochs: Annotated[float, typer.Option(help="How often all 4,000 digits are seen.")] = 4.0,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr", help="First learning rate of the rule; if not given, the best one on HfO2."
        ),
    ] = None,
    write_budget: Annotated[
        float | None,
        typer.Option(
            "--write-budget",
            help="Write pulses allowed: digits whose errors are small are left out.",
        ),
    ] = None,
    owed: Annotated[
        float | None,
        typer.Option(help="Pulses owed to a cell before it is written; 8 with a budget, else 1."),
    ] = None,
    law: Annotated[
        str,
        typer.Option(
            help="Steps in volts, with your numbers: sinh:S, exponential:S or threshold:VT:A. The "
            "rate then falls by the volts of the pulses."
        ),
    ] = "",
    amplitude: Annotated[
        float | None, typer.Option("--amplitude", help="Volts of the first pulses (with --law).")
    ] = None,
    width_ns: Annotated[
        float | None, typer.Option("--width-ns", help="Width of the pulses (with --law).")
    ] = None,
    volts: Annotated[
        str, typer.Option(help="LOW:HIGH or LOW:HIGH:BITS that the source can give (with --law).")
    ] = "",
    supply: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME.KEY=VALUE", help="A value of your own, SI; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of first weights, cells and batches.")] = 0,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw accuracy against joules and bytes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Teach digits to tiles by a rule of your choice, and show what it saves."""
    if picture is not None:
        check_file(picture, ".png")
    wish = _wish(net, (material, supply or []), (lr, epochs), seed, (write_budget, owed))
    with Bars(quiet=as_json) as bars:
        done = _both(rule, wish, Volts(law, amplitude, width_ns, volts), bars)
    if picture:
        write_files([(picture, _picture(done, _title(wish, material)))])
    emit(_values(done, wish, material), as_json, lambda: _show(done, wish, material, picture))


def _spec(material: str, supply: list[str]) -> "ChipSpec":
    """A chip of cells that can learn, one pair a weight."""
    from clnf.chip.spec import ChipSpec
    from clnf.devices.families import cell

    row = supplied_to(material, supply)
    known = cell(row)
    known.need(known.response)
    return ChipSpec(plastic=row, pairs=1)


def _wish(
    net: str,
    cells: tuple[str, list[str]],
    pace: tuple[float | None, float],
    seed: int,
    events: tuple[float | None, float | None],
) -> _Wish:
    """What was asked for, or the sentence of what is wrong with it."""
    from clnf.core.errors import ConfigError

    (lr, epochs), (budget, owed) = pace, events
    if net not in ("mlp", "conv"):
        raise ConfigError(f"what learns is mlp or conv, got {net!r}")
    if not 0 < epochs <= 1000:
        raise ConfigError(f"digits are seen above 0 and at most 1000 times, got {epochs:g} epochs")
    if budget is not None and not 0 <= budget < float("inf"):
        raise ConfigError(f"a write budget is a number of pulses, 0 or more, got {budget:g}")
    within("--lr", lr, (1e-9, 1e9))
    within("--owed", owed, (1.0, 1e6), "pulses")
    steps = max(1, round(epochs * (_TEACH.stop - _TEACH.start) / _BATCH))
    waits = owed if owed is not None else _OWED if budget is not None else 1.0
    return _Wish(net, _spec(*cells), lr, steps, seed, budget, waits)


def _both(rule: str, wish: _Wish, asked: Volts, bars: Bars) -> list[_Done]:
    """Plain pulsed backpropagation, then the rule; one of them where they are the same."""
    from clnf.chip.local import METHODS
    from clnf.core.errors import ConfigError

    if rule not in METHODS:
        raise ConfigError(f"a way of teaching is one of {', '.join(METHODS)}, got {rule!r}")
    drive = drive_of(wish.spec, asked)
    plain = wish._replace(budget=None, owed=1.0, lr=wish.lr if rule == "backpropagation" else None)
    done = [_taught("backpropagation", plain, None, bars)]
    if (rule, wish, drive) != ("backpropagation", plain, None):
        driven = (drive, asked) if drive else None
        done.append(_taught(rule, wish, driven, bars))
    return done


def _taught(rule: str, wish: _Wish, driven: "tuple[Drive, Volts] | None", bars: Bars) -> _Done:
    """One course from its first batch to its last."""
    from clnf.chip.hosting import host
    from clnf.chip.local import ColumnVolts, make_method, spent, teach

    split, test = _digits()
    net, course = _network(wish.net, wish.seed), _course(rule, wish, falling=driven is None)
    chip = host(net, assign=lambda name, leaf: "plastic", seed=wish.seed, spec=wish.spec)
    method = make_method(rule, net, chip, example=split[0][:_BATCH], seed=wish.seed)
    columns = {one.name: ColumnVolts(one, driven[0]) for one in method.taught} if driven else {}
    moments: list[Moment] = []
    marks = (wish.budget is not None, ", budget"), (driven is not None, ", volts")
    name = rule + "".join(word for wanted, word in marks if wanted)

    def ahead(step: int) -> None:
        bars.at(name, step, wish.steps)
        if step % -(-wish.steps // _LOOKS) == 0:
            moments.append(_moment(method, test))
        for one in columns.values():
            assert driven is not None
            program(one, driven, 1.0 - step / wish.steps)

    events = teach(method, course, split, ahead=ahead)
    bars.at(name, wish.steps, wish.steps)
    moments.append(_moment(method, test))
    limits = {one: volts.limits() for one, volts in columns.items()}
    return _Done(name, moments, spent(method), course.lr, events, limits)


def _moment(method: "AbstractMethod", test: "tuple[Tensor, Tensor]") -> "Moment":
    """Look at the test digits; what that costs is a lesson of its own."""
    from clnf.chip.local import right, spent
    from clnf.chip.local.picture import Moment

    ledger, now = method.chip.ledger, spent(method)
    lesson, ledger.lesson = ledger.lesson, "test"
    found = right(method, test)
    ledger.lesson = lesson
    moved = now.bytes * method.traffic.samples
    return Moment(accuracy=found, energy_j=now.energy_j, bytes=moved, pulses=now.pulses)


def _course(rule_name: str, wish: _Wish, *, falling: bool) -> "Course":
    from clnf.chip.local import Course, EventRule

    lr = _RATES[wish.net].get(rule_name, 1.0) if wish.lr is None else wish.lr
    course = Course(lr=lr, steps=wish.steps, batch=_BATCH, seed=wish.seed, falling=falling)
    budget = None if wish.budget is None else round(wish.budget)
    rule = EventRule(threshold=0.5, budget=budget, steps=wish.steps, falling=True)
    waiting = replace(course.rule, threshold=wish.owed)
    return replace(course, rule=waiting, events=None if budget is None else rule)


def _digits() -> "tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]":
    """Bundled digits at 14 x 14: 4,000 to learn from, 1,000 to test on."""
    import numpy as np
    import torch
    from torch.nn import functional as F

    from clnf.streams.bundled import digits10k

    digits = digits10k()
    order = np.random.default_rng(0).permutation(len(digits.labels))
    x = F.avg_pool2d(torch.from_numpy(digits.images[order]).permute(0, 3, 1, 2) / 255.0, 2)
    y = torch.from_numpy(digits.labels[order])
    return (x[_TEACH], y[_TEACH]), (x[_TEST], y[_TEST])


def _network(kind: str, seed: int) -> "nn.Sequential":
    """A perceptron or a small convolutional net."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    )  # fmt: skip


def _picture(done: list[_Done], title: str) -> bytes:
    from clnf.chip.local.picture import courses_picture

    return courses_picture({one.name: one.moments for one in done}, title)


def _title(wish: _Wish, material: str) -> str:
    return f"digits, {wish.net}, {wish.steps} batches of {_BATCH}, cells of {material}"


def _borrowed(wish: _Wish) -> dict[str, str]:
    """Values that another material lent, by name."""
    row = wish.spec.make(plastic=True).cell.material
    lent = {key: one.material for key, one in row.values.items()}
    return {key: name for key, name in lent.items() if name != row.name}


def _values(done: list[_Done], wish: _Wish, material: str) -> dict[str, Any]:
    """What was found as JSON values, in SI units."""
    return {
        "material": material, "net": wish.net, "batches": wish.steps, "seed": wish.seed,
        "borrowed": _borrowed(wish),
        "courses": [
            {
                "rule": one.name, "lr": one.lr, "accuracy": one.moments[-1].accuracy,
                **asdict(one.spent),
                "threshold": one.events.threshold if one.events else None,
                "limits": {name: asdict(limit) for name, limit in one.limits.items()},
                "course": [asdict(moment) for moment in one.moments],
            }
            for one in done
        ],
    }  # fmt: skip


def _show(done: list[_Done], wish: _Wish, material: str, picture: Path | None) -> None:
    first = done[0].spent
    rows = [
        (
            one.name, f"{one.moments[-1].accuracy:.3f}", f"{one.spent.energy_j * 1e6:.1f}",
            f"{one.spent.route_j * 1e6:.2f}", f"{one.spent.pulses:.3g}", one.spent.pulses_worst,
            f"{one.spent.bytes:.0f}", f"{one.spent.bytes / first.bytes:.0%}",
        )
        for one in done
    ]  # fmt: skip
    heads = ("rule", "accuracy", "uJ", "moving, uJ", "writes", "most worn", "bytes/input", "share")
    show_table(heads, rows, title=_title(wish, material))
    for sentence in _remarks(done, wish):
        say(sentence)
    if picture:
        print(f"picture: {picture}")


def _remarks(done: list[_Done], wish: _Wish) -> list[str]:
    """What the table leaves out."""
    last, said = done[-1], []
    if last.events and last.events.rule.budget is not None:
        share = last.spent.pulses / max(done[0].spent.pulses, 1)
        said.append(
            f"Of a budget of {last.events.rule.budget:,} pulses {last.spent.pulses:,} were used, "
            f"{share:.0%} of backpropagation's; the threshold ended at {last.events.threshold:.3g}."
        )
    for name, limit in last.limits.items():
        worst = max(limit.disturb.values(), key=lambda one: one.drift_bound)
        said.append(
            f"Layer {name}: the source gives rates {limit.low:.3g} to {limit.high:.3g}; "
            f"{limit.beyond:,} of {limit.asked:,} asked for were beyond. "
            f"Half-selected cells (V/2) step {worst.step:.2g} of a measured step; their drift is "
            + (
                f"at most {worst.drift_bound:.2g} of the window."
                if worst.drift_bound < 1
                else "not bounded below the whole window."
            )
        )
    lent = _borrowed(wish)
    if lent:
        said.append(
            f"Borrowed, as nothing was published: {', '.join(sorted(lent))}. Energy and time "
            "depend on these."
        )
    return said
