"""A net described in a TOML file: layers and their sizes, no code and no weights.

    inputs = [2, 34, 34]          shape of one sample at one step
    dt_s = 1e-3                   this if not given
    [[layers]]
    kind = "conv"                 linear, conv, pool, flatten, neurons, readout
    channels = 8
    kernel = 3                    stride, padding: 1 and 0 if not given
    cell = { kind = "IF" }        parameters of the cell as in clnf.spiking, such as tau_s

Weights have sizes and no values (torch's device "meta"), so that a net of any size costs nothing to
look at: what such a file is checked for are sizes, kinds and cells. Every weight counts as present.
"""

from collections.abc import Callable
from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clnf.core.errors import ConfigError
from clnf.core.inputs import number, shown, whole
from clnf.core.toml import load_toml
from clnf.spiking import cells
from clnf.spiking.cells import AbstractCell
from clnf.spiking.chain import Chain
from clnf.spiking.convolution.maps import Convolution, pair
from clnf.spiking.layers import Neurons, Readout
from clnf.spiking.synapses import EventLinear, SpikingConv2d, SpikingLinear

__all__ = ["DT_S", "read_description"]

DT_S = 1e-3  # of a file that names no steps

_CELLS: dict[str, Callable[..., AbstractCell]] = {
    "IF": cells.IF, "LIF": cells.LIF, "CubaLIF": cells.CubaLIF, "AdaptiveLIF": cells.AdaptiveLIF,
    "LI": cells.LI, "CubaLI": cells.CubaLI,
}  # fmt: skip
_MOST = 2**50  # weights of a layer, or inputs: what is more is a slip of the hand
_KEYS: dict[str, set[str]] = {
    "linear": {"neurons", "cell", "recurrent"},
    "conv": {"channels", "kernel", "stride", "padding", "cell"},
    "pool": {"size"},
    "flatten": set(),
    "neurons": {"cell"},
    "readout": {"cell"},
}


def read_description(
    path: Path, inputs: tuple[int, ...] | None = None
) -> tuple[Chain, tuple[int, ...]]:
    """A net of weights without values and the shape of its inputs, from a TOML file.

    Args:
        path: of the file.
        inputs: shape of one sample at one step, where the file does not say.

    Raises:
        ConfigError: no such file, an unknown key, kind or cell, or sizes that do not fit.
    """
    if not Path(path).is_file():
        raise ConfigError(f"no file {str(path)!r}; give a .toml file of layers or a .nir file")
    table = load_toml(Path(path))
    unknown = set(table) - {"inputs", "dt_s", "layers"}
    if unknown:
        raise ConfigError(
            f"{path} has the unknown key {sorted(unknown)[0]!r}; known: inputs, dt_s, layers"
        )
    shape, layers = table.get("inputs", inputs and [*inputs]), table.get("layers")
    if shape is None:
        raise ConfigError(
            f"{path} does not say how large a sample is; add inputs, such as inputs = [2, 34, 34]"
        )
    if not isinstance(shape, list) or not shape:
        raise ConfigError(
            f"inputs of {path} are sizes such as [40] or [2, 34, 34], got {shown(shape)}"
        )
    if not isinstance(layers, list) or not layers:
        raise ConfigError(f"{path} has no [[layers]]; add at least one")
    sizes = tuple(whole("inputs", one, least=1) for one in shape)
    dt_s, made, now = number("dt_s", table.get("dt_s", DT_S)), list[nn.Module](), sizes
    _check_size("inputs", *sizes)
    with torch.device("meta"):
        for place, layer in enumerate(layers):
            part, now = _layer(place, layer, now, dt_s)
            made.append(part)
        return Chain(*made), sizes


def _check_size(what: str, *sizes: int) -> None:
    if prod(sizes) > _MOST:
        told = " x ".join(map(str, sizes))
        raise ConfigError(f"{what} are at most {_MOST}, got {told}; correct the sizes")


