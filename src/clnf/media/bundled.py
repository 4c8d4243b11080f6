"""Weights that come with the package: the emoji denoiser and the judge."""

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from clnf.core.errors import RunError
from clnf.media.flow import FlowModel
from clnf.media.judge import Judge
from clnf.media.unet import UNet, UNetParams

__all__ = ["load_core", "load_judge", "net_facts", "save_half"]


def save_half(module: nn.Module, path: Path, facts: dict[str, Any]) -> None:
    """Write a module's tensors in half precision, with facts about their making.

    Args:
        module: whose state is written.
        path: target file.
        facts: JSON values kept in the file's header.
    """
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in module.state_dict().items()
    }
    save_file(tensors, path, metadata={"facts": json.dumps(facts, sort_keys=True)})


def _read(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with resources.as_file(resources.files("clnf.media") / "weights" / name) as path:
        if not path.exists():
            raise RunError(f"the package lacks weights/{name}; reinstall clnf")
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            return tensors, json.loads(file.metadata()["facts"])


def load_core() -> tuple[FlowModel, dict[str, Any]]:
    """The emoji denoiser with its core knowledge, and the facts of its making.

    Returns:
        The model in single precision, and a dict with "families", "seed", hashes and sizes.

    Raises:
        RunError: the installed package lacks the file.
    """
    tensors, facts = _read("emoji_core.safetensors")
    sizes = {**facts["net"], "multipliers": tuple(facts["net"]["multipliers"])}
    net = UNet(UNetParams(**sizes))
    net.load_state_dict(tensors)
    return FlowModel(net), facts


def load_judge() -> tuple[Judge, dict[str, Any]]:
    """The judge in single precision, frozen, and the facts of its making.

    Raises:
        RunError: the installed package lacks the file.
    """
    tensors, facts = _read("emoji_judge.safetensors")
    judge = Judge(facts["families"])
    judge.load_state_dict(tensors)
    return judge.eval().requires_grad_(False), facts


def net_facts(params: UNetParams) -> dict[str, Any]:
    """Sizes of a U-Net as JSON values."""
    return {**asdict(params), "multipliers": list(params.multipliers)}
