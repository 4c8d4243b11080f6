"""Other tools' readers of NIR files: a file in, what their network makes of inputs out.

Each runs where its package is installed. Inputs and results are [steps, samples, ...].
"""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["TOOLS", "installed", "run"]

Run = Callable[[Any, Tensor, float], Tensor]


def _stepped(module: Any, x: Tensor) -> Tensor:
    state, rows = None, []
    for now in x:
        y, state = module(now, state)
        rows.append(y)
    return torch.stack(rows)


def _snntorch(graph: Any, x: Tensor, dt_s: float) -> Tensor:
    from snntorch.import_nir import import_from_nir

    return _stepped(import_from_nir(graph), x)  # steps are 1e-4 s, whatever is asked for


def _norse(graph: Any, x: Tensor, dt_s: float) -> Tensor:
    import norse.torch

    return _stepped(norse.torch.from_nir(graph, dt=dt_s), x)


def _sinabs(graph: Any, x: Tensor, dt_s: float) -> Tensor:
    from sinabs.nir import from_nir

    samples = x.shape[1]
    y = from_nir(graph, batch_size=samples)(x.transpose(0, 1).flatten(0, 1))
    y = y[0] if isinstance(y, tuple) else y
    return y.unflatten(0, (samples, len(x))).transpose(0, 1)


def _rockpool(graph: Any, x: Tensor, dt_s: float) -> Tensor:
    from rockpool.nn.modules.torch.nir import from_nir

    y, _ = from_nir(graph)(x.transpose(0, 1))
    return (y[0] if isinstance(y, tuple) else y).transpose(0, 1)


def _spikingjelly(graph: Any, x: Tensor, dt_s: float) -> Tensor:
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    return _stepped(import_from_nir(graph, dt=dt_s), x)


TOOLS: dict[str, Run] = {
    "snntorch": _snntorch,
    "norse": _norse,
    "sinabs": _sinabs,
    "rockpool": _rockpool,
    "spikingjelly": _spikingjelly,
}


def installed() -> list[str]:
    """The tools that are here."""
    return [name for name in TOOLS if importlib.util.find_spec(name) is not None]


def run(tool: str, path: Path, x: Tensor, dt_s: float) -> Tensor:
    """What a tool's network makes of inputs.

    Args:
        tool: its package.
        path: of a NIR file.
        x: inputs [T, B, ...].
        dt_s: seconds of a step, for tools that take them.
    """
    import nir

    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return TOOLS[tool](nir.read(path), x, dt_s).detach()


if __name__ == "__main__":
    print(*installed(), sep="\n")
