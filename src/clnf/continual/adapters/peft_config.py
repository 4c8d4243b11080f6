"""What the configuration beside a PEFT adapter file means here, and what of it is refused."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

from clnf.continual.adapters.low_rank import scaling
from clnf.core.errors import DataError
from clnf.core.inputs import shown

__all__ = ["PeftConfig", "written"]

# What says nothing about the numbers in the file, or is told by the names of its tensors.
_IDLE = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version",
    "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern"}
# Other starts than these take something out of the base's weights, which must then be changed too.
_STARTS = (True, False, None, "gaussian", "orthogonal")
_REASONS = {
    "use_dora": "DoRA rescales the layer's weight",
    "bias": "biases of the base are in the file",
    "lora_bias": "the adapters have biases",
    "modules_to_save": "whole layers of the base are in the file",
    "fan_in_fan_out": "weights lie transposed",
    "target_parameters": "parameters without a layer are adapted",
    "trainable_token_indices": "rows of an embedding are in the file",
    "layer_replication": "layers of the base are repeated",
}
_PLAIN = re.compile(r"\^?((?:\w|\\?[.-])+)\$?")


@final
@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Rank and scale of each layer, from ``adapter_config.json``.

    Args:
        fields: what the file holds.

    Raises:
        DataError: it asks for something that no adapter here does, named with its reason.
    """

    fields: Mapping[str, Any]

    def __post_init__(self) -> None:
        kind = self.fields.get("peft_type")
        if kind != "LORA":
            raise DataError(f"the adapter is of type {shown(kind)}; only LORA can be read")
        for name, value in self.fields.items():
            if name in _IDLE | _READ or value in (None, False, {}, [], "none"):
                continue
            if name == "init_lora_weights":
                if value not in _STARTS:
                    raise DataError(
                        f"init_lora_weights is {shown(value)}, which changes the base as well; "
                        "convert the adapter to a plain one before saving"
                    )
                continue
            why = _REASONS.get(name, "it is not known here")
            raise DataError(
                f"{name} is {shown(value)} ({why}); only plain low-rank adapters can be read"
            )
        self._whole("r", self.fields.get("r"))
        self._number("lora_alpha", self.fields.get("lora_alpha"))

    @classmethod
    def read(cls, text: bytes) -> "PeftConfig":
        """From the bytes of the file.

        Raises:
            DataError: it is no JSON object, or asks for what is refused.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            raise DataError("adapter_config.json is not JSON; fetch the file anew") from None
        if not isinstance(fields, dict):
            raise DataError(f"adapter_config.json holds {shown(fields)} instead of named fields")
        return cls(fields=fields)

    def of(self, layer: str) -> tuple[int, float]:
        """Rank and scale of a layer.

        A pattern stands for the layers whose name it is or ends; with ``^`` before it, for the
        layer of that name alone. Patterns are names: other regular expressions are refused.

        Raises:
            DataError: a pattern is no name, or its value no rank or alpha.
        """
        rank = self._whole("r", self._chosen("rank_pattern", layer, self.fields["r"]))
        alpha = self._chosen("alpha_pattern", layer, self.fields["lora_alpha"])
        stabilised = bool(self.fields.get("use_rslora", False))
        return rank, scaling(self._number("lora_alpha", alpha), rank, stabilised=stabilised)

    def _chosen(self, field: str, layer: str, default: object) -> object:
        patterns = self.fields.get(field) or {}
        if not isinstance(patterns, dict):
            raise DataError(f"{field} is {shown(patterns)}; it maps names of layers to numbers")
        for pattern, value in patterns.items():
            found = _PLAIN.fullmatch(pattern)
            if not found:
                raise DataError(f"{field} has {shown(pattern)}; only names of layers can be read")
            name = found[1].replace("\\", "")
            if layer == name or (not pattern.startswith("^") and layer.endswith(f".{name}")):
                return cast(object, value)
        return default

    @staticmethod
    def _whole(name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**20:
            raise DataError(f"{name} is {shown(value)}; a rank is a whole number of at least 1")
        return value

    @staticmethod
    def _number(name: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise DataError(f"{name} is {shown(value)}; it must be a number")
        if not abs(value) < 1e30:
            raise DataError(f"{name} is {shown(value)}; it must be finite")
        return float(value)


def written(
    scales: Mapping[str, tuple[int, float]], others: Sequence[str], *, stabilised: bool
) -> bytes:
    """The text of ``adapter_config.json``.

    Args:
        scales: rank and scale of each adapted layer.
        others: names of all other modules of the base.
        stabilised: give alpha for a scale of alpha / sqrt(r).
    """
    alphas = {
        name: scale * (rank**0.5 if stabilised else rank) for name, (rank, scale) in scales.items()
    }
    rank = Counter(rank for rank, _ in scales.values()).most_common(1)[0][0]
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    fields = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _short(alpha),
        "use_rslora": stabilised,
        "target_modules": _targets(sorted(scales), others),
        "rank_pattern": {f"^{re.escape(n)}": r for n, (r, _) in scales.items() if r != rank},
        "alpha_pattern": {f"^{re.escape(n)}": _short(a) for n, a in alphas.items() if a != alpha},
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
        "use_dora": False,
        "base_model_name_or_path": None,
        "task_type": None,
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def _short(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _targets(names: list[str], others: Sequence[str]) -> list[str] | str:
    """The names; a pattern of them where a name also ends that of another module.

    PEFT adapts every module whose name a target is or ends.
    """
    ends = tuple(f".{name}" for name in names)
    if any(other.endswith(ends) for other in others):
        return "|".join(map(re.escape, names))
    return names
