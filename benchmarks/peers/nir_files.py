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

__all__ = ["TOOLS", "given_back", "installed", "run"]

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


def _snntorch_back(graph: Any, x: Tensor, dt_s: float) -> Any:
    from snntorch.export_nir import export_to_nir
    from snntorch.import_nir import import_from_nir

    return export_to_nir(import_from_nir(graph), x)


def _norse_back(graph: Any, x: Tensor, dt_s: float) -> Any:
    import norse.torch

    return norse.torch.to_nir(norse.torch.from_nir(graph, dt=dt_s), x, dt=dt_s)


def _sinabs_back(graph: Any, x: Tensor, dt_s: float) -> Any:
    from sinabs.nir import from_nir, to_nir

    return to_nir(from_nir(graph, batch_size=len(x)), x)


def _rockpool_back(graph: Any, x: Tensor, dt_s: float) -> Any:
    from rockpool.nn.modules.torch.nir import from_nir, to_nir

    return to_nir(from_nir(graph), x[None])


def _spikingjelly_back(graph: Any, x: Tensor, dt_s: float) -> Any:
    from spikingjelly.activation_based.nir_exchange import export_to_nir, import_from_nir

    return export_to_nir(import_from_nir(graph, dt=dt_s), x, dt=dt_s)


BACK = {
    "snntorch": _snntorch_back,
    "norse": _norse_back,
    "sinabs": _sinabs_back,
    "rockpool": _rockpool_back,
    "spikingjelly": _spikingjelly_back,
}


def given_back(tool: str, path: Path, x: Tensor, dt_s: float) -> None:
    """Read a file, export what came of it, and write that with ``nir``; raises where that fails.

    Args:
        tool: its package.
        path: of a NIR file; the export takes its place.
        x: one step of inputs [B, ...], which exporters trace with.
        dt_s: seconds of a step, for tools that take them.
    """
    import nir

    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        nir.write(path, BACK[tool](nir.read(path), x, dt_s))


if __name__ == "__main__":
    print(*installed(), sep="\n")
