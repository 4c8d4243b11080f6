"""An optimizer's nested state as a flat dict and back, what masks do to it, and its bare step."""

import json
from typing import Any

import torch
from torch import Tensor
from torch.optim import optimizer as _hooks

from clnf.core.errors import RunError

__all__ = ["pack", "still_moments", "take_step", "unpack"]


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


def _unmarked(self: torch.optim.Optimizer) -> None: ...


# What torch puts around each step: hooks, and marks for a profiler. Known by its code.
_profiling = getattr(torch.autograd, "_profiler_enabled", lambda: True)
_MARKS = getattr(torch.optim.Optimizer.profile_hook_step(_unmarked), "__code__", None)


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """``optimizer.step()``, without the marks it makes for a profiler where none is listening.

    They take 4 % of a small net's step. A step that something else waits for (a hook, a schedule
    that counts steps, a profiler) is taken as it is.
    """
    around = type(optimizer).step
    plain = getattr(around, "__code__", None) is not _MARKS or _MARKS is None
    if plain or "step" in vars(optimizer) or _watched(optimizer):
        optimizer.step()
    else:
        around.__wrapped__(optimizer)  # type: ignore[attr-defined]


def _watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody hears of a step; a name that torch no longer has counts as somebody."""
    return bool(
        getattr(optimizer, "_optimizer_step_pre_hooks", True)
        or getattr(optimizer, "_optimizer_step_post_hooks", True)
        or getattr(_hooks, "_global_optimizer_pre_hooks", True)
        or getattr(_hooks, "_global_optimizer_post_hooks", True)
        or _profiling()
    )
