"""Lessons from people: a folder of pictures, or an edit of something the model drew."""

import json
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clnf.core.errors import DataError, RunError
from clnf.living.arm import Arm, Progress
from clnf.living.generate import Wish, draw
from clnf.living.lessons import Added
from clnf.living.pictures import safe_name
from clnf.living.summary import summarise
from clnf.streams.folder import read_folder, read_picture
from clnf.streams.sources import from_levels

__all__ = ["add_folder", "learn_edit", "making_of"]

EDIT_PRIORITY = 4.0


def _name(arm: Arm, stem: str) -> str:
    taken = {arm.lessons.name(n) for n in range(len(arm.lessons))}
    number = 1
    while f"{stem} {number}" in taken:
        number += 1
    return f"{stem} {number}"


def add_folder(
    arm: Arm, folder: Path, concept: str, progress: Callable[[int, int], None] | None = None
) -> str:
    """Append a lesson of a person's pictures.

    Args:
        arm: open for writing.
        folder: PNG, JPEG and WebP files; what cannot be used is noted in the journal.
        concept: what they show; a new name makes a new concept.
        progress: called with (files read, files in all).

    Returns:
        The lesson's name.

    Raises:
        DataError: the folder is missing or holds no usable picture.
        RunError: the arm still has lessons to finish.
    """
    _ready(arm)
    source = read_folder(folder, cond=0, progress=progress)
    name = _name(arm, f"folder {concept}")
    lesson = Added(
        name=name,
        concept=concept,
        kind="new",
        file=f"{safe_name(name)}.safetensors",
        provenance=f"{len(source)} pictures from a folder named {folder.name}",
    )
    arm.add(lesson, source.images)
    for refusal in source.refused:
        arm.journal.append("file refused", arm.step, asdict(refusal))
    return name


def _ready(arm: Arm) -> None:
    if not arm.finished:
        raise RunError(
            f"the run in {arm.folder} has unfinished lessons; "
            f"finish it first: clnf run --resume {arm.folder.name}"
        )


def making_of(picture: Path) -> dict[str, Any]:
    """How a picture drawn by clnf was made, from its metadata.

    Raises:
        DataError: the file is no picture, or carries no such metadata.
    """
    try:
        with Image.open(picture, formats=["PNG"]) as image:
            text = image.text.get("clnf", "")  # type: ignore[attr-defined]
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read {picture} as PNG: {error}") from None
    if not text:
        raise DataError(
            f"{picture} does not say how it was made; give a single picture that "
            "`clnf generate` wrote (NAME-000.png), not edited or re-saved by another program"
        )
    made: dict[str, Any] = json.loads(text)
    if "index" not in made:
        raise DataError(f"{picture} is a grid; give one of its single pictures (NAME-000.png)")
    return made


def learn_edit(
    arm: Arm, image: Path, edited: Path, concept: str
) -> Generator[Progress, None, dict[str, Any]]:
    """Teach an edit as a priority lesson and measure what it changed.

    The picture is drawn again from its own metadata before and after the lesson, so the
    difference is the lesson's doing (and the chip's read noise).

    Args:
        arm: open for writing.
        image: the picture as the model drew it.
        edited: the same picture as it should be.
        concept: what it shows; must be known to the model.

    Returns:
        Verdict, distance to the edit before and after (root-mean-square per pixel and channel,
        data in [-1, 1]), and the match of every other concept before and after.

    Raises:
        DataError: a picture cannot be read, or both are the same.
        ConfigError: the concept is unknown.
        RunError: the arm still has lessons to finish.
    """
    _ready(arm)
    arm.model.concepts.row(concept)
    made = making_of(image)
    before, after = read_picture(image), read_picture(edited)
    if np.array_equal(before, after):
        raise DataError(f"{edited} is the same picture as {image}; there is nothing to learn")
    name = _name(arm, f"edit {concept}")
    lesson = Added(
        name=name,
        concept=concept,
        kind="feedback",
        file=f"{safe_name(name)}.safetensors",
        provenance=f"edit of {image.name}",
        priority=EDIT_PRIORITY,
    )
    was, kept = _distance(arm, made, after), dict(arm.row.measures["match"])
    arm.add(lesson, after[None])
    yield from arm.run()
    line = next(line for line in summarise(arm.folder).lessons if line.name == name)
    return {
        **asdict(line),
        "distance_before": was,
        "distance_after": _distance(arm, made, after),
        "match_before": kept,
        "match_after": arm.row.measures["match"],
    }


def _distance(arm: Arm, made: dict[str, Any], edit: NDArray[np.uint8]) -> float:
    """How far the model's drawing of the same wish is from the edit."""
    wish = Wish(
        concept=made["concept"],
        n=made["index"] + 1,
        seed=made["seed"],
        steps=made["steps"],
        guidance=made["guidance"],
    )
    drawn = draw(arm.model, wish)[made["index"]]
    return float((drawn - from_levels(edit[None])[0]).square().mean().sqrt())
