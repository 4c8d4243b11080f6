"""aihwkit 1.1.0, measured in the same run as our own benchmarks.

Release 1.2.0 has no wheel for Python 3.11, 1.1.0 has one. It is put into a folder of its own,
without what it asks for beside it, and each job of ``aihwkit_jobs`` runs in a process of its own on
one thread: nothing of the peer is imported here. Its Python part works with our torch. Its compiled
part, which pulses need, misreads tensors of any torch but the one it was built for: figures of
pulses are quoted, and no ratio is made of them.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "1.1.0"
QUOTED = "quoted, not measured here: aihwkit 1.2.0 on another day, 2-core AVX-512 CPU, 1 thread"
MEASURED = f"aihwkit {VERSION}, in the same run, 1 thread"
INSTALL_S, JOB_S = 300, 1800


def folder() -> Path:
    """Where the peer lies, outside the repository."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "clnf-benchmarks" / f"aihwkit-{VERSION}"


def installed() -> str:
    """Put the peer into its folder if it is not there; what went wrong, or nothing."""
    done = folder() / f"aihwkit-{VERSION}.dist-info" / "RECORD"
    if done.is_file():
        return ""
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:"]
    target = ["--quiet", "--upgrade", "--target", str(folder()), f"aihwkit=={VERSION}"]
    try:
        ended = subprocess.run(
            install + target, capture_output=True, text=True, check=False, timeout=INSTALL_S
        )
    except subprocess.TimeoutExpired:
        return f"pip took more than {INSTALL_S} s"
    return "" if ended.returncode == 0 else last_line(ended.stderr)


def last_line(text: str) -> str:
    """The line that says what went wrong."""
    return (text.strip().splitlines() or ["it ended without a word"])[-1]


def answer(job: str, data: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any] | None, str]:
    """What the job printed, or why it did not."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    surroundings = os.environ | {"PYTHONPATH": str(folder())} | dict.fromkeys(threads, "1")
    script = Path(__file__).with_name("aihwkit_jobs.py")
    with tempfile.TemporaryDirectory() as place:
        arrays = Path(place) / "data.npz"
        np.savez(arrays, **data)
        # -P: this folder holds a file of the peer's name, and must not be searched first.
        call = [sys.executable, "-P", str(script), job, str(arrays)]
        try:
            done = subprocess.run(
                call, env=surroundings, capture_output=True, text=True, check=False, timeout=JOB_S
            )
        except subprocess.TimeoutExpired:
            return None, f"the job took more than {JOB_S} s"
    if done.returncode != 0:
        return None, last_line(done.stderr)
    found: dict[str, Any] = json.loads(last_line(done.stdout))
    return found, ""


def measured(job: str, **data: NDArray[Any]) -> dict[str, Any] | None:
    """Figures of one job of ``aihwkit_jobs``; None, and a line that says why, where it cannot run.

    Args:
        job: name of a function there.
        data: arrays that both sides work on.
    """
    why = installed()
    found = None
    if not why:
        found, why = answer(job, data)
    if found is None:
        line = {"benchmark": job, "arm": "aihwkit", "missing": why, "instead": QUOTED}
        print(json.dumps(line), flush=True)
    return found


def beside(ours: float, theirs: float | None, quoted: float | None, unit: str) -> dict[str, object]:
    """Columns of a result line: the peer's figure, its source, and ours over it where measured.

    Args:
        ours: our figure in the same unit.
        theirs: the peer's figure of this run, or None.
        quoted: what stands in for it; no ratio is made of it.
        unit: ending of the column's name.
    """
    if theirs is not None:
        ratio = float(f"{ours / theirs:.3g}")
        figure = float(f"{theirs:.4g}")
        return {f"aihwkit_{unit}": figure, "ratio_to_aihwkit": ratio, "aihwkit_source": MEASURED}
    return {} if quoted is None else {f"aihwkit_{unit}": quoted, "aihwkit_source": QUOTED}


def main() -> None:
    """Say whether the peer can be had here, and where it lies."""
    why = installed()
    print(json.dumps({"peer": f"aihwkit {VERSION}", "folder": str(folder()), "missing": why}))


if __name__ == "__main__":
    main()
