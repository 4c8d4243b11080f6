"""One look at a batch: all that the gate's checks need of each sample, in one compiled pass."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.records import Batch
from clnf.core.units import quantity
from clnf.streams.byte_kernels import hash_words, look_levels, quantise
from clnf.streams.features import (
    Windows,
    are_pictures,
    describe,
    summarise,
    summary_of,
    windows_of,
    words_of,
)
from clnf.streams.kernels import look
from clnf.streams.sources import Levels
from clnf.streams.survey_kernels import LANES, SUMS, survey_pictures

__all__ = ["Survey", "survey", "survey_levels"]


@final
@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was seen of each sample; row i of each field belongs to sample i.

    Where a sample holds NaN or infinity only ``finite``, ``low`` and ``high`` mean anything.

    Attributes:
        shape: of one sample.
        label: int64 [B], condition or class index.
        weight: float32 [B], factor on the loss.
        finite: bool [B], whether every value is a finite number.
        low: float32 [B], smallest value.
        high: float32 [B], largest value.
        spread: float32 [B], largest difference of two values of one channel.
        prints: int64 [B], as ``features.fingerprint``.
        features: float32 [B, F], as ``features.describe``.
        summary: float64 [B, 5], as ``features.summarise``.
        marks: uint8 [B, M], as ``features.marks``; None where samples are no pictures.
        pixels: of a picture; None where samples are no pictures.
        windows: as ``features.windows_of``; None where samples are no pictures.
    """

    shape: tuple[int, ...] = quantity("1")
    label: NDArray[np.int64]
    weight: NDArray[np.float32]
    finite: NDArray[np.bool_]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    spread: NDArray[np.float32]
    prints: NDArray[np.int64]
    features: NDArray[np.float32]
    summary: NDArray[np.float64]
    marks: NDArray[np.uint8] | None
    pixels: int | None = quantity("1")
    windows: Windows | None

    def __len__(self) -> int:
        return len(self.finite)

    def select(self, rows: NDArray[Any]) -> "Survey":
        """The samples at ``rows`` (int64 [K] or bool [B])."""
        return Survey(
            shape=self.shape,
            label=self.label[rows],
            weight=self.weight[rows],
            finite=self.finite[rows],
            low=self.low[rows],
            high=self.high[rows],
            spread=self.spread[rows],
            prints=self.prints[rows],
            features=self.features[rows],
            summary=self.summary[rows],
            marks=None if self.marks is None else self.marks[rows],
            pixels=self.pixels,
            windows=self.windows,
        )


def survey(batch: Batch) -> Survey:
    """Look once at a batch.

    Args:
        batch: x floating point [B, ...] with at least one value a sample, pictures in [-1, 1].

    Returns:
        What the checks need; equal to what the functions of ``features`` give.
    """
    values = batch.x.detach().to("cpu", torch.float32).contiguous()
    finite, ends = _ends(values)
    seen: dict[str, Any] = {
        "shape": tuple(values.shape[1:]),
        "label": batch.cond.cpu().numpy().copy(),
        "weight": batch.weight.detach().cpu().numpy().astype(np.float32),
        "finite": finite,
        "low": ends[0].min(1),
        "high": ends[1].max(1),
        "spread": (ends[1] - ends[0]).max(1),
    }
    if are_pictures(values):
        flat = values.numpy().reshape(len(values), -1)
        levels = _room(len(values), flat.shape[1])
        quantise(flat, levels)
        return Survey(**seen, **_pictures(levels, tuple(values.shape)))
    values = torch.where(torch.isfinite(values), values, 0.0)
    return Survey(
        **seen,
        prints=_hashed(words_of(values.numpy() + np.float32(0.0))),
        features=describe(values),
        summary=summarise(values),
        marks=None,
        pixels=None,
        windows=None,
    )


def survey_levels(stored: Levels) -> Survey:
    """Look once at pictures as they are stored; the same as a survey of what they stand for."""
    images = stored.images
    count, size = len(images), images[0].size
    channels = images.shape[1]
    levels = _room(count, size)
    levels[:count, :size] = images.reshape(count, size)
    ends = np.empty((2, count, channels), np.uint8)
    look_levels(levels, size // channels, ends)
    values = ends.astype(np.float32) / np.float32(127.5) - np.float32(1.0)
    return Survey(
        shape=tuple(images.shape[1:]),
        label=stored.label,
        weight=stored.weight,
        finite=np.ones(count, bool),
        low=values[0].min(1),
        high=values[1].max(1),
        spread=(values[1] - values[0]).max(1),
        **_pictures(levels, tuple(images.shape)),
    )


def _room(count: int, size: int) -> NDArray[np.uint8]:
    """Room for samples as whole words and whole blocks of them, zeros behind the last."""
    return np.zeros((-(-count // LANES) * LANES, -(-size // 8) * 8), np.uint8)


def _ends(values: Tensor) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether each sample is finite [B], and both ends of each of its channels, [2, B, C]."""
    count = len(values)
    channels = values.shape[1] if values.ndim > 2 else 1
    bits = values.numpy().reshape(count * channels, -1).view(np.int32)
    keys = np.empty((2, len(bits)), np.int32)
    look(bits, keys[0], keys[1])
    # Back from the order of values to floats; NaN lies beyond both infinities.
    ends = (keys ^ ((keys >> 31) & np.int32(2**31 - 1))).view(np.float32)
    ends = ends.reshape(2, count, channels)
    sound = np.isfinite(ends)
    return np.asarray(sound.all((0, 2))), np.where(sound, ends, np.float32(0.0))


def _pictures(levels: NDArray[np.uint8], shape: tuple[int, ...]) -> dict[str, Any]:
    """What is seen of pictures [B, C, H, W] whose bytes lie in the rows of ``levels``."""
    count, channels, height, width = shape
    words = words_of(levels)
    rows, columns = (
        np.repeat(np.arange(8), np.diff([*(np.arange(8) * side // 8), side])).astype(np.int64)
        for side in (height, width)
    )
    area = _areas(channels, height, width)
    side = max(2, -(-max(height, width) // 20))
    features = np.empty((count, len(area)), np.float32)
    sums = np.empty((count, len(SUMS)), np.int64)
    marks = (height // side) * (width // side)
    codes = np.empty((len(levels), -(-marks // 8) * 8), np.uint8)
    survey_pictures(words, (rows, columns), area, features, sums, codes)
    return {
        "prints": _hashed(words[:count]),
        "features": features,
        "summary": summary_of(sums.T, height, width),
        "marks": np.ascontiguousarray(codes[:count, :marks]),
        "pixels": height * width,
        "windows": _windows(channels, height, width),
    }


_windows = lru_cache(maxsize=8)(windows_of)


def _areas(channels: int, height: int, width: int) -> NDArray[np.float32]:
    """Pixels behind each feature of a picture."""

    def blocks(cells: int) -> NDArray[np.int64]:
        sides = (np.diff([*(np.arange(cells) * side // cells), side]) for side in (height, width))
        return np.outer(*sides).ravel()

    parts = [blocks(8), *[blocks(4)] * (channels + 2), np.full(27, height * width)]
    return np.concatenate(parts).astype(np.float32)


def _hashed(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    prints = np.empty(len(words), np.int64)
    hash_words(words, prints)
    return prints
