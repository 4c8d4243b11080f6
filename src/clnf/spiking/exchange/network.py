"""A graph that runs: torch modules of this room, joined as the graph says.

Nodes run one after another, each over all steps; matrices and convolutions with the cells behind
them become one layer that follows events, and a ring of cells and one matrix a recurrent layer.
Other rings go step by step.

Legend: T steps, B samples.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn

from clnf.core.errors import DataError, ShapeError
from clnf.core.inputs import instance, shown
from clnf.spiking.exchange.flat import Flat, flattened, into
from clnf.spiking.exchange.fusing import Fused, fused
from clnf.spiking.exchange.graph import Graph, Node
from clnf.spiking.exchange.order import Group, groups_of
from clnf.spiking.exchange.reading import Reading
from clnf.spiking.exchange.shapes import Shapes, shapes_of
from clnf.spiking.exchange.stages import Delay, Plain, Stage, stage_of

__all__ = ["Network"]

States = dict[str, Any]
Values = Tensor | dict[str, Tensor]


@final
class Network(nn.Module):
    """A NIR graph as a module over time.

    Inputs are [T, B, ...] of the type the network has; several Input or Output nodes go by name, in
    a dictionary. Weights are parameters, all else is fixed.

    Args:
        graph: read from a file or made here.
        how: what the file is read as; None for what it says itself, where it was written here.
        dtype: of all numbers; float32 takes the compiled way.

    Raises:
        DataError: the graph cannot be run; the sentence names the first node that stops it.
        ConfigError: time constants that do not suit the step.

    >>> one = {"tau": [0.01], "r": [1.5], "v_leak": [0.0], "v_threshold": [1.0]}
    >>> lif, port = Node.of("LIF", one), {"shape": [1]}
    >>> nodes = {"in": Node.of("Input", port), "lif": lif, "out": Node.of("Output", port)}
    >>> net = Network(Graph(nodes, [("in", "lif"), ("lif", "out")]), Reading(dt_s=1e-3))
    >>> net(torch.ones(24, 1, 1)).flatten().nonzero().flatten()
    tensor([10, 21])
    """

    def __init__(
        self, graph: Graph, how: Reading | None = None, *, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.graph = instance("graph", graph, Graph, "read one with read_nir")
        self.how = Reading.of(graph) if how is None else instance("how", how, Reading)
        self.dtype = dtype
        flat = _used(flattened(graph))
        shapes = shapes_of(flat)
        _check(flat, shapes)
        self._ports, self._shapes = (flat.inputs, flat.outputs), shapes.into
        self.stages = nn.ModuleDict()
        self._keys: dict[str, str] = {}
        flat, fusions = fused(flat, shapes.into, self.how, dtype)
        self._joined: dict[str, Fused] = {one.name: one for one in fusions}
        self._nodes = flat.nodes
        for name, node in flat.nodes.items():
            self._add(name, self._made(name, node))
        self._from, self._edges = into(flat.edges), [*flat.edges]
        self._groups = groups_of([*flat.nodes], flat.edges, self._holds_back)

    def _made(self, name: str, node: Node) -> Stage:
        if name in self._joined:
            return self._joined[name].stage
        try:
            return stage_of(node, self._shapes[name], self.how, self.dtype).to(self.dtype)
        except DataError as error:
            raise DataError(f"{node.kind} {name!r}: {error}") from None

    def _add(self, name: str, stage: Stage) -> None:
        key = name.replace(".", ":") or "_"
        while key in self.stages or key in dir(self.stages):
            key += "_"
        self.stages[key], self._keys[name] = stage, key

    def _stage(self, name: str) -> Any:
        return self.stages[self._keys[name]]

    def _holds_back(self, name: str) -> bool:
        stage = self._stage(name)
        return isinstance(stage, Delay) and stage.least > 0

    def forward(self, x: Values) -> Values:
        """All steps from rest: what comes out, [T, B, ...]."""
        return self.run(x)[0]

    def run(self, x: Values, states: States | None = None) -> tuple[Values, States]:
        """All steps from states: what comes out and the states after.

        Args:
            x: inputs [T, B, ...]; by name where there are several Input nodes.
            states: what this gave before; None for rest.

        Raises:
            ShapeError: inputs that do not fit.
        """
        given, before = self._given(x), {} if states is None else states
        out: dict[str, Tensor] = {}
        after: States = {}
        like = next(iter(given.values()))
        for group in self._groups:
            if group.ring:
                self._ring(group, (given, out, like), before, after)
                continue
            (name,) = group.names
            parts = [out[a] for a in self._from.get(name, ())]
            now = _total([*parts, *([given[name]] if name in given else [])])
            out[name], after[name] = self._stage(name).run(now, before.get(name))
        results = {name: out[name] for name in self._ports[1]}
        return (next(iter(results.values())) if len(results) == 1 else results), after

    def _given(self, x: Values) -> dict[str, Tensor]:
        names = self._ports[0]
        given = dict(x) if isinstance(x, Mapping) else {names[0]: x}
        if given.keys() != set(names) or not all(isinstance(one, Tensor) for one in given.values()):
            raise ShapeError(f"inputs are tensors for {', '.join(names)}, got {shown(x)}")
        for name, one in given.items():
            wanted = self._shapes[name]
            if one.dim() < 2 or tuple(one.shape[2:]) != wanted or not one.numel():
                raise ShapeError(
                    f"Input {name!r} takes [steps, samples, {', '.join(map(str, wanted))}], got "
                    f"{[*one.shape]}"
                )
            if one.dtype != self.dtype:
                raise ShapeError(f"inputs are {self.dtype} as the network, got {one.dtype}")
        if len({one.shape[:2] for one in given.values()}) > 1:
            raise ShapeError("all inputs have as many steps and samples; pad the shorter ones")
        return given

    def _ring(self, group: Group, flow: Any, before: States, after: States) -> None:
        """A ring step by step; fills what comes out and the states after."""
        given, out, like = flow
        inside = set(group.names)
        states = {name: before.get(name) for name in group.names}
        last: dict[str, Tensor] = dict(before.get(_last(group), {}))
        rows: dict[str, list[Tensor]] = {name: [] for name in group.names}
        outside = {}
        for name in group.names:
            parts = [out[a] for a in self._from.get(name, ()) if a not in inside]
            parts += [given[name]] if name in given else []
            outside[name] = (
                _total(parts) if parts else like.new_zeros((*like.shape[:2], *self._shapes[name]))
            )
        for step in range(len(like)):
            now: dict[str, Tensor] = {}
            for name in group.names:
                x = outside[name][step : step + 1]
                if self._holds_back(name):
                    now[name] = self._stage(name).run(torch.zeros_like(x), states[name])[0]
                    continue
                x = _total([x, *self._inner(group, name, now, last)])
                now[name], states[name] = self._stage(name).run(x, states[name])
            for name in filter(self._holds_back, group.names):
                x = _total([outside[name][step : step + 1], *self._inner(group, name, now, now)])
                states[name] = self._stage(name).run(x, states[name])[1]
            last = now
            for name in group.names:
                rows[name].append(now[name])
        out.update({name: torch.cat(row) for name, row in rows.items()})
        after.update(states)
        after[_last(group)] = {name: last[name] for name in {a for a, _ in group.back}}

    def _inner(
        self, group: Group, name: str, now: dict[str, Tensor], last: dict[str, Tensor]
    ) -> list[Tensor]:
        """What comes from the ring itself; nothing before the first step."""
        found = []
        for a in self._from.get(name, ()):
            values = last if (a, name) in group.back else now
            if a in group.names and a in values:
                found.append(values[a])
        return found

    def row(self) -> list[tuple[str, Node, Stage]]:
        """Nodes and their modules one after another, where the graph is no more than a row.

        Raises:
            DataError: it branches, joins, or has a ring of several nodes.
        """
        names = [name for group in self._groups for name in group.names]
        for a, b in pairwise(names):
            if self._from.get(b) != [a]:
                raise DataError(
                    f"the graph is no row: {b!r} follows {a!r} here but is reached from "
                    f"{self._from.get(b, [])}; give a graph without branches and rings"
                )
        return [(name, self._nodes[name], self._stage(name)) for name in names]

    def learned(self) -> Graph:
        """The graph with the weights as they are now."""
        graph = self.graph
        for name, key in self._keys.items():
            stage = self.stages[key]
            if name in self._joined:
                for path, weight in self._joined[name].weights():
                    graph = _with(graph, path.split("/"), {"weight": weight})
            elif isinstance(stage, Plain) and stage.inner is not None:
                found = dict(stage.inner.named_parameters())
                graph = _with(graph, name.split("/"), found)
        return graph


def _last(group: Group) -> str:
    return f"{group.names[0]}/last"


def _total(parts: list[Tensor]) -> Tensor:
    found = parts[0]
    for one in parts[1:]:
        found = found + one
    return found


def _with(graph: Graph, path: list[str], fields: Mapping[str, Tensor]) -> Graph:
    node = graph.nodes[path[0]]
    if isinstance(node, Graph):
        new: Node | Graph = _with(node, path[1:], fields)
    else:
        values = dict(node.values)
        for name, tensor in fields.items():
            old = node.array(name)
            array = tensor.detach().cpu().numpy()
            # A bias of one number that was spread stays one where it learned nothing.
            wide = array if array.size != old.size else array.reshape(old.shape)
            values[name] = wide.astype(old.dtype if old.dtype.kind == "f" else wide.dtype)
        new = replace(node, values=values)
    return replace(graph, nodes={**graph.nodes, path[0]: new})


def _used(flat: Flat) -> Flat:
    """Without nodes that lead to no Output."""
    before = into(flat.edges)
    todo, used = [*flat.outputs], set(flat.outputs) | set(flat.inputs)
    while todo:
        for name in before.get(todo.pop(), ()):
            if name not in used:
                used.add(name)
                todo.append(name)
    # Inputs that lead nowhere still take what is handed in.
    nodes = {name: node for name, node in flat.nodes.items() if name in used}
    edges = [(a, b) for a, b in flat.edges if a in used and b in used]
    return flat._replace(nodes=nodes, edges=edges)


def _check(flat: Flat, shapes: Shapes) -> None:
    faults = [*flat.faults, *shapes.faults]
    for fault in faults:
        if fault.level == "error" or fault.where in flat.nodes:
            raise DataError(f"this graph cannot be run: {fault.sentence}")
    if not flat.inputs or not flat.outputs:
        lacks = "Output" if flat.inputs else "Input"
        raise DataError(f"this graph has no {lacks}; mended() adds one where it can")
    reached = into(flat.edges)
    for name, node in flat.nodes.items():
        if name not in reached and name not in flat.inputs:
            raise DataError(f"nothing leads to {node.kind} {name!r}; mended() adds an Input")
