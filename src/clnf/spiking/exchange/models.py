"""Modules of this room as a graph of NIR.

A kick of ``gain`` volts becomes r = gain tau / dt, which says "1 a spike" wherever a step is
explicit; ``hold`` becomes r = gain. The graph says in its metadata how it is to be read, so that it
comes back as it was.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clnf.core.errors import ConfigError
from clnf.core.inputs import shown
from clnf.spiking.cells import IF, LI, AbstractCell, AdaptiveLIF, CubaLI, CubaLIF
from clnf.spiking.coefficients import Drive, Method
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.exchange.extras import with_extras
from clnf.spiking.exchange.graph import Array, Edge, Graph, Node
from clnf.spiking.exchange.network import Network
from clnf.spiking.exchange.reading import Reading
from clnf.spiking.exchange.shapes import shape_after, shape_said
from clnf.spiking.layers import AbstractPopulation, RecurrentNeurons
from clnf.spiking.synapses import EventConv2d, EventLinear, SpikingConv2d, SpikingLinear

__all__ = ["graph_of"]

Shape = tuple[int, ...]


def graph_of(module: nn.Module, shape: Shape | None = None) -> Graph:
    """A graph of NIR that says what a module does.

    Args:
        module: a population, weights of torch or of this room, or a row of such modules
            (``nn.Sequential``, ``Chain``); a ``Network`` gives its graph with what it learned.
        shape: of what goes in, without steps and samples; None where the first module says it.

    Raises:
        ConfigError: something that NIR has no node for, modules that do not agree on a step, or a
            shape that is not known.

    >>> from clnf.spiking.cells import LIF
    >>> net = nn.Sequential(SpikingLinear((4, 3), LIF(), dt_s=1e-3, recurrent=True))
    >>> [node.kind for node in graph_of(net).nodes.values()]
    ['Input', 'Linear', 'LIF', 'Linear', 'Output']
    """
    if isinstance(module, Network):
        return module.learned()
    modules = [*_row(module, "")]
    how = _reading([one for _, one in modules if isinstance(one, AbstractPopulation)])
    nodes: dict[str, Node] = {}
    edges: list[Edge] = []
    last = ""
    for name, one in modules:
        for part, node in _nodes(name, one, shape, how):
            if shape is None and not nodes:
                shape = _first(node)
                nodes = {"input": Node.of("Input", {"shape": shape})}
                last = "input"
            elif not nodes:
                nodes, last = {"input": Node.of("Input", {"shape": shape})}, "input"
            assert shape is not None
            node = _sized(node, shape)
            nodes[part] = node
            if part.endswith("_ring"):
                edges += [(last, part), (part, last)]
                continue
            edges.append((last, part))
            last, shape = part, shape_after(node, shape)
    if not nodes:
        raise ConfigError("a module without layers is no graph; give it some")
    nodes["output"] = Node.of("Output", {"shape": shape})
    graph = Graph(nodes, [*edges, (last, "output")])
    told = {"dt_s": how.dt_s, "drive": how.drive, "method": how.method}
    return with_extras(graph, {"": {"reading": told}})


def _row(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        for name, one in module.named_children():
            yield from _row(one, f"{path}_{name}" if path else name)
    elif not isinstance(module, nn.Identity | nn.Dropout):
        yield path or "0", module


def _reading(populations: list[AbstractPopulation]) -> Reading:
    """What all populations agree on."""
    steps = {one.dt_s for one in populations}
    methods = {one.cell.method for one in populations}
    if len(steps) > 1 or len(methods) > 1:
        raise ConfigError(
            f"one graph has one step and one method, got dt_s {sorted(steps)} and methods "
            f"{sorted(methods)}; make them the same"
        )
    drives: set[Drive] = {one.cell.drive for one in populations}
    slow: set[Drive] = {
        one.cell.drive for one in populations if isinstance(one.cell, CubaLI | CubaLIF)
    }
    if len(slow) > 1:
        raise ConfigError("cells with a current have one drive in a graph; make them the same")
    drive: Drive = min(slow or drives, default="hold")
    method: Method = min(methods, default="exact")
    return Reading(dt_s=min(steps, default=1e-3), drive=drive, method=method)


def _nodes(
    name: str, module: nn.Module, shape: Shape | None, how: Reading
) -> Iterator[tuple[str, Node]]:
    """The nodes of one module, in a row; a ring by a name that says so."""
    if isinstance(module, SpikingLinear):
        yield f"{name}_weights", Node.of("Linear", {"weight": _array(module.weight)})
        yield name, _cells(module, (module.weight.shape[0],), how)
        if module.recurrent is not None:
            yield f"{name}_ring", Node.of("Linear", {"weight": _array(module.recurrent)})
    elif isinstance(module, SpikingConv2d):
        yield f"{name}_weights", _convolution(module.weight, None, module.by, shape)
        yield name, _cells(module, None, how)
    elif isinstance(module, RecurrentNeurons):
        size = len(module.weight)
        yield name, _cells(module, (size,), how)
        yield f"{name}_ring", Node.of("Linear", {"weight": _array(module.weight)})
    elif isinstance(module, AbstractPopulation):
        yield name, _cells(module, shape, how)
    elif isinstance(module, EventLinear | nn.Linear):
        yield name, _matrix(module.weight, module.bias)
    elif isinstance(module, EventConv2d):
        assert isinstance(module.by, Convolution)
        yield name, _convolution(module.weight, module.bias, module.by, shape)
    else:
        yield name, _of_torch(module, shape)


def _matrix(weight: Tensor, bias: Tensor | None) -> Node:
    if bias is None:
        return Node.of("Linear", {"weight": _array(weight)})
    return Node.of("Affine", {"weight": _array(weight), "bias": _array(bias)})


def _convolution(
    weight: Tensor, bias: Tensor | None, by: Convolution | nn.Conv1d | nn.Conv2d, shape: Any
) -> Node:
    padding: Any = by.padding
    groups = 1 if isinstance(by, Convolution) else by.groups
    values: dict[str, Any] = {
        "weight": _array(weight),
        "bias": np.zeros(len(weight), np.float32) if bias is None else _array(bias),
        "stride": [*by.stride],
        "padding": padding if isinstance(padding, str) else [*padding],
        "dilation": [*by.dilation],
        "groups": groups,
    }
    if weight.dim() == 3:
        for key in ("stride", "padding", "dilation"):
            values[key] = values[key] if isinstance(values[key], str) else values[key][0]
    if shape is not None:
        values["input_shape"] = [*shape[1:]] if weight.dim() == 4 else shape[1]
    return Node.of(f"Conv{weight.dim() - 2}d", values)


def _of_torch(module: nn.Module, shape: Shape | None) -> Node:
    if isinstance(module, nn.Conv1d | nn.Conv2d) and module.padding_mode == "zeros":
        return _convolution(module.weight, module.bias, module, shape)
    if isinstance(module, nn.AvgPool2d) and not module.ceil_mode and module.count_include_pad:
        sizes: dict[str, Any] = {
            "kernel_size": module.kernel_size,
            "stride": module.stride,
            "padding": module.padding,
        }
        taps = module.divisor_override
        if taps in (None, 1):
            pairs = {key: np.broadcast_to(np.asarray(one), 2) for key, one in sizes.items()}
            return Node.of("SumPool2d" if taps == 1 else "AvgPool2d", pairs)
    if isinstance(module, nn.Flatten) and shape is not None:
        # Modules over time have steps and samples before; NIR counts from the axes behind.
        first, last = module.start_dim - 2, module.end_dim
        last = last - 2 if last >= 0 else last
        if first >= 0 or module.start_dim < 0:
            dims = {"start_dim": first if first >= 0 else module.start_dim, "end_dim": last}
            return Node.of("Flatten", {"input_type": [*shape], **dims})
    raise ConfigError(f"NIR has no node for {shown(module)} here; give layers that it knows")


def _array(tensor: Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float32).numpy().copy()


def _cells(module: AbstractPopulation, shape: Shape | None, how: Reading) -> Node:
    """The node of a population; parameters have one number each until the shape is known."""
    cell = module.cell
    if isinstance(cell, AdaptiveLIF):
        raise ConfigError("NIR has no cell with a threshold that moves; use LIF")
    kind, values = _parameters(cell, how)
    own: dict[str, Any] = {}
    if cell.spikes:
        spiking: Any = cell
        reset = spiking.reset_v
        values["v_threshold"] = spiking.threshold_v
        values["v_reset"] = values.get("v_leak", 0.0) if reset is None else reset
        own = {"reset": "subtract"} if reset is None else {}
        own |= {"refractory_s": spiking.refractory_s} if spiking.refractory_s else {}
    arrays = {key: np.asarray(_number(value), np.float64) for key, value in values.items()}
    node = Node.of(kind, arrays)
    if own:
        graph = with_extras(Graph({"cell": node}, []), {"cell": {"cell": own}})
        node = Node(kind, node.values, graph.nodes["cell"].metadata)
    return node if shape is None else _sized(node, shape)


def _parameters(cell: AbstractCell, how: Reading) -> tuple[str, dict[str, Any]]:
    """Kind and parameters of NIR but for the threshold."""
    any_cell: Any = cell
    gain, dt_s = cell.gain, how.dt_s
    if isinstance(cell, IF):
        return "IF", {"r": gain if cell.drive == "hold" else gain / dt_s}
    tau_s, leak_v = any_cell.tau_s, any_cell.leak_v
    if isinstance(cell, LI) and not isinstance(tau_s, Tensor) and tau_s == float("inf"):
        return "I", {"r": gain / dt_s}
    values: dict[str, Any] = {"v_leak": leak_v}
    if isinstance(cell, CubaLI | CubaLIF):
        synapse = any_cell.synapse_tau_s
        values |= {"tau_mem": tau_s, "tau_syn": synapse, "r": 1.0}
        values["w_in"] = gain if how.drive == "hold" else gain * synapse / dt_s
        return type(cell).__name__, values
    kick = cell.coefficients(dt_s).kick
    if cell.drive == how.drive:
        r = gain if how.drive == "hold" else gain * tau_s / dt_s
    else:
        # Without a current both drives do the same to a cell, if by another gain.
        decay = cell.coefficients(dt_s).decay
        r = kick / (1.0 - decay) if how.drive == "hold" else kick * tau_s / dt_s
    return ("LI" if isinstance(cell, LI) else "LIF"), {"tau": tau_s, "r": r, **values}


def _number(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _sized(node: Node, shape: Shape) -> Node:
    """A population with one number a cell."""
    if any(array.ndim == 0 for array in map(np.asarray, node.values.values())) and (
        "r" in node.values
    ):
        try:
            wide = {key: np.broadcast_to(node.array(key), shape).copy() for key in node.values}
        except ValueError:
            raise ConfigError(
                f"parameters of cells do not fit cells {[*shape]}; correct their shape"
            ) from None
        return Node(node.kind, wide, node.metadata)
    return node


def _first(node: Node) -> Shape:
    found = shape_said(node)
    if found is None:
        raise ConfigError("the first module does not say its shape; give shape=...")
    return found
