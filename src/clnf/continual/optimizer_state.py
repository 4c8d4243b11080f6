"""An optimizer's nested state: as a flat dict and back, and what masks do to it."""

import json
from typing import Any

import torch
from torch import Tensor

from clnf.core.errors import RunError

__all__ = ["pack", "still_moments", "unpack"]


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Flatten what ``Optimizer.state_dict()`` gives.

    Returns:
        ``{"tree": JSON text, "0": tensor, "1": tensor, ...}``; tensors are copies.

    Raises:
        RunError: a value is neither tensor, number, text, boolean, None nor a container of them.
    """
    tensors: list[Tensor] = []

    def node(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append(value.detach().clone())
            return {"tensor": len(tensors) - 1}
        if isinstance(value, dict):
            return {"pairs": [[node(key), node(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [node(item) for item in value]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise RunError(f"the optimizer keeps a {type(value).__name__}, which cannot be saved")

    tree = json.dumps(node(state))
    return {"tree": tree, **{str(i): tensor for i, tensor in enumerate(tensors)}}


def unpack(flat: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`pack`; the tensors are copies."""

    def value(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        ((kind, inside),) = node.items()
        if kind == "tensor":
            tensor: Tensor = torch.clone(flat[str(inside)])
            return tensor
        if kind == "pairs":
            return {value(key): value(item) for key, item in inside}
        items = [value(item) for item in inside]
        return tuple(items) if kind == "tuple" else items

    restored: dict[str, Any] = value(json.loads(flat["tree"]))
    return restored


def still_moments(optimizer: torch.optim.Optimizer | None, weight: Tensor, mask: Tensor) -> None:
    """Multiply a weight's moments by a mask: momentum would move what gets no gradient.

    Args:
        optimizer: whose moments; None does nothing.
        weight: the parameter.
        mask: factor on each entry's moments, of the weight's shape.
    """
    if optimizer is None or weight not in optimizer.state:
        return
    for value in optimizer.state[weight].values():
        if isinstance(value, Tensor) and value.shape == weight.shape:
            value.mul_(mask.to(value.dtype))
