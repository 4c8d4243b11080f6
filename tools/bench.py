"""Run scripts in ``benchmarks/`` and write their sections of ``benchmarks/RESULTS.md``.

    python tools/bench.py [NAME ...]

Without a name all are run. A benchmark needs no arguments and prints JSON lines. Each section says
on which machine and at which commit its figures were made; those of benchmarks that were not run,
or failed, stay. A figure that no script prints does not belong in a text.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "benchmarks/RESULTS.md"
HEAD = "# Benchmark results\n\nCompare ratios, not times. `make bench` writes this file anew.\n"


def machine() -> str:
    """Return one line about the processor, the system and Python."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip()
    except (OSError, IndexError):
        model = platform.processor() or platform.machine()
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def commit() -> str:
    """Return the short hash of the commit, with ``+`` where the tree, but for results, differs."""
    git = ["git", "-C", str(ROOT)]
    done = subprocess.run(
        [*git, "describe", "--always"], capture_output=True, text=True, check=False
    )
    own = f":!{TARGET.relative_to(ROOT)}"
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", own], check=False)
    return (done.stdout.strip() or "unknown") + "+" * bool(changed.returncode)


def measure(script: Path) -> tuple[bool, str]:
    """Run one benchmark; return whether it ended well and its section of the results."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False
    )
    seconds = time.perf_counter() - start
    rows = [line for line in done.stdout.splitlines() if line.startswith("{")]
    for row in rows:
        json.loads(row)
    good = done.returncode == 0 and bool(rows)
    note = "" if good else f", failed with code {done.returncode}"
    made = f"{seconds:.0f} s{note}. {machine()}. Commit {commit()}."
    body = "\n".join(rows)
    return good, f"## {script.stem}\n\n{made}\n\n```json\n{body}\n```\n"


def sections(text: str) -> dict[str, str]:
    """Sections of the results by name."""
    parts = re.split(r"^(?=## \w+$)", text, flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def main() -> None:
    """Run the named benchmarks, or all, and write the results of a full run."""
    names = sys.argv[1:]
    scripts = [s for s in sorted((ROOT / "benchmarks").glob("*.py")) if s.stem in (names or s.stem)]
    text = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    kept, failed = sections(text), []
    for script in scripts:
        print(f"{script.stem} ...", file=sys.stderr, flush=True)
        good, section = measure(script)
        print(section, flush=True)
        if not good:
            failed.append(script.stem)
            continue
        kept[script.stem] = section
        body = "\n".join(kept[name] for name in sorted(kept))
        TARGET.write_text(f"{HEAD}\n{body}", encoding="utf-8")
    if failed:
        sys.exit("these benchmarks failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
