"""``clnf doctor``: is everything here that clnf needs, and how will it run?"""

import importlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import typer

from clnf.cli.options import Json
from clnf.cli.show import emit, show_table
from clnf.core.errors import ClnfError

__all__ = ["Finding", "app", "examine"]

app = typer.Typer()

PACKAGES = ("torch", "numpy", "scipy", "numba", "safetensors", "pillow", "typer", "rich")
KERNELS = ("clnf.devices.kernels", "clnf.chip.kernels")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "fma", "sha_ni")
FREE_GB = 2.0


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at: whether it is good, and a sentence about it."""

    what: str
    good: bool
    says: str


@app.command(epilog="Example: clnf doctor --json")
def doctor(as_json: Json = False) -> None:
    """Check versions, processor, kernels, disk and bundled data."""
    found = list(examine())

    def show() -> None:
        rows = [("ok" if row.good else "BAD", row.what, row.says) for row in found]
        show_table(("", "what", "finding"), rows)

    emit([asdict(row) for row in found], as_json, show)
    if not all(row.good for row in found):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at everything, one finding at a time; a failed check is a finding, not an error."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("processor", _processor),
        ("devices", _devices),
        ("kernels", _kernels),
        ("disk", _disk),
        ("emoji32", lambda: _data_set("emoji32")),
        ("digits10k", lambda: _data_set("digits10k")),
        ("core weights", _core),
        ("judge weights", _judge),
    )
    for what, check in checks:
        try:
            says, good = check(), True
        except (ClnfError, ImportError, OSError, RuntimeError, ValueError) as error:
            says, good = str(error), False
        yield Finding(what=what, good=good, says=says)


def _python() -> str:
    import clnf

    if not (3, 11) <= sys.version_info < (3, 14):
        raise RuntimeError(f"Python {platform.python_version()}; clnf needs 3.11 to 3.13")
    system = f"{platform.system()} {platform.machine()}"
    return f"clnf {clnf.__version__}, Python {platform.python_version()}, {system}"


def _packages() -> str:
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _processor() -> str:
    import torch

    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    have = {word for line in text.splitlines() if line.startswith("flags") for word in line.split()}
    flags = " ".join(flag for flag in FLAGS if flag in have) or "flags unknown"
    threads = f"an arm of a run uses 1 thread, torch would choose {torch.get_num_threads()}"
    return f"{os.cpu_count()} cores; {threads} (--threads); {flags}"


def _devices() -> str:
    import torch

    names = ["cpu"]
    if torch.cuda.is_available():
        names += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return ", ".join(names)


def _kernels() -> str:
    """Compile or load one kernel, and count those whose machine code is on disk."""
    import numpy as np
    from numba.core.dispatcher import Dispatcher

    from clnf.devices.kernels import fill_gauss

    start = time.perf_counter()
    fill_gauss(np.zeros(4, np.float32), np.zeros(2, np.uint32), 0)
    took = time.perf_counter() - start
    cached, everything, folder = 0, 0, ""
    for name in KERNELS:
        for kernel in vars(importlib.import_module(name)).values():
            path = kernel.stats.cache_path if isinstance(kernel, Dispatcher) else None
            if path and kernel.py_func.__module__ == name:
                folder, everything = path, everything + 1
                stem = f"kernels.{kernel.py_func.__name__}-"
                cached += any(Path(path).glob(f"{stem}*.nbi"))
    if not os.access(folder, os.W_OK):
        return f"one ready after {took:.1f} s; {folder} cannot be written, so each start compiles"
    rest = "" if cached == everything else "; each of the others compiles once, at its first use"
    return f"one ready after {took:.1f} s; {cached} of {everything} compiled and kept on disk{rest}"


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < FREE_GB:
        raise RuntimeError(f"{free:.1f} GB free in {Path.cwd()}; a run wants {FREE_GB:.0f} GB")
    return f"{free:.1f} GB free in {Path.cwd()}"


def _data_set(name: str) -> str:
    from clnf.streams import bundled

    found: Any = bundled.emoji32() if name == "emoji32" else bundled.digits10k()
    return f"{len(found.images)} pictures, sha256 {found.sha256[:12]} as built"


def _core() -> str:
    from clnf.media.bundled import load_core

    model, _ = load_core()
    return f"{sum(p.numel() for p in model.parameters()):,} parameters"


def _judge() -> str:
    from clnf.media.bundled import load_judge

    model, _ = load_judge()
    return f"{sum(p.numel() for p in model.parameters()):,} parameters"
