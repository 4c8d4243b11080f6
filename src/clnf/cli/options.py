"""Options that many commands share, declared once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clnf.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceName", "Json", "RunFolder", "Threads", "place"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder: runs/NAME.")]
DeviceName = Annotated[
    str, typer.Option("--device", help="Where torch runs; only cpu so far.", metavar="NAME")
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        help="Threads of torch, in each arm of a run; 0: torch chooses.",
    ),
]


def place(device: str, threads: int) -> "torch.device":
    """Choose where and on how many threads torch runs.

    Args:
        device: a name torch knows, such as ``cpu`` or ``cuda:0``.
        threads: number of threads, >= 0; 0 changes nothing.

    Returns:
        The device, tried with a small tensor.

    Raises:
        ConfigError: torch does not know the device, cannot use it here, or it is not the cpu.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise ConfigError(f"device {device!r} cannot be used here: {why}; try cpu") from None
    if chosen.type != "cpu":
        # The model is not moved yet: better refused than quietly run on the processor.
        raise ConfigError(f"clnf runs on the processor only so far, got {device!r}; use cpu")
    return chosen
