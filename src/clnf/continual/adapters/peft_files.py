"""Adapter files of Hugging Face PEFT: ``adapter_model.safetensors`` and ``adapter_config.json``."""

import re
from pathlib import Path
from typing import cast

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from clnf.continual.adapters.factors import Factors, attach_factors, factors_of
from clnf.continual.adapters.pairs import AbstractAdapted, adapted
from clnf.continual.adapters.peft_config import PeftConfig, written
from clnf.core.errors import DataError, ExportError
from clnf.core.files import write_files
from clnf.core.tensors import not_finite

__all__ = ["load_peft", "read_peft", "save_peft"]

_TENSORS, _CONFIG, _PICKLED = (
    "adapter_model.safetensors",
    "adapter_config.json",
    "adapter_model.bin",
)
_PREFIX = "base_model.model."
_KEY = re.compile(re.escape(_PREFIX) + r"(.+)\.lora_([AB])\.weight")
_MOST_BYTES = 2**20  # of a configuration; a real one has two thousand


def save_peft(
    module: nn.Module, folder: Path | str, adapter: str | None = None, *, stabilised: bool = False
) -> Path:
    """Write an adapter so that PEFT loads it onto the same model without adapters.

    ``PeftModel.from_pretrained(model, folder)`` then answers as ``module`` does. ``down`` is
    their lora_A, ``up`` their lora_B, ``scale`` their lora_alpha / r. Adapters on a chip are
    written as their cells read now. How loud a stack has an adapter is not in the file.

    Args:
        module: with adapters; layers get their names in it, so give what PEFT will wrap.
        folder: made where it is not there; both files are written or none.
        adapter: which one, where layers have several.
        stabilised: note scales as lora_alpha / sqrt(r), with ``use_rslora``.

    Returns:
        The folder.

    Raises:
        ConfigError: the module has no such adapter.
        ExportError: a layer has a form that PEFT would not keep, named with what it is, or the
            files cannot be written.
    """
    factors = factors_of(module, adapter)
    parts = adapted(module)
    for name, part in parts.items():
        _check_form(name, part, factors[name])
    all_places = module.named_modules(remove_duplicate=False)
    places = {n for n, part in all_places if isinstance(part, AbstractAdapted)}
    shared = sorted(places - set(parts))
    if shared:
        raise ExportError(
            f"{shared[0]} is the same layer as one of another name, and PEFT would adapt only the "
            "first; give each its own"
        )
    inside = tuple(f"{name}." for name in parts)
    others = [n for n, _ in module.named_modules() if n not in parts and not n.startswith(inside)]
    tensors = {}
    for name, given in factors.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = given.down.contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = given.up.contiguous()
    scales = {name: (given.rank, given.scale) for name, given in factors.items()}
    config = written(scales, others, stabilised=stabilised)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"{target} cannot be made ({error.strerror}); give another folder"
        ) from None
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    write_files([(target / _TENSORS, content), (target / _CONFIG, config)])
    return target


def _check_form(name: str, part: AbstractAdapted, given: Factors) -> None:
    """Refuse layers whose adapter PEFT would rebuild in another form."""
    if not name:
        raise ExportError("the adapted layer has no name; save the module that holds it")
    weight, form = cast(Tensor, part.base.weight), ""
    dilation = getattr(part.base, "dilation", (1,))
    if weight.dim() > 2 and set(cast("tuple[int, ...]", dilation)) != {1}:
        form = f"dilation {dilation}"
    elif part.padding_mode != "zeros":
        form = f"padding by {part.padding_mode}"
    elif weight.dim() > 2 and weight.shape[1] != given.down.shape[1]:
        form = "groups"
    if form:
        raise ExportError(
            f"{name} is a convolution with {form}, which PEFT's adapters do not have; merge it "
            "and save the whole model instead"
        )


def read_peft(folder: Path | str) -> dict[str, Factors]:
    """Read an adapter that PEFT wrote for linear and two-dimensional convolution layers.

    Taken: any rank and alpha, by layer too (``rank_pattern``, ``alpha_pattern`` with names),
    ``use_rslora``. Dropout is a matter of training and left out. Refused by name: DoRA, biases,
    whole layers in the file, transposed weights, adapters of embeddings, other starts that change
    the base, every field that is not known, and pickled files.

    Args:
        folder: holds both files.

    Returns:
        Factors by name of the layer, names in order, in the type they were saved in.

    Raises:
        DataError: a file is missing or damaged, or something in it is refused.
    """
    path = Path(folder)
    try:
        text = _bytes(path / _CONFIG, _MOST_BYTES)
        config = PeftConfig.read(text)
        if not (path / _TENSORS).is_file() and (path / _PICKLED).is_file():
            raise DataError(
                f"{_PICKLED} is pickled, and reading it could run code; save it anew with "
                "safe_serialization=True"
            )
        tensors = safetensors.torch.load(_bytes(path / _TENSORS))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path / _TENSORS} is damaged ({error}); fetch it anew") from None
    except DataError as error:
        raise DataError(f"{path} holds no adapter that can be read: {error}") from None
    return _factors(path, tensors, config)


def _bytes(path: Path, most: int = 2**40) -> bytes:
    try:
        if path.stat().st_size > most:
            raise DataError(f"{path.name} has more than {most} bytes; it is something else")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror})") from None


def _factors(path: Path, tensors: dict[str, Tensor], config: PeftConfig) -> dict[str, Factors]:
    sides: dict[str, dict[str, Tensor]] = {}
    for key, value in sorted(tensors.items()):  # the file's order is not told
        found = _KEY.fullmatch(key)
        if not found:
            raise DataError(f"{path} holds {key}; only lora_A and lora_B of layers can be read")
        sides.setdefault(found[1], {})[found[2]] = value
    if not sides:
        raise DataError(f"{path} holds no tensors; save the adapter anew")
    made = {}
    for layer, pair in sides.items():
        rank, scale = config.of(layer)
        fault = _fault(pair, rank)
        if fault:
            raise DataError(f"{path}, layer {layer}: {fault}")
        made[layer] = Factors(pair["A"], pair["B"], scale)
    return made


def _fault(pair: dict[str, Tensor], rank: int) -> str:
    """What keeps two tensors from being an adapter; empty for nothing."""
    if len(pair) < 2:
        return f"lora_{'B' if 'A' in pair else 'A'} is missing"
    down, up = pair["A"], pair["B"]
    shapes = f"lora_A {[*down.shape]} and lora_B {[*up.shape]}"
    if down.dim() not in (2, 4) or up.dim() != down.dim() or up.shape[2:] not in ((), (1, 1)):
        return f"{shapes} belong to no linear or two-dimensional convolution layer"
    if len(down) != rank or up.shape[1] != rank:
        return f"{shapes} do not fit rank {rank}"
    if not (down.is_floating_point() and up.is_floating_point()):
        return f"{shapes} are {down.dtype} and {up.dtype}; real numbers are needed"
    bad = not_finite(down.float()) or not_finite(up.float())
    return f"it holds {bad}" if bad else ""


def load_peft(module: nn.Module, folder: Path | str) -> list[str]:
    """Put an adapter from PEFT's files onto a plain module, in place.

    For a stack, hand what :func:`read_peft` gives to ``Stack.add``.

    Returns:
        Names of the adapted leaves.

    Raises:
        DataError: see :func:`read_peft`.
        ConfigError: the module has no plain leaves of these names and shapes.
    """
    return attach_factors(module, read_peft(folder))
