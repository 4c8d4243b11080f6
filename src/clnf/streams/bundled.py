"""The two data sets inside the package, and the families of the emoji set.

``emoji32``: 1,911 colour pictures 32x32 (Google's Noto art). ``digits10k``: 10,000 MNIST digits
28x28. Both are read once, checked against the hash of their pixels, and handed out read-only.
Origin and licences: ``data/NOTICE.md``; built by ``tools/build_emoji32.py`` and
``tools/build_digits10k.py``.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clnf.core.errors import ConfigError, DataError
from clnf.core.rng import fold

__all__ = [
    "CONCEPTS",
    "CORE_FAMILIES",
    "NEW_FAMILIES",
    "Digits",
    "Part",
    "Pictures",
    "digits10k",
    "emoji32",
    "family",
    "family_names",
    "split",
]

Part = Literal["train", "held_out", "all"]

CORE_FAMILIES = ("faces", "hearts", "flags", "clocks", "fruit")
NEW_FAMILIES = ("hands", "people", "buttons", "shapes")
CONCEPTS = CORE_FAMILIES + NEW_FAMILIES

_ACROSS = 48  # pictures to a row of the sheet
_SIDE = 32
_EMOJI_SHA256 = "7462e4000b26d597af7e994d0f18d26299f0e9c6dd39cb9c99a703eeaeb4cb60"
_DIGITS_SHA256 = "0768d16c5adea568dee18fa5e4e1acb117e9ec2c5d6b1dffe5fc29c1e61c1eca"


@final
@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The emoji set; row i of every field belongs to picture i.

    Attributes:
        images: uint8 [1911, 32, 32, 3], composited on white, read-only.
        names: lower-case Unicode names.
        categories: one of nine (or "Component" for five skin-tone swatches).
        subcategories: one of 99, such as "face-smiling".
        codepoints: hexadecimal, joined by "-".
        sha256: of the pixels.
    """

    images: NDArray[np.uint8]
    names: tuple[str, ...]
    categories: tuple[str, ...]
    subcategories: tuple[str, ...]
    codepoints: tuple[str, ...]
    sha256: str


