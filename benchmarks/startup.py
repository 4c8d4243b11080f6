"""Start-up of ``clnf --help`` against a bare typer program with one command.

Prints one JSON line: medians of interleaved starts, their ratio, and the ratio to bare Python.
"""

import json
import subprocess
import sys
import time
from statistics import median

TIMES = 15
BARE = """
import typer
app = typer.Typer(add_completion=False)
@app.command()
def go(name: str = "x") -> None:
    "Do it."
app()
"""
PROGRAMS = {
    "python": "pass",
    "typer": BARE,
    "clnf": "from clnf.cli.main import run; run()",
}


def seconds(code: str) -> float:
    """Time one start that prints its help."""
    start = time.perf_counter()
    command = [sys.executable, "-c", code, "--help"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Interleave the programs, so that a busy moment meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(TIMES):
        for name, code in PROGRAMS.items():
            times[name].append(seconds(code))
    middle = {name: median(values) for name, values in times.items()}
    row = {f"{name}_ms": round(1e3 * value, 1) for name, value in middle.items()}
    ratio = round(middle["clnf"] / middle["typer"], 3)
    print(json.dumps({"benchmark": "startup", **row, "clnf_over_typer": ratio}))


if __name__ == "__main__":
    main()
