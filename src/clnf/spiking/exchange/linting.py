"""What is wrong with a graph, or unusual, before anybody runs it."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from clnf.core.errors import DataError
from clnf.spiking.exchange.extras import ours
from clnf.spiking.exchange.faults import Fault
from clnf.spiking.exchange.flat import Flat, flattened, into
from clnf.spiking.exchange.graph import CELLS, FIELDS, SPIKING, Graph, Node
from clnf.spiking.exchange.order import groups_of
from clnf.spiking.exchange.shapes import shapes_of

__all__ = ["find_faults", "unit_gain_s"]

_ORDER = {"error": 0, "warning": 1, "note": 2}
_CLOSE = 1e-5
_LONG_S = 1.0  # delays of cells are milliseconds


@np.errstate(all="ignore")  # files hold any numbers
def find_faults(graph: Graph, dt_s: float | None = None) -> list[Fault]:
    """All there is to say about a graph, the worst first.

    Args:
        graph: to look at; nothing is run.
        dt_s: seconds of a step it will be run with, to hold time constants against.

    >>> [fault.sentence for fault in find_faults(Graph({}, []))]
    ['the graph has no nodes; give it some']
    """
    if not graph.nodes:
        return [Fault("error", "", "the graph has no nodes", "give it some")]
    flat = flattened(graph)
    shapes = shapes_of(flat)
    faults = [Fault("warning", "", note, "mended() writes it anew") for note in graph.notes]
    if isinstance(told := ours(graph.metadata).get("for"), dict):
        what = f"it was written for {told.get('tool')} and steps of {told.get('dt_s')} s"
        faults.append(Fault("note", "", what, "others should get the file it was made from"))
    faults += [*flat.faults, *shapes.faults, *_ports(flat), *_names(graph, ""), *_rings(flat)]
    for name, node in flat.nodes.items():
        faults += _of_node(name, node, dt_s)
    alike = dict.fromkeys(faults)
    return sorted(alike, key=lambda fault: _ORDER[fault.level])


def unit_gain_s(node: Node) -> float | None:
    """The step with which an input of 1 adds 1 to a LIF, r dt/tau = 1, where cells share one.

    >>> one = {"tau": [0.02], "r": [20.0], "v_leak": [0.0]}
    >>> unit_gain_s(Node.of("LI", one))
    0.001
    """
    if node.kind in ("LI", "LIF"):
        tau, r = node.array("tau"), node.array("r")
    elif node.kind in ("CubaLI", "CubaLIF"):
        tau, r = node.array("tau_mem"), node.array("r")
    elif node.kind in ("I", "IF"):
        tau, r = np.ones(1), node.array("r")
    else:
        return None
    if not r.size or not tau.size or (r == 0).any() or not np.isfinite(r.astype(float)).all():
        return None
    with np.errstate(all="ignore"):
        steps = tau.astype(np.float64).reshape(-1)[:1] / r.astype(np.float64).reshape(-1)
    first = float(steps[0])
    alike = np.isfinite(steps).all() and np.allclose(steps, first, rtol=_CLOSE)
    return float(f"{first:.6g}") if alike and 1e-6 <= first <= 2e-3 else None


def _ports(flat: Flat) -> Iterator[Fault]:
    for kind, found in (("Input", flat.inputs), ("Output", flat.outputs)):
        if not found:
            yield Fault("error", "", f"there is no {kind} node", "mended() adds one where it can")
        elif len(found) > 1:
            what = f"there are {len(found)} {kind} nodes, {', '.join(sorted(found))}"
            yield Fault("warning", "", what, "most tools take one")
    reached, lead = into(flat.edges), {a for a, _ in flat.edges}
    for name, node in flat.nodes.items():
        if name not in reached and node.kind != "Input":
            yield Fault("error", name, "nothing leads to it", "connect it; mended() adds an Input")
        if name not in lead and node.kind != "Output":
            yield Fault("warning", name, "it leads nowhere", "connect it; mended() adds an Output")


def _names(graph: Graph, path: str) -> Iterator[Fault]:
    # Tools of torch turn dots into lines, and two names may become one.
    plain = Counter(name.replace(".", "_") for name in graph.nodes)
    for name, node in graph.nodes.items():
        if plain[name.replace(".", "_")] > 1:
            what = "with '_' for '.', as torch has it, its name is another node's as well"
            yield Fault("warning", f"{path}{name}", what, "rename one")
        if isinstance(node, Graph):
            yield from _names(node, f"{path}{name}/")


def _rings(flat: Flat) -> Iterator[Fault]:
    for group in groups_of([*flat.nodes], flat.edges, lambda name: False):
        if group.ring:
            back = ", ".join(f"{a} -> {b}" for a, b in sorted(group.back))
            what = f"it is part of a ring; what goes {back} arrives a step later"
            yield Fault("note", group.names[0], what)


def _of_node(name: str, node: Node, dt_s: float | None) -> Iterator[Fault]:
    for field in (one for one in FIELDS[node.kind] if one == "?v_reset"):
        if field[1:] not in node.values:
            what = "v_reset lacks, as in files before May 2025; it is taken as 0"
            yield Fault("warning", name, what, "mended() writes it")
    for field, value in node.values.items():
        if isinstance(value, str):
            continue
        wide = value.astype(np.float64)
        if not np.isfinite(wide).all():
            yield Fault("error", name, f"{field} is not finite everywhere", "correct it")
        if value.dtype.kind not in "f" and field in ("weight", "bias", "scale", *_CELL_FIELDS):
            what = f"{field} holds {value.dtype} numbers"
            yield Fault("warning", name, what, "mended() makes them float32")
    if node.kind in (*CELLS, "Scale", "Threshold", "Delay"):
        yield from _scalars(name, node)
    if node.kind == "Delay":
        yield from _of_delays(name, node, dt_s)
    if node.kind in CELLS:
        yield from _of_cells(name, node, dt_s)
    if node.kind.startswith("Conv") and "input_shape" not in node.values:
        what = "input_shape lacks, without which nir 1.0.8 does not read the file"
        yield Fault("warning", name, what, "mended() writes it where it is known")
    if node.kind == "Conv2d" and len(set(node.array("weight").shape[2:])) > 1:
        what = "its kernel is not square, and nir 1.0 takes rows for columns when it checks shapes"
        yield Fault("warning", name, what, "read it with type_check=False")
    if node.kind == "Flatten" and node.array("start_dim").reshape(-1)[:1].tolist() == [0]:
        what = "it begins at axis 0; snnTorch and Norse count samples as an axis and flatten those"
        yield Fault("note", name, what, "reshape for these two")
    if found := ours(node.metadata):
        yield Fault("note", name, f"metadata of clnf: {', '.join(sorted(found))}")


_CELL_FIELDS = ("tau", "tau_mem", "tau_syn", "r", "w_in", "v_leak", "v_threshold", "v_reset")


def _scalars(name: str, node: Node) -> Iterator[Fault]:
    arrays = {key: value for key, value in node.values.items() if not isinstance(value, str)}
    bare = [key for key, value in arrays.items() if not value.ndim]
    if bare:
        what = f"{', '.join(bare)} {'is one number' if len(bare) == 1 else 'are one number each'}"
        yield Fault("warning", name, f"{what}, not arrays as NIR has it", "mended() spreads them")
    elif len({value.shape for value in arrays.values()}) > 1:
        told = ", ".join(f"{key} {[*value.shape]}" for key, value in arrays.items())
        what = f"its parameters differ in shape: {told}"
        yield Fault("warning", name, what, "mended() spreads them")


def _of_delays(name: str, node: Node, dt_s: float | None) -> Iterator[Fault]:
    delay = node.array("delay").astype(np.float64).reshape(-1)
    delay = delay[np.isfinite(delay)]  # the others are a fault of their own
    if not delay.size:
        return
    if delay.min() < 0:
        yield Fault("error", name, f"delay is {delay.min():g} s", "it must be 0 or more")
    if delay.max() >= _LONG_S:
        what = f"delay is {delay.max():g} s; it may be meant in steps or milliseconds"
        yield Fault("warning", name, what, "NIR has seconds")
    elif dt_s is not None and 0 < delay[delay > 0].min(initial=np.inf) < dt_s / 2:
        what = f"delay is {delay[delay > 0].min():g} s, which is no step of {dt_s:g} s"
        yield Fault("warning", name, what, "take a shorter step")


def _of_cells(name: str, node: Node, dt_s: float | None) -> Iterator[Fault]:
    for field in ("tau", "tau_mem", "tau_syn"):
        if field not in node.values:
            continue
        tau = node.array(field).astype(np.float64)
        if not tau.size:
            continue
        if not (tau > 0).all():
            yield Fault("error", name, f"{field} is {tau.min():g} s", "it must be above 0")
        elif dt_s is not None and tau.min() < dt_s:
            what = f"{field} is {tau.min():g} s, shorter than a step of {dt_s:g} s"
            yield Fault("warning", name, what, "take a shorter step")
        elif tau.min() >= 1:
            what = f"{field} is {tau.min():g} s; it may be meant in steps or milliseconds"
            yield Fault("note", name, what, "NIR has seconds")
    if (step := unit_gain_s(node)) is not None and node.kind != "I":
        what = f"an input of 1 adds 1 to v in a step of {step:g} s, as tools without units have it"
        yield Fault("note", name, what)
    if node.kind in SPIKING:
        try:
            level, reset = (
                node.array(key).astype(np.float64) for key in ("v_threshold", "v_reset")
            )
            above = bool((reset > level).any())
        except (DataError, ValueError):
            return
        if above:
            what = "v_reset lies above v_threshold; such a cell spikes in every step"
            yield Fault("warning", name, what, "correct one")
