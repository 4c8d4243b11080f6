"""Shapes of what goes through a graph, [channels, ...] without steps and samples.

A node may say its own shape, and what leads to it says one; both must be the same, but for
parameters of one number, which stand for all cells. Files leave some unsaid (convolutions, pools):
these follow from what comes before.
"""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import numpy as np

from clnf.core.errors import DataError
from clnf.core.inputs import shown
from clnf.spiking.exchange.faults import Fault
from clnf.spiking.exchange.flat import Flat
from clnf.spiking.exchange.graph import CELLS, FIELDS, Node

__all__ = ["LARGEST", "Shapes", "padding_of", "shape_after", "shape_said", "shapes_of", "wholes"]

Shape = tuple[int, ...]
LARGEST = 2**28  # numbers of one step of one sample


class Shapes(NamedTuple):
    """What is known.

    Attributes:
        into: shape of what each node takes.
        out: shape of what it gives.
        faults: what does not fit.
    """

    into: dict[str, Shape]
    out: dict[str, Shape]
    faults: list[Fault]


def wholes(node: Node, name: str, count: int, least: int = 1) -> tuple[int, ...]:
    """A field of one or more whole numbers, as so many.

    Raises:
        DataError: others than whole numbers, or another count.
    """
    found = node.array(name).reshape(-1)
    good = found.size in (1, count) and np.isfinite(found).all() and (found == found.round()).all()
    if not good or found.min() < least or found.max() >= 2**31:
        raise DataError(
            f"{name} of a {node.kind} is {count} whole numbers from {least} on, got "
            f"{shown(found.tolist())}; correct it"
        )
    numbers = tuple(int(one) for one in found)
    return numbers if len(numbers) == count else numbers * count


