"""``clnf chip fit``: the law of a cell from measured pulse trains."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clnf.cli.options import Json, within
from clnf.cli.show import Bars, emit, show_table
from clnf.core.errors import ExportError
from clnf.core.files import check_file, write_files

if TYPE_CHECKING:
    from clnf.devices.fitting import Fit

__all__ = ["app", "fit", "result"]

_PATIENCE_S = 2.0
app = typer.Typer()


@app.command(epilog="Example: clnf chip fit traces.csv --name my_cell --out my_cell.toml")
def fit(
    traces: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help="Columns device, pulse, direction (up or down) and conductance_us or _s.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the material.")] = "my_cell",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Save the material there; a new NAME.toml if not given."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw traces and residuals there, a PNG file.")
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", help="Chance that an interval holds the truth.")
    ] = 0.95,
    read_noise: Annotated[
        float | None, typer.Option("--read-noise", help="Relative noise of reading, where known.")
    ] = None,
    pulse_v: Annotated[
        float | None, typer.Option("--pulse-v", help="Amplitude of the pulses, volts.")
    ] = None,
    pulse_s: Annotated[
        float | None, typer.Option("--pulse-s", help="Width of the pulses, seconds.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Settles folds and subsets.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit the steps of measured cells, choose the best law and save it as a material."""
    from clnf.devices.fitting import fit as fit_file
    from clnf.devices.fitting import residual_picture

    target = _ready(name, out, picture, (pulse_v, pulse_s))
    with Bars(quiet=as_json) as bars:
        found = fit_file(traces, seed=seed, rate=rate, read_noise=read_noise, tell=_patient(bars))
    text = found.material(name, write_voltage_v=pulse_v, write_time_s=pulse_s)
    drawn = [(picture, residual_picture(found))] if picture else []
    write_files([(target, text.encode()), *drawn])
    emit(result(found, target, picture), as_json, lambda: _show(found, target, picture))


def _ready(
    name: str, out: Path | None, picture: Path | None, pulse: tuple[float | None, float | None]
) -> Path:
    """Where the material goes; what cannot be written is refused before the work."""
    from clnf.devices.fitting.result import check_name, check_pulse

    check_name(name)
    check_pulse(*pulse)
    # Wide beyond any memory cell, and still a mistaken unit is noticed.
    within("--pulse-v", pulse[0], (1e-3, 100.0), "V")
    within("--pulse-s", pulse[1], (1e-12, 10.0), "s")
    target = check_file(out or Path(f"{name}.toml"), ".toml")
    if out is None and target.exists():
        raise ExportError(
            f"{target} is there already; name it with --out to replace it, or give another --name"
        )
    if picture is not None:
        check_file(picture, ".png")
    return target


def _patient(bars: Bars) -> Any:
    """Show a bar only where the work takes more than two seconds."""
    begin, shown = time.monotonic(), [False]

    def tell(label: str, done: int, total: int) -> None:
        shown[0] = shown[0] or (time.monotonic() - begin > _PATIENCE_S and done < total)
        if shown[0]:
            bars.at(label, done, total)

    return tell


def result(found: "Fit", target: Path, picture: Path | None) -> dict[str, Any]:
    """What a fit found as JSON values."""
    from dataclasses import asdict

    return {
        "file": found.file,
        "sha256": found.sha256,
        "law": found.law,
        "devices": found.devices,
        "pulses": found.pulses,
        "readings": found.readings,
        "rate": found.rate,
        "converged": found.converged,
        "parameters": {key: asdict(one) for key, one in found.parameters.items()},
        "laws": [asdict(score) for score in found.scores],
        "levels": asdict(found.levels) if found.levels else None,
        "outliers": [asdict(one) for one in found.outliers],
        "dead": list(found.dead),
        "contrary": list(found.contrary),
        "warnings": list(found.warnings),
        "material": str(target),
        "picture": str(picture) if picture else None,
    }


def _show(found: "Fit", target: Path, picture: Path | None) -> None:
    """Print the choice, the numbers and what was set aside."""
    rows = [
        (
            score.law.replace("_", " ") + (" *" if score.chosen else ""),
            f"{score.mean:.4f}",
            f"{score.behind:.4f} ± {score.error:.4f}",
        )
        for score in found.scores
    ]
    show_table(
        ("law", "log likelihood by reading", "behind the best, ± standard error"),
        rows,
        title="Readings the fit had not seen; * is the simplest law within one standard error.",
    )
    numbers = [
        (key, f"{one.value:.4g}", f"{one.low:.4g} to {one.high:.4g}", one.unit)
        for key, one in found.parameters.items()
    ]
    show_table(("number", "value", f"{found.rate:.0%} interval", "unit"), numbers)
    if found.levels:
        print(f"the conductance knows {len(found.levels.conductance_s)} levels only")
    _set_aside(found)
    for sentence in found.warnings:
        print(f"note: {sentence}")
    print(f"material: {target}" + (f"\npicture: {picture}" if picture else ""))


def _set_aside(found: "Fit") -> None:
    """Print outliers and dead devices."""
    if found.outliers:
        count = len(found.outliers)
        what = "reading is an outlier" if count == 1 else "readings are outliers, the first"
        print(f"{count} of {found.readings} {what}:")
        for one in found.outliers[:5]:
            print(
                f"  device {one.device}, pulse {one.pulse}: {1e6 * one.conductance_s:.4g} µS"
                + ("" if one.expected_s is None else f", expected {1e6 * one.expected_s:.4g} µS")
            )
    if found.dead:
        print(f"{len(found.dead)} of {found.devices} devices never move: {', '.join(found.dead)}")