def _layer(
    place: int, layer: Any, shape: tuple[int, ...], dt_s: float
) -> tuple[nn.Module, tuple[int, ...]]:
    kind = layer.get("kind") if isinstance(layer, dict) else None
    if kind not in _KEYS:
        raise ConfigError(f"layer {place} has the kind {shown(kind)}; known: {', '.join(_KEYS)}")
    unknown = set(layer) - _KEYS[kind] - {"kind"}
    if unknown:
        known = ", ".join(sorted(_KEYS[kind])) or "none"
        raise ConfigError(
            f"layer {place} ({kind}) has the unknown key {sorted(unknown)[0]!r}; known: {known}"
        )
    if kind == "flatten":
        size = 1
        for one in shape:
            size *= one
        return nn.Flatten(2), (size,)
    if kind in ("conv", "pool") and len(shape) != 3:
        raise ConfigError(f"layer {place} ({kind}) needs pictures [channels, rows, columns], got "
                          f"{[*shape]}; put it before flatten")  # fmt: skip
    if kind == "pool":
        size = whole("size", layer.get("size"), least=1)
        return nn.AvgPool3d((1, size, size)), (shape[0], shape[1] // size, shape[2] // size)
    cell = _cell(place, layer.get("cell"))
    if kind in ("neurons", "readout"):
        made = Neurons(cell, dt_s=dt_s) if kind == "neurons" else Readout(cell, dt_s=dt_s)
        return made, shape
    return _linear(place, layer, shape, (cell, dt_s)) if kind == "linear" else _conv(
        layer, shape, (cell, dt_s)
    )  # fmt: skip


def _linear(
    place: int, layer: dict[str, Any], shape: tuple[int, ...], how: tuple[AbstractCell, float]
) -> tuple[nn.Module, tuple[int, ...]]:
    if len(shape) != 1:
        raise ConfigError(
            f"layer {place} (linear) gets pictures {[*shape]}; put a layer of kind flatten before "
            "it"
        )
    size, ring = whole("neurons", layer.get("neurons"), least=1), layer.get("recurrent", False)
    if not isinstance(ring, bool):
        raise ConfigError(f"recurrent is true or false, got {shown(ring)}; correct it")
    cell, dt_s = how
    _check_size(f"weights of layer {place}", size, max(shape[0], size if ring else 1))
    if not cell.spikes:
        return nn.Sequential(EventLinear(shape[0], size), Readout(cell, dt_s=dt_s)), (size,)
    return SpikingLinear((shape[0], size), cell, dt_s=dt_s, recurrent=ring), (size,)


def _conv(
    layer: dict[str, Any], shape: tuple[int, ...], how: tuple[AbstractCell, float]
) -> tuple[nn.Module, tuple[int, ...]]:
    size = whole("channels", layer.get("channels"), least=1)
    way = Convolution(
        stride=pair("stride", layer.get("stride", 1), 1),
        padding=pair("padding", layer.get("padding", 0), 0),
    )
    kernel = pair("kernel", layer.get("kernel"), 1)
    _check_size("weights of a convolution", size, shape[0], *kernel)
    made = SpikingConv2d((shape[0], size), kernel, how[0], dt_s=how[1], how=way)
    out = way.shape(torch.Size((1, 1, *shape)), made.weight.shape)
    return made, tuple(out[2:])


def _cell(place: int, given: Any) -> AbstractCell:
    kind = given.get("kind") if isinstance(given, dict) else None
    if kind not in _CELLS:
        raise ConfigError(
            f"the cell of layer {place} is {shown(given)}; give cell = {{ kind = 'LIF' }} with "
            f"one of {', '.join(_CELLS)}"
        )
    make = _CELLS[kind]
    values = {key: value for key, value in given.items() if key != "kind"}
    known = {field.name for field in fields(make())}
    for key in values:
        if key not in known:
            raise ConfigError(
                f"cells of kind {kind} have no parameter {key!r}; known: {', '.join(sorted(known))}"
            )
    return make(**values)
