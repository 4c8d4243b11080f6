"""Commands of benchmarks whose runs are kept one a line in a file, so that none is done twice.

python benchmarks/peers/rows.py FILE   how many runs of which benchmark a file holds
"""

import json
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def rows_in(path: Path, name: str) -> list[Row]:
    """Runs of a benchmark in a file of JSON lines; each has a seed."""
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    every = [json.loads(text) for text in texts if text.startswith("{")]
    return [one for one in every if one.get("benchmark") == name and "seed" in one]


def command(
    name: str,
    *,
    runs: Callable[[list[Row]], Iterable[Row]],
    summed: Callable[[list[Row]], Iterable[Row]],
    table: Callable[[list[Row]], Iterable[str]],
) -> None:
    """Do what the command line asks: all, into, lines, table or section.

    Args:
        name: of the benchmark.
        runs: those that are not among the rows given.
        summed: rows as summary lines.
        table: rows as lines of a page.
    """
    torch.set_num_threads(1)
    asked, *rest = sys.argv[1:] or ["all"]
    path = Path(rest[0]) if rest else Path()
    rows = rows_in(path, name) if rest else []
    if asked == "into":
        for row in runs(rows):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    elif asked == "table":
        print("\n".join(table(rows)))
    elif asked == "section":
        print(section(name, rows, summed))
    else:
        for line in summed(rows if rest else list(runs([]))):
            print(json.dumps(line), flush=True)


def mean(values: list[Any]) -> Any:
    """Of numbers or of ranges, to three digits; None where there is none."""
    if values[0] is None:
        return None
    if isinstance(values[0], list):
        return [mean(list(side)) for side in zip(*values, strict=True)]
    return float(f"{statistics.mean(values):.3g}")


def span(ends: list[float] | None, unit: float, without: str = "-") -> str:
    """A range in a unit, for a page."""
    if ends is None:
        return without
    low, high = (f"{one / unit:.3g}" for one in ends)
    return low if low == high else f"{low} to {high}"


def section(name: str, rows: list[Row], summed: Callable[[list[Row]], Iterable[Row]]) -> str:
    """What ``tools/bench.py`` would write of these runs."""
    sys.path.insert(0, str(ROOT / "tools"))
    import bench

    seconds = sum(one.get("seconds", 0.0) for one in rows)
    made = f"{seconds:.0f} s of processor time, in {len(rows)} runs. {bench.machine()}. "
    body = "\n".join(json.dumps(line) for line in summed(rows))
    return f"## {name}\n\n{made}Commit {bench.commit()}.\n\n```json\n{body}\n```\n"


def main() -> None:
    """Count the runs in a file."""
    for path in sys.argv[1:]:
        texts = Path(path).read_text(encoding="utf-8").splitlines()
        print(json.dumps(Counter(json.loads(text)["benchmark"] for text in texts)))


if __name__ == "__main__":
    main()
