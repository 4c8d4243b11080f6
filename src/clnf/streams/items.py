"""Single samples of other people's data, read one by one.

Whatever is wrong with one of them is said in a sentence and is its own matter alone: the gate puts
that sample into quarantine, and the others are taught.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clnf.core.errors import ClnfError, DataError, ShapeError
from clnf.core.inputs import shown
from clnf.core.records import Batch
from clnf.core.tensors import dense

__all__ = ["read_pair", "stacked"]

_MOST = 2**63 - 1  # of int64, in which labels are kept


def read_pair(item: Any) -> tuple[Tensor, int]:
    """A pair (sample, label) as models see it.

    Args:
        item: the sample a tensor or an array (uint8: a picture, as array [H, W] or [H, W, C], as
            tensor [H, W] or [C, H, W], read as x = u / 127.5 - 1; else floating point) or a Pillow
            image; the label a whole number that int64 holds.

    Returns:
        The sample, float32, and its label.

    Raises:
        DataError: it is no pair, or one of both cannot be read.
        ShapeError: the sample is sparse, complex, or without values.

    >>> read_pair(([[0.5]], 1))
    Traceback (most recent call last):
    clnf.core.errors.DataError: a sample is a picture of bytes or floating point numbers, got list
    """
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"a sample is a pair (sample, label), got {type(item).__name__}")
    try:
        return _sample(item[0]), _label(item[1])
    except ClnfError:
        raise
    except Exception as error:
        # Pictures are decoded here, and arrays may be of any make: all of them may raise anything.
        raise DataError(f"a sample or its label cannot be converted: {error!r}") from error


def stacked(items: Sequence[tuple[Tensor, int]]) -> Batch:
    """Samples of one shape as a batch.

    Raises:
        ShapeError: their shapes differ.
    """
    shapes = {tuple(x.shape) for x, _ in items}
    if len(shapes) > 1:
        raise ShapeError(f"samples of one batch have different shapes: {sorted(shapes)}")
    labels = torch.tensor([y for _, y in items], dtype=torch.int64)
    return Batch.of(torch.stack([x for x, _ in items]), labels)


def _label(value: Any) -> int:
    if isinstance(value, Tensor | np.ndarray):
        size = value.numel() if isinstance(value, Tensor) else value.size
        if size != 1:
            raise DataError(
                f"a label is one whole number, got {size} of them, shape {list(value.shape)}; "
                "of a one-hot row give the place of the one"
            )
    one = value.item() if isinstance(value, Tensor | np.generic | np.ndarray) else value
    if not isinstance(one, int):
        raise DataError(f"a label is a whole number, got {shown(one)}")
    if not -_MOST - 1 <= one <= _MOST:
        raise DataError(f"a label fits into int64, got {shown(one)}; number the classes from 0")
    return int(one)


def _sample(value: Any) -> Tensor:
    """One sample in model range, float32."""
    if isinstance(value, Image.Image):
        grey = value.mode in ("L", "1")
        value = np.asarray(value.convert("L" if grey else "RGB"))
    if isinstance(value, Tensor) and value.dtype == torch.uint8:
        value = _channels_last(dense("samples", value).cpu())
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return _picture(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        # In the machine's own order of bytes, since files may come in the other.
        value = torch.from_numpy(np.array(value, value.dtype.newbyteorder("=")))
    if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
        raise DataError(
            "a sample is a picture of bytes or floating point numbers, got "
            + (f"{value.dtype}" if isinstance(value, Tensor | np.ndarray) else type(value).__name__)
        )
    if not value.ndim or not value.numel():
        raise DataError(
            f"a sample has at least one axis and one number, got {list(value.shape)}; leave it out"
        )
    return dense("samples", value.detach(), dtype=torch.float32)


def _channels_last(value: Tensor) -> NDArray[np.uint8]:
    return np.asarray((value.permute(1, 2, 0) if value.ndim == 3 else value).numpy())


def _picture(value: NDArray[np.uint8]) -> Tensor:
    if value.ndim not in (2, 3) or not value.size:
        raise DataError(
            "a picture of bytes is an array [H, W] or [H, W, C], or a tensor [H, W] or [C, H, W], "
            f"got {list(value.shape)}; give one picture a sample, or floating point numbers"
        )
    planes = np.atleast_3d(value).transpose(2, 0, 1).astype(np.float32, order="C")
    return torch.from_numpy(planes).div_(127.5).sub_(1.0)
