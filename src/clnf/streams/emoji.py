"""The bundled emoji as a scenario: eight categories, in tasks of two. Nothing is downloaded.

The 1,911 pictures come in nine categories of 85 to 386. "Activities", the smallest, is joined to
"Objects"; the five skin-tone swatches are left out. Sizes still differ by three to one, so a mean
over tasks is not one over pictures.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from clnf.core.errors import ConfigError
from clnf.core.rng import fold
from clnf.streams.bundled import emoji32
from clnf.streams.scenario import Protocol, Scenario, incremental
from clnf.streams.sources import ArraySource

__all__ = ["EMOJI_CATEGORIES", "split_emoji"]

EMOJI_CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Objects",
    "Symbols",
    "Flags",
)

_JOINED = {"Activities": "Objects"}
_PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))


def split_emoji(
    protocol: Protocol = "class", groups: Sequence[Sequence[int]] = _PAIRS, *, share: float = 0.8
) -> Scenario:
    """Split emoji: some categories a task, x float32 [K, 3, 32, 32].

    Pictures are ranked by a hash of their pixels and the first ``share`` of the distinct ones of
    each category train, so equal pictures never lie on both sides.

    Args:
        protocol: "task", "domain" or "class".
        groups: places in :data:`EMOJI_CATEGORIES` of each task.
        share: part that is taught, in (0, 1).

    Raises:
        ConfigError: a category outside 0 to 7 or in two groups, or a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"the training share must lie between 0 and 1, got {share}")
    if any(one not in range(len(EMOJI_CATEGORIES)) for group in groups for one in group):
        raise ConfigError(f"categories go from 0 to 7, got {[list(group) for group in groups]}")
    train, test = _parts(share)
    return incremental(train, test, groups, protocol=protocol, name="emoji")


@lru_cache(maxsize=2)
def _parts(share: float) -> tuple[ArraySource, ArraySource]:
    pictures = emoji32()
    names = [_JOINED.get(name, name) for name in pictures.categories]
    prints = [
        hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in pictures.images
    ]
    label = np.array(
        [EMOJI_CATEGORIES.index(name) if name in EMOJI_CATEGORIES else -1 for name in names]
    )
    taught = np.zeros(len(label), bool)
    for one in range(len(EMOJI_CATEGORIES)):
        rows = np.flatnonzero(label == one)
        ranked = sorted({prints[i] for i in rows}, key=lambda text: fold(0, "emoji32", text))
        chosen = set(ranked[: round(share * len(ranked))])
        taught[rows] = [prints[i] in chosen for i in rows]
    parts = (np.flatnonzero(taught), np.flatnonzero(~taught & (label >= 0)))
    train, test = (ArraySource(pictures.images[rows], label[rows]) for rows in parts)
    return train, test
