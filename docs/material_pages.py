"""Writes a table and a picture of each material's cells: ``python material_pages.py FOLDER``.

A program of its own, since ``conf.py`` turns compiled kernels off and these need them.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from clnf.cli.catalogue import human
from clnf.devices.curves import draw
from clnf.devices.materials import material, materials
from clnf.devices.statistics import Check, Statistics, statistics

__all__ = ["page", "table", "write"]

HEADS = ("law", "at", "mean", "published", "spread", "published", "inside")


def write(folder: Path) -> None:
    """Write ``materials.md`` and a picture for each material that has a law to judge."""
    pictures = folder / "materials"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = []
    for name in materials():
        found = statistics(name)
        if found.checks:
            draw(name, pictures / f"{name}.png")
            parts.append(page(found))
    (folder / "materials.md").write_text("\n".join(parts), encoding="utf-8")


def page(found: Statistics) -> str:
    """What is judged of one material, under its own heading."""
    row = material(found.material)
    lines = [
        f"### {row.title}",
        "",
        f"`{row.name}`, {found.cells:,} cells. Inside the bands: "
        f"{len(found.checks) - len(found.outside)} of {len(found.checks)}. "
        f"Left out, since a value is missing: {', '.join(found.left_out) or 'nothing'}.",
        "",
        f"![Curves of {row.name}](materials/{row.name}.png)",
        "",
        table(found.checks),
    ]
    return "\n".join(lines)


def table(checks: Iterable[Check]) -> str:
    """Simulated means and spreads beside the published ones, each with its band."""
    lines = [HEADS, tuple("---" for _ in HEADS), *map(_line, checks)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _line(check: Check) -> tuple[str, ...]:
    return (
        check.law,
        check.at,
        _said(check.simulated.mean, check.unit),
        _with_band(check.published.mean, check.band.mean, check.unit),
        _said(check.simulated.spread, check.unit),
        _with_band(check.published.spread, check.band.spread, check.unit),
        "yes" if check.inside else "**no**",
    )


def _with_band(value: float, band: float, unit: str) -> str:
    return f"{_said(value, unit)} ± {_said(band, unit, digits=2)}"


def _said(value: float, unit: str, *, digits: int = 4) -> str:
    """A value in human units, with few digits."""
    if abs(value) < 1e-15:
        return "0"
    return human(float(f"{value:.{digits}g}"), unit)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
