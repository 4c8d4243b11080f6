"""A graph that is a row, as the layers of this room: what a chip's limits are held against."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from clnf.core.errors import DataError
from clnf.spiking.exchange.files import read_nir
from clnf.spiking.exchange.graph import Graph, Node
from clnf.spiking.exchange.network import Network
from clnf.spiking.exchange.reading import Meaning, Reading
from clnf.spiking.exchange.shapes import padding_of, wholes
from clnf.spiking.exchange.stages import Plain, Stage

__all__ = ["read_row", "row_of"]

Shape = tuple[int, ...]


def row_of(graph: Graph, how: Reading | None = None) -> tuple[nn.Sequential, Shape]:
    """The layers of a graph, and the shape of one sample at one step.

    What has no layer here stays a module of its own; :class:`Network` runs it.

    Args:
        graph: without branches, and without rings but those of one matrix around cells.
        how: what the file is read as; None for what it says itself.

    Raises:
        DataError: the graph cannot be run, or is no row.
        ConfigError: time constants that do not suit the step.

    >>> lif = {"tau": [0.01], "r": [1.0], "v_leak": [0.0], "v_threshold": [1.0]}
    >>> nodes = {"in": Node.of("Input", {"shape": [1]}), "lif": Node.of("LIF", lif)}
    >>> nodes["out"] = Node.of("Output", {"shape": [1]})
    >>> net, shape = row_of(Graph(nodes, [("in", "lif"), ("lif", "out")]), Reading(dt_s=1e-3))
    >>> type(net[0]).__name__, shape
    ('Neurons', (1,))
    """
    network = Network(graph, how)
    row, found = network.row(), nn.Sequential()
    for name, node, stage in row:
        if node.kind not in ("Input", "Output"):
            found.add_module(name.replace(".", ":").replace("/", ":") or "_", _layer(node, stage))
    return found, tuple(int(n) for n in row[0][1].array("shape").reshape(-1))


def read_row(
    path: Path | str, dt_s: float | None = None, drive: Meaning | None = None
) -> tuple[nn.Sequential, Shape]:
    """The layers of a NIR file.

    Args:
        path: of the file.
        dt_s: seconds of a step; None for what the file says, which only files of clnf do.
        drive: what a value in a step stands for; None for what the file says, else "hold".

    Raises:
        DataError: the file is damaged, cannot be run, is no row, or says no step.
    """
    graph = read_nir(path)
    try:
        own = Reading.of(graph)
    except DataError:
        if dt_s is None:
            raise
        own = Reading(dt_s=dt_s)
    how = replace(own, dt_s=own.dt_s if dt_s is None else dt_s, drive=drive or own.drive)
    return row_of(graph, how)


def _layer(node: Node, stage: Stage) -> nn.Module:
    if not isinstance(stage, Plain):
        return stage
    if node.kind == "AvgPool2d":
        taps, stride = (wholes(node, name, 2) for name in ("kernel_size", "stride"))
        if taps == stride and not any(side for axis in padding_of(node, 2) for side in axis):
            return nn.AvgPool3d((1, taps[0], taps[1]))
    if node.kind == "Flatten":
        ends = [wholes(node, name, 1, least=-64)[0] for name in ("start_dim", "end_dim")]
        if ends == [0, -1]:
            return nn.Flatten(2)
    if node.kind in ("Affine", "Linear", "Conv2d") and stage.inner is not None:
        return stage.inner
    return stage
