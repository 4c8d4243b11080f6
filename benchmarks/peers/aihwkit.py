"""aihwkit, measured in the same run as our own benchmarks.

    python benchmarks/peers/aihwkit.py [build [SDIST]]

Release 1.2.0 has no wheel for Python 3.11, 1.1.0 has one: it is put into a folder of its own,
without what it asks for beside it, and each job of ``aihwkit_jobs`` runs in a process of its own on
one thread: nothing of the peer is imported here. Its Python part works with our torch. Its compiled
part, which pulses need, misreads tensors of any torch but the one it was built for. ``build``
compiles release 1.2.0 for the torch and the Python at hand, as it is set up itself (-O3, OpenBLAS,
no flag for one processor): it needs a C++ compiler and OpenBLAS with its headers, and takes a
quarter of an hour to half an hour on two cores. All jobs then run that build. Without it figures of
pulses are quoted, and no ratio is made of them.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHEEL, SOURCE = "1.1.0", "1.2.0"
# What setup.py of the peer asks for to be built, and what its Python part imports beside our own.
TOOLS = ("scikit-build", "pybind11", "setuptools", "wheel", "cmake", "ninja", "mypy")
BESIDE = ("tqdm",)
QUOTED = "quoted, not measured here: aihwkit 1.2.0 on another day, 2-core AVX-512 CPU, 1 thread"
INSTALL_S, BUILD_S, JOB_S = 300, 7200, 1800
PIP = (sys.executable, "-m", "pip")
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"


def home() -> Path:
    """Where peers lie, outside the repository."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "clnf-benchmarks"


def built() -> Path:
    """Where a build of the source for the torch and the Python at hand lies."""
    torch, python = importlib.metadata.version("torch"), sys.version_info
    return home() / f"aihwkit-{SOURCE}-torch{torch}-python{python.major}.{python.minor}"


def whole(place: Path, version: str) -> bool:
    """Whether pip put the peer there, all of it."""
    return (place / f"aihwkit-{version}.dist-info" / "RECORD").is_file()


VERSION = SOURCE if whole(built(), SOURCE) else WHEEL
HOW = ", built from source" if VERSION == SOURCE else ""
MEASURED = f"aihwkit {VERSION}{HOW}, in the same run, 1 thread"


def folder() -> Path:
    """Where the peer lies that is measured."""
    return built() if VERSION == SOURCE else home() / f"aihwkit-{WHEEL}"


def installed() -> str:
    """Put the peer into its folder if it is not there; what went wrong, or nothing."""
    if whole(folder(), VERSION):
        return ""
    target = ["--quiet", "--upgrade", "--target", str(folder()), f"aihwkit=={WHEEL}"]
    install = [*PIP, "install", "--no-deps", "--only-binary", ":all:", *target]
    return ran(install, INSTALL_S)


def ran(call: list[str], seconds: int, surroundings: Mapping[str, str] | None = None) -> str:
    """Run pip; what went wrong, or nothing."""
    try:
        done = subprocess.run(
            call,
            env=None if surroundings is None else dict(surroundings),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"pip took more than {seconds} s"
    return "" if done.returncode == 0 else cause(done.stderr)


def cause(text: str) -> str:
    """What a long log says of the first error: of cmake, else of a compiler or a shell."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for sign in ("^CMake Error", r": (fatal )?error: |: not found$|undefined reference"):
        for k, line in enumerate(lines):
            if re.search(sign, line):
                # cmake tells where in one line, and what in those that follow it.
                return " ".join(lines[k + 1 : k + 3]) if line.endswith(":") else line
    return last_line(text)


def build(source: str = f"aihwkit=={SOURCE}") -> str:
    """Compile the peer for the torch at hand and put it into its folder; what went wrong, or "".

    Args:
        source: what pip takes for the peer: a version, or the path of its source archive.
    """
    torch = importlib.util.find_spec("torch")
    if torch is None or not torch.submodule_search_locations:
        return "torch is missing: the peer is built for the torch it runs with"
    with tempfile.TemporaryDirectory() as place:
        tools, wheels = Path(place) / "tools", Path(place) / "wheels"
        surroundings = os.environ | {
            "PYTHONPATH": str(tools),
            "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "CMAKE_PREFIX_PATH": str(Path(torch.submodule_search_locations[0]) / "share/cmake"),
            "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count() or 1),
            "USE_CUDA": "OFF",
        }
        quiet = ["--disable-pip-version-check", "-c", str(CONSTRAINTS)]
        get = [*PIP, "install", *quiet, "--target", str(tools), *TOOLS]
        make = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-binary", "aihwkit"]
        put = [*PIP, "install", *quiet, "--no-deps", "--upgrade", "--target", str(built())]
        why = ran(get, INSTALL_S) or ran(
            [*make, "--wheel-dir", str(wheels), source], BUILD_S, surroundings
        )
        if why:
            return f"{why}; needed are a C++ compiler and OpenBLAS with headers (libopenblas-dev)"
        return ran([*put, *BESIDE, *map(str, wheels.glob("*.whl"))], INSTALL_S)


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
    """Say whether the peer can be had here, and where it lies; build it first if told to."""
    if sys.argv[1:2] == ["build"]:
        why, place, version = build(*sys.argv[2:3]), built(), SOURCE
    else:
        why, place, version = installed(), folder(), VERSION
    print(json.dumps({"peer": f"aihwkit {version}", "folder": str(place), "missing": why}))
    sys.exit(1 if why else 0)


if __name__ == "__main__":
    main()