def padding_of(node: Node, axes: int) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each axis of a convolution or pool.

    Raises:
        DataError: no padding of NIR, or "same" with a stride.
    """
    value = node.values.get("padding")
    if not isinstance(value, str):
        return tuple((one, one) for one in wholes(node, "padding", axes, least=0))
    if value == "valid":
        return ((0, 0),) * axes
    if value != "same":
        raise DataError(f"padding is 'same', 'valid' or whole numbers, got {value!r}; correct it")
    if any(one != 1 for one in wholes(node, "stride", axes)):
        raise DataError("padding 'same' goes with a stride of 1; give the padding as numbers")
    taps = node.array("weight").shape[2:]
    total = [d * (k - 1) for d, k in zip(wholes(node, "dilation", axes), taps, strict=True)]
    return tuple((one // 2, one - one // 2) for one in total)


def shape_said(node: Node) -> Shape | None:
    """The shape a node says it takes; None where it follows from what comes before.

    Raises:
        DataError: its fields do not fit each other.
    """
    if node.kind in ("Input", "Output"):
        return _port(node, "shape")
    if node.kind == "Flatten":
        return _port(node, "input_type") if "input_type" in node.values else None
    if node.kind in ("Affine", "Linear"):
        weight = node.array("weight")
        if weight.ndim < 2:
            raise DataError(f"weights have two axes or more, got {[*weight.shape]}; correct them")
        return (*weight.shape[:-2], weight.shape[-1])
    if node.kind in ("Conv1d", "Conv2d"):
        return _convolved(node)
    if node.kind in ("SumPool2d", "AvgPool2d"):
        return None
    return _population(node)


def _port(node: Node, name: str) -> Shape:
    found = node.array(name).reshape(-1)
    if found.size and not (np.isfinite(found).all() and (found == found.round()).all()):
        raise DataError(f"a shape is whole numbers, got {shown(found.tolist())}; correct it")
    if not found.size or found.min() < 1 or prod(int(one) for one in found) > LARGEST:
        raise DataError(f"a shape is numbers from 1 on, got {shown(found.tolist())}; correct it")
    return tuple(int(one) for one in found)


def _convolved(node: Node) -> Shape | None:
    axes, weight = int(node.kind[4]), node.array("weight")
    if weight.ndim != axes + 2 or 0 in weight.shape:
        raise DataError(
            f"weights of a {node.kind} have {axes + 2} axes, got {[*weight.shape]}; correct them"
        )
    groups = wholes(node, "groups", 1)[0]
    if weight.shape[0] % groups:
        raise DataError(f"{weight.shape[0]} channels are not {groups} equal groups; correct groups")
    bias = node.array("bias")
    if bias.size not in (1, weight.shape[0]):
        raise DataError(f"{weight.shape[0]} channels need as many biases, got {bias.size}")
    wholes(node, "stride", axes)
    wholes(node, "dilation", axes)
    padding_of(node, axes)
    if "input_shape" not in node.values:
        return None
    return (weight.shape[1] * groups, *wholes(node, "input_shape", axes))


def _population(node: Node) -> Shape | None:
    """The shape all parameters of a population together have; None where each is one number."""
    arrays = {name: node.array(name) for name in (one.lstrip("?") for one in FIELDS[node.kind])}
    try:
        found = np.broadcast_shapes(*(one.shape for one in arrays.values()))
    except ValueError:
        told = ", ".join(f"{name} {[*one.shape]}" for name, one in arrays.items())
        raise DataError(f"parameters of one population have one shape, got {told}") from None
    if 0 in found:
        raise DataError("the population has no cells; leave it out or give it some")
    return found or None


def shape_after(node: Node, shape: Shape) -> Shape:
    """What a node makes of a shape.

    Raises:
        DataError: it cannot take it.
    """
    kind = node.kind
    if kind in ("Affine", "Linear"):
        weight = node.array("weight")
        out = (*weight.shape[:-2], weight.shape[-2])
        bias = node.array("bias") if kind == "Affine" else weight.reshape(-1)[:1]
        if bias.size not in (1, prod(out)):
            raise DataError(f"{prod(out)} outputs need as many biases, got {bias.size}")
        return out
    if kind in ("Conv1d", "Conv2d"):
        weight = node.array("weight")
        return (weight.shape[0], *_windows(node, shape, weight.shape[2:], int(kind[4])))
    if kind in ("SumPool2d", "AvgPool2d"):
        return (*shape[:1], *_windows(node, shape, wholes(node, "kernel_size", 2), 2))
    if kind == "Flatten":
        return _flat(node, shape)
    return shape


def _windows(node: Node, shape: Shape, taps: tuple[int, ...], axes: int) -> Shape:
    if len(shape) != axes + 1:
        raise DataError(
            f"a {node.kind} takes channels and {axes} more axes, got {[*shape]}; correct the shapes"
        )
    if node.kind.startswith("Conv"):
        dilation, least = wholes(node, "dilation", axes), 1
        channels = node.array("weight").shape[1] * wholes(node, "groups", 1)[0]
        if channels != shape[0]:
            raise DataError(f"the weights take {channels} channels, got {shape[0]}; correct one")
    else:
        dilation, least = (1,) * axes, 1
    stride, padding = wholes(node, "stride", axes), padding_of(node, axes)
    out = [
        (shape[1 + n] + sum(padding[n]) - dilation[n] * (taps[n] - 1) - 1) // stride[n] + 1
        for n in range(axes)
    ]
    if min(out) < least:
        raise DataError(f"{[*shape]} is smaller than the window {[*taps]}; pad it")
    if prod(out) > LARGEST or any(sum(one) > LARGEST for one in padding):
        raise DataError(f"what comes out would have the shape {out}, which is too large to run")
    return tuple(out)


def _flat(node: Node, shape: Shape) -> Shape:
    first, last = (wholes(node, name, 1, least=-64)[0] for name in ("start_dim", "end_dim"))
    axes = len(shape)
    first, last = first + axes * (first < 0), last + axes * (last < 0)
    # NIR's own rule takes an end beyond the last axis, and a start there, as nothing to do.
    last = min(last, axes - 1)
    if first < 0 or last < 0 or first > last + 1:
        raise DataError(f"axes {first} to {last} of {[*shape]} cannot be made one; correct them")
    if first >= axes or first > last:
        return shape
    return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


@np.errstate(all="ignore")  # files hold any numbers
def shapes_of(flat: Flat) -> Shapes:
    """Work out all shapes, from what nodes say and from what leads to them."""
    into: dict[str, Shape] = {}
    out: dict[str, Shape] = {}
    faults: list[Fault] = []
    broken: set[str] = set()

    def tried(name: str, work: Callable[..., Shape | None], *given: Shape) -> Shape | None:
        try:
            return work(flat.nodes[name], *given)
        except DataError as error:
            faults.append(Fault("error", name, str(error)))
            broken.add(name)
            return None

    for name in flat.nodes:
        if (said := tried(name, shape_said)) is not None:
            into[name] = said
    after: dict[str, list[str]] = {}
    for a, b in flat.edges:
        after.setdefault(a, []).append(b)
    todo = [name for name in flat.nodes if name in into]
    while todo:
        name = todo.pop()
        found = None if name in broken else tried(name, shape_after, into[name])
        if found is None or out.get(name) == found:
            continue
        out[name] = found
        for later in after.get(name, ()):
            wider = _widened(flat.nodes[later], into.get(later), found)
            if wider is not None:
                into[later] = wider
                todo.append(later)
    faults += [Fault("warning", name, "its shape is unknown", "connect it, or say a shape")
               for name in flat.nodes if name not in into and name not in broken]  # fmt: skip
    faults += _ill_joined(flat, into, out)
    return Shapes(into, out, faults)


def _widened(node: Node, has: Shape | None, comes: Shape) -> Shape | None:
    """The shape of a node once it is known what comes, where that is news."""
    if has is None:
        return comes
    spread = node.kind in (*CELLS, "Scale", "Threshold", "Delay") and prod(has) == 1
    return comes if spread and has != comes and prod(comes) > 1 else None


def _ill_joined(flat: Flat, into: dict[str, Shape], out: dict[str, Shape]) -> list[Fault]:
    faults = []
    for a, b in flat.edges:
        given, taken = out.get(a), into.get(b)
        if given is not None and taken is not None and given != taken:
            what = f"it takes {[*taken]}, and {a} gives {[*given]}"
            faults.append(Fault("error", b, what, "correct one of them"))
    return faults
