"""River's drift detectors, imported into the same run as ours.

Its wheel is put into a folder of its own, outside the repository, with the one package it needs
beside ours; numpy and scipy are those at hand. Where it cannot be had, ours are shown alone.
"""

import importlib
import subprocess
import sys
from typing import Any

from peers.aihwkit import CONSTRAINTS, PIP, home, last_line

RIVER, BESIDE = "river==0.26.1", "narwhals"
INSTALL_S = 300


def detectors() -> tuple[Any, str]:
    """The module ``river.drift``, or None and why it is not there."""
    place = home() / RIVER.replace("==", "-")
    if not (place / "river").is_dir():
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(place)]
        call = [*PIP, "install", "-c", str(CONSTRAINTS), *options, RIVER, BESIDE]
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        if done.returncode:
            return None, last_line(done.stderr)
    sys.path.append(str(place))
    try:
        return importlib.import_module("river.drift"), ""
    except ImportError as error:
        return None, str(error)


if __name__ == "__main__":
    print(detectors()[1] or f"{RIVER} is there")
