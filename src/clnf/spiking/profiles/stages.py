"""A model as a row of stages, which is how a chip sees it: weights, then cells.

    events -> (pooling) -> weights -> cells -> events

A stage is made of neighbours in a row of modules: what pools or flattens, one layer of weights, one
population. What a chip could not hold in any case stays a stage of its own and says what it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError, ShapeError
from clnf.core.inputs import instance, shown
from clnf.core.units import quantity
from clnf.spiking.cells import AbstractCell
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.events.maps import AbstractMap, Linear
from clnf.spiking.layers import AbstractPopulation, RecurrentNeurons
from clnf.spiking.surrogates import AbstractSurrogate, Triangle
from clnf.spiking.synapses import AbstractArrival, SpikingConv2d, SpikingLinear

__all__ = ["Stage", "stages_of"]

Shape = tuple[int, ...]
_SILENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@final
@dataclass(frozen=True, kw_only=True)
class Stage:
    """Weights and the cells behind them.

    Attributes:
        names: of the modules it is made of.
        inputs: shape of one sample's events at one step, before pooling.
        outputs: the same of its cells.
        pool: rows and columns that are pooled before the weights, by their mean.
        by: how inputs reach cells; None where they do one by one.
        weight: of ``by``.
        bias: of each output, or None.
        ring: recurrent weights, post by pre, or None.
        cell: None where no cells follow.
        dt_s: seconds of a step.
        surrogate: slope of spikes.
        odd: what this is, where a chip could not hold it; else empty.
    """

    names: tuple[str, ...]
    inputs: Shape = quantity("1")
    outputs: Shape = quantity("1")
    pool: tuple[int, int] = quantity("1", (1, 1))
    by: AbstractMap | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    ring: Tensor | None = None
    cell: AbstractCell | None = None
    dt_s: float = quantity("s", 0.0)
    surrogate: AbstractSurrogate | None = None
    odd: str = ""

    @property
    def name(self) -> str:
        """Names of its modules, joined."""
        return "+".join(self.names)

    @property
    def cells(self) -> int:
        """How many cells it has."""
        return torch.Size(self.outputs).numel() if self.cell is not None else 0

    @property
    def kind(self) -> str:
        """Its weights as people call them."""
        if isinstance(self.by, Convolution):
            return "convolution"
        return "linear" if self.by is not None else "one to one"


def stages_of(module: nn.Module, inputs: Shape | None = None) -> list[Stage]:
    """The stages of a row of modules.

    Args:
        module: a ``Chain`` or ``nn.Sequential`` of layers of ``clnf.spiking``, nested or not, or
            one layer. ``nn.Linear``, ``nn.Flatten(2)``, ``nn.AvgPool3d((1, k, k))``
            are known, too.
        inputs: shape of one sample at one step, such as (40,) or (2, 34, 34); None where the first
            layer is a matrix and tells it.

    Raises:
        ConfigError: nothing in it, or no shape and no way to know it.
        ShapeError: a layer that does not fit the one before.

    >>> from clnf.spiking import LIF, SpikingLinear
    >>> [(s.name, s.kind, s.cells) for s in stages_of(SpikingLinear((4, 3), LIF(), dt_s=1e-3))]
    [('0', 'linear', 3)]
    """
    instance("a model", module, nn.Module, "give a torch module")
    parts = list(_leaves(module, ""))
    if not parts:
        raise ConfigError("a model without layers has no stages; add some")
    shape, found = _first(parts, inputs), list[Stage]()
    open_: dict[str, Any] | None = None
    for name, part in parts:
        if isinstance(part, _SILENT):
            continue
        if open_ is None:
            open_ = {"names": (), "inputs": shape, "outputs": shape}
        closes = _take(open_, name, part)
        shape = open_["outputs"]
        if closes:
            found.append(Stage(**open_))
            open_ = None
    for at, one in enumerate(found):
        if one.cell is not None and not one.cell.spikes and (at + 1 < len(found) or open_):
            found[at] = replace(one, odd="a read-out before other layers, which sends no events")
    if open_ is not None:
        found.append(Stage(**open_, odd=str(open_.pop("odd", "")) or "weights without cells"))
    return found


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            yield from _leaves(child, f"{path}.{name}" if path else name)
    else:
        yield path or "0", module


def _first(parts: list[tuple[str, nn.Module]], inputs: Shape | None) -> Shape:
    if inputs is not None:
        good = isinstance(inputs, tuple | list) and len(inputs) > 0
        if not good or not all(isinstance(n, int) and n > 0 for n in inputs):
            raise ConfigError(
                f"the shape of one sample at one step is such as (40,) or (2, 34, 34), got "
                f"{shown(inputs)}; correct it"
            )
        return tuple(inputs)
    for _, part in parts:
        weight = getattr(part, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() == 2:
            return (weight.shape[1],)
        if isinstance(part, AbstractPopulation) or isinstance(weight, Tensor):
            break
    raise ConfigError(
        "the first layer does not tell what goes in; give the shape of one sample at one step, "
        "such as inputs=(2, 34, 34)"
    )


def _take(made: dict[str, Any], name: str, part: nn.Module) -> bool:
    """Add a module to a stage; whether the stage ends with it."""
    made["names"] = (*made["names"], name)
    shape = made["outputs"]
    if isinstance(part, nn.Flatten):
        made["outputs"] = (torch.Size(shape).numel(),)
        return False
    if isinstance(part, nn.AvgPool2d | nn.AvgPool3d):
        return _pool(made, part, shape)
    if isinstance(part, SpikingLinear | SpikingConv2d | AbstractArrival | nn.Linear):
        if "weight" in made:
            made["odd"] = "two layers of weights without cells between them"
            return True
        _weigh(made, part, shape)
        if not isinstance(part, AbstractPopulation):
            return False
    if isinstance(part, AbstractPopulation):
        ring = part.weight if isinstance(part, RecurrentNeurons) else None
        if isinstance(part, SpikingLinear):
            ring = part.recurrent
        slope = (
            part.surrogate
            if isinstance(getattr(part, "surrogate", None), AbstractSurrogate)
            else None
        )
        made |= {
            "cell": part.cell,
            "dt_s": part.dt_s,
            "ring": ring,
            "surrogate": slope or Triangle(),
        }
        return True
    made["odd"] = f"a module of class {type(part).__name__}, which no chip profile knows"
    return True


def _pool(made: dict[str, Any], part: nn.AvgPool2d | nn.AvgPool3d, shape: Shape) -> bool:
    size, stride, padding = (
        tuple(one) if isinstance(one, tuple) else (one,) * 3
        for one in (part.kernel_size, part.stride, part.padding)
    )
    over_steps = isinstance(part, nn.AvgPool3d) and (size[0], stride[0]) != (1, 1)
    size, stride = size[-2:], stride[-2:]
    whole = stride == size and not any(padding) and not part.ceil_mode and not over_steps
    if "weight" in made or len(shape) != 3 or not whole:
        made["odd"] = "pooling that is not of whole windows of pictures before weights"
        return True
    made["pool"] = (made.get("pool", (1, 1))[0] * size[0], made.get("pool", (1, 1))[1] * size[1])
    made["outputs"] = (shape[0], shape[1] // size[0], shape[2] // size[1])
    return False


def _weigh(made: dict[str, Any], part: nn.Module, shape: Shape) -> None:
    by = part.by if isinstance(part, AbstractArrival | SpikingConv2d) else Linear()
    weight: Tensor = part.weight  # type: ignore[assignment]
    bias = part.bias if isinstance(part, AbstractArrival | nn.Linear) else None
    out = by.shape(torch.Size((1, 1, *shape)), weight.shape)
    made |= {"by": by, "weight": weight, "bias": bias, "outputs": tuple(out[2:])}
    if not out.numel():
        raise ShapeError(f"layer {made['names'][-1]} has no outputs; correct its sizes")