@final
@dataclass(frozen=True, kw_only=True)
class Digits:
    """The digit set.

    Attributes:
        images: uint8 [10000, 28, 28, 1], white ink on black, read-only, sorted by digit.
        labels: int64 [10000], 0 to 9, read-only.
        sha256: of the pixels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sha256: str


@lru_cache(maxsize=1)
def emoji32() -> Pictures:
    """Read the bundled emoji set.

    Returns:
        1,911 pictures with names, categories, subcategories and code points.

    Raises:
        DataError: the file in the package is damaged.
    """
    folder = files("clnf.streams") / "data"
    rows = json.loads((folder / "emoji32.json").read_text(encoding="utf-8"))
    with (folder / "emoji32.webp").open("rb") as file:
        sheet = np.asarray(Image.open(file, formats=["WEBP"]).convert("RGB"))
    down = sheet.shape[0] // _SIDE
    grid = sheet.reshape(down, _SIDE, _ACROSS, _SIDE, 3).transpose(0, 2, 1, 3, 4)
    images = np.ascontiguousarray(grid.reshape(-1, _SIDE, _SIDE, 3)[: len(rows)])
    images.flags.writeable = False
    return Pictures(
        images=images,
        names=tuple(row["name"] for row in rows),
        categories=tuple(row["category"] for row in rows),
        subcategories=tuple(row["subcategory"] for row in rows),
        codepoints=tuple(row["codepoint"] for row in rows),
        sha256=_checked("emoji32", images, _EMOJI_SHA256),
    )


@lru_cache(maxsize=1)
def digits10k() -> Digits:
    """Read the bundled digit set.

    Returns:
        10,000 digits with labels.

    Raises:
        DataError: the file in the package is damaged.
    """
    with (
        (files("clnf.streams") / "data" / "digits10k.npz").open("rb") as file,
        np.load(file) as arrays,
    ):
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    digest = _checked("digits10k", images, _DIGITS_SHA256)
    images.flags.writeable = labels.flags.writeable = False
    return Digits(images=images[..., None], labels=labels, sha256=digest)


def family_names() -> tuple[str, ...]:
    """The named families of the emoji set, core first, then new, then the rest."""
    return tuple(_FAMILIES)


def family(name: str) -> NDArray[np.int64]:
    """Indices into ``emoji32()`` of one family, ascending.

    Args:
        name: one of :func:`family_names`, or any of the 99 subcategories.

    Raises:
        ConfigError: no such family.

    >>> [len(family(name)) for name in CORE_FAMILIES]
    [108, 23, 259, 24, 29]
    """
    pictures = emoji32()
    if name in _FAMILIES:
        belongs = _FAMILIES[name]
    elif name in pictures.subcategories:
        belongs = _one_of(name)
    else:
        raise ConfigError(
            f"no emoji family {name!r}; take one of {', '.join(_FAMILIES)}, or a subcategory"
        )
    strangers = _STRANGERS.get(name, ())
    rows = zip(pictures.names, pictures.subcategories, strict=True)
    chosen = [i for i, row in enumerate(rows) if belongs(*row) and row[0] not in strangers]
    return np.array(chosen, dtype=np.int64)


def split(
    name: str, part: Part = "train", *, share: float = 0.8, seed: int = 0
) -> NDArray[np.int64]:
    """Indices of the training or held-out part of a family; fixed for a seed.

    Pictures are ranked by a hash of (seed, pixels), so equal pictures (nine flags are copies of
    others) always land in the same part, and the split does not change when the set grows.

    Args:
        name: as in :func:`family`.
        part: "train", "held_out" or "all".
        share: part of the distinct pictures used for training, in (0, 1).
        seed: another seed gives another split.

    Raises:
        ConfigError: no such family, or a share outside (0, 1).
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"the training share must lie between 0 and 1, got {share}")
    index = family(name)
    if part == "all":
        return index
    images = emoji32().images
    prints = [hashlib.blake2b(images[i].tobytes(), digest_size=16).hexdigest() for i in index]
    ranked = sorted(set(prints), key=lambda print_: fold(seed, "split", print_))
    training = set(ranked[: max(1, round(share * len(ranked)))])
    wanted = part == "train"
    chosen = [i for i, print_ in zip(index, prints, strict=True) if (print_ in training) == wanted]
    return np.array(chosen, dtype=np.int64)


def _one_of(*groups: str) -> Callable[[str, str], bool]:
    return lambda _, group: group in groups


# Members by their group that no one would draw when asked for the family.
_STRANGERS = {
    "faces": ("skull", "skull and crossbones"),
    "hearts": ("love letter", "heart decoration"),
    "fruit": (
        "coconut", "potato", "garlic", "onion", "peanuts", "beans", "chestnut", "ginger root",
        "brown mushroom", "root vegetable",
    ),
}  # fmt: skip
_FAMILIES: dict[str, Callable[[str, str], bool]] = {
    "faces": lambda _, group: group.startswith("face-") and group != "face-costume",
    "hearts": _one_of("heart"),
    "flags": _one_of("country-flag"),
    "clocks": lambda name, _: "clock face" in name,
    "fruit": _one_of("food-fruit", "food-vegetable"),
    "hands": lambda _, group: group.startswith("hand-") and group != "hand-prop",
    "people": _one_of("person", "person-role", "person-gesture"),
    "buttons": _one_of("arrow", "av-symbol"),
    # Plain circles and squares; triangles, small diamonds and buttons look like other families.
    "shapes": lambda name, group: group == "geometric" and name.endswith(("circle", "square")),
    "mammals": _one_of("animal-mammal"),
    "birds": _one_of("animal-bird"),
    "sea_animals": _one_of("animal-marine"),
    "insects": _one_of("animal-bug"),
    "vehicles": _one_of("transport-ground"),
    "buildings": _one_of("place-building", "place-religious"),
    "meals": _one_of("food-prepared", "food-asian"),
}


def _checked(name: str, images: NDArray[np.uint8], expected: str) -> str:
    found = hashlib.sha256(images.tobytes()).hexdigest()
    if found != expected:
        raise DataError(f"the bundled set {name} is damaged (sha256 {found}); reinstall clnf")
    return found
