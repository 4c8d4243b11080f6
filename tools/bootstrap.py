"""Make ``.venv`` at the root of the project and install clnf into it.

    python3 tools/bootstrap.py

Standard library only, and plain enough for an older Python to read: started with one that clnf
does not support, it looks for python3.11, 3.12 or 3.13 and goes on with that.

torch is the one large dependency, and a careless install fetches a CUDA build of several GB.
So it is settled first, by the first of these that works:

1. the pinned version is in ``.venv`` already;
2. a wheel that pip finds without any index (``find-links`` of its own configuration);
3. no NVIDIA GPU in sight, on Linux or Windows: PyTorch's CPU index;
4. the default index, with everything else.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
READY = VENV / ".ready"
SUPPORTED = ("3.11", "3.12", "3.13")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def version_of(command: str) -> str:
    """Return "3.11" for a command that runs Python 3.11, or "" where it does not run."""
    ask = "import sys; print('{}.{}'.format(*sys.version_info))"
    try:
        done = subprocess.run([command, "-c", ask], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def find_python() -> str:
    """Return an interpreter clnf supports: this one if it fits, else the first found on PATH."""
    mine = "{}.{}".format(*sys.version_info)
    if mine in SUPPORTED:
        return sys.executable
    for version in SUPPORTED:
        command = shutil.which("python" + version)
        if command and version_of(command) == version:
            return command
    wanted = ", ".join(SUPPORTED[:-1]) + " or " + SUPPORTED[-1]
    sys.exit(f"clnf needs Python {wanted} and found only {mine}; install one and run make again.")


def python_in_venv() -> str:
    """Return the path of the environment's interpreter."""
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return str(VENV / folder / name)


def make_venv() -> None:
    """Make ``.venv``, or keep one that works."""
    if version_of(python_in_venv()) in SUPPORTED:
        return
    python = find_python()
    say("making .venv with " + python)
    if subprocess.run([python, "-m", "venv", "--clear", str(VENV)], check=False).returncode:
        package = f"python{version_of(python)}-venv"
        sys.exit(f"python could not make .venv; on Debian or Ubuntu: apt install {package}")


def pinned_torch() -> str:
    """Return the pin of torch, "torch==X.Y.Z", from ``constraints.txt``."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.strip() for line in lines if line.startswith("torch=="))


def has_nvidia_gpu() -> bool:
    """Tell whether an NVIDIA driver is present."""
    return Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None


def pip(*arguments: str, quiet: bool = False) -> bool:
    """Run pip in the environment; return whether it succeeded."""
    command = [python_in_venv(), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    end = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, check=False, stdout=end, stderr=end, cwd=ROOT).returncode == 0


def torch_is_there(pin: str) -> bool:
    """Tell whether the pinned torch is in the environment and can be imported."""
    check = "import torch; print(torch.__version__.split('+')[0])"
    done = subprocess.run(
        [python_in_venv(), "-c", check], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() == pin.partition("==")[2]


def settle_torch() -> None:
    """Install torch by the cheapest of the ways listed at the head of this file."""
    pin = pinned_torch()
    if torch_is_there(pin):
        return
    say("looking for a local wheel of " + pin)
    if pip("--no-index", "--no-deps", pin, quiet=True):
        return
    if sys.platform != "darwin" and not has_nvidia_gpu():
        say(f"no NVIDIA GPU found: taking the CPU build of {pin} (about 200 MB)")
        if pip("--no-deps", "--retries", "1", "--index-url", CPU_INDEX, pin):
            return
        say("that index did not answer; the default index may bring a build of several GB")


def say(sentence: str) -> None:
    """Print one line at once."""
    print("bootstrap: " + sentence, flush=True)


def main() -> None:
    """Do all of it, then leave the stamp that tells make there is nothing left to do."""
    make_venv()
    settle_torch()
    say("installing clnf and its tools (a few minutes the first time)")
    if not pip("--quiet", "--constraint", "constraints.txt", "--editable", ".[dev]"):
        sys.exit("the installation failed; see the lines of pip above, then run make again.")
    READY.write_text("made by tools/bootstrap.py\n", encoding="utf-8")
    say("ready")


if __name__ == "__main__":
    main()
