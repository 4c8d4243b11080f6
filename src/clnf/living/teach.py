"""Lessons from people: a folder of pictures, or an edit of something the model drew."""

import json
import math
import shlex
from collections.abc import Callable, Generator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clnf.core.errors import ConfigError, DataError, RunError
from clnf.core.records import Quality
from clnf.core.toml import broken_rule
from clnf.living.arm import Arm
from clnf.living.generate import Wish, draw_one, noise_seed
from clnf.living.lessons import Added
from clnf.living.pictures import safe_name
from clnf.living.progress import Progress
from clnf.living.summary import summarise
from clnf.streams.folder import FolderParams, read_folder, read_picture
from clnf.streams.sources import from_levels

__all__ = ["add_folder", "learn_edit", "learn_folder", "making_of", "resume_command"]


class _Making(BaseModel):
    """What a drawn picture says of itself, as far as it is needed to draw it again."""

    model_config = ConfigDict(strict=True)

    concept: str
    index: Annotated[int, Field(ge=0, lt=4096)]
    seed: int
    steps: Annotated[int, Field(ge=1, le=1000)]
    guidance: Annotated[float, Field(gt=0.0, lt=100.0)]


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
        ConfigError: the concept's name cannot be used.
        RunError: the arm still has lessons to finish, or its folder cannot be written.
    """
    _ready(arm)
    arm.model.concepts.check(concept)
    source = read_folder(folder, cond=0, progress=progress)
    name = _free_name(arm, f"folder {concept}")
    lesson = Added(
        name=name,
        concept=concept,
        kind="new",
        file=_file(arm, name),
        provenance=f"{len(source)} pictures from a folder named {folder.name}",
    )
    with arm.journal.together():
        for refusal in source.refused:
            arm.journal.append("file refused", arm.step, {"lesson": name, **asdict(refusal)})
    arm.add(lesson, source.images)
    return name


def learn_folder(
    arm: Arm, folder: Path, concept: str, progress: Callable[[int, int], None] | None = None
) -> Generator[Progress, None, dict[str, Any]]:
    """Teach a person's pictures and say what came of it.

    Args:
        arm: open for writing.
        folder: as in :func:`add_folder`.
        concept: as in :func:`add_folder`.
        progress: as in :func:`add_folder`.

    Returns:
        The lesson's verdict and bill; "gate_reasons" and "files_refused", why samples and files
        were turned away; match and KID of every concept before and after.

    Raises:
        DataError, ConfigError, RunError: as in :func:`add_folder`.
    """
    before = arm.row
    name = add_folder(arm, folder, concept, progress)
    yield from arm.run()
    return _outcome(arm, name, before)


def making_of(picture: Path) -> dict[str, Any]:
    """How a picture drawn by clnf was made, from its metadata.

    Raises:
        DataError: the file is no picture, or carries no such metadata, or damaged ones.
    """
    try:
        with Image.open(picture, formats=["PNG"]) as image:
            text = image.text.get("clnf", "")  # type: ignore[attr-defined]
    except FileNotFoundError:
        raise DataError(f"there is no file {picture}; give the path of a picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read {picture} as PNG: {error}") from None
    if not text:
        raise DataError(
            f"{picture} does not say how it was made; give a single picture that "
            "`clnf generate` wrote (NAME-000.png), not edited or re-saved by another program"
        )
    try:
        made = json.loads(text)
        if isinstance(made, dict) and "index" not in made:
            raise DataError(f"{picture} is a grid; give one of its single pictures (NAME-000.png)")
        if isinstance(made, dict) and "scene" in made:
            raise DataError(
                f"{picture} was drawn from another picture; an edit can be learned only where the "
                "drawing started from noise, so give one drawn without a scene"
            )
        return _Making.model_validate(made).model_dump()
    except ValueError as error:
        what = broken_rule(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"what {picture} says of its making is damaged: {what}") from None


def learn_edit(
    arm: Arm, image: Path, edited: Path, concept: str
) -> Generator[Progress, None, dict[str, Any]]:
    """Teach an edit and measure what it changed.

    The lesson pulls the drawing from that very noise towards the edit (see
    :class:`clnf.living.edits.Edits`), in the company of other pictures of the concept. The
    picture is drawn again from its own metadata before and after, so the difference is the
    lesson's doing (and the chip's read noise).

    Args:
        arm: open for writing.
        image: the picture as the model drew it.
        edited: the same picture as it should be, 32x32.
        concept: what it shows, as in the picture's metadata; known to the model.

    Returns:
        What :func:`learn_folder` returns, with "distance_before" and "distance_after" to the
        edit (root-mean-square per pixel and channel, data in [-1, 1]).

    Raises:
        DataError: a picture cannot be read, or both are the same.
        ConfigError: the concept is unknown, or not the picture's.
        RunError: the arm still has lessons to finish, or its folder cannot be written.
    """
    _ready(arm)
    arm.model.concepts.row(concept)
    made = making_of(image)
    if made["concept"] != concept:
        raise ConfigError(
            f'{image} was drawn as "{made["concept"]}", not as "{concept}"; '
            "give the concept it was drawn as"
        )
    drawn, wanted = read_picture(image), read_picture(edited, params=FolderParams(exact=True))
    if np.array_equal(drawn, wanted):
        raise DataError(f"{edited} is the same picture as {image}; there is nothing to learn")
    name = _free_name(arm, f"edit {concept}")
    lesson = Added(
        name=name,
        concept=concept,
        kind="feedback",
        file=_file(arm, name),
        provenance=f"edit of {image.name}",
        noise_seed=noise_seed(_wish(made), made["index"]),
        guidance=made["guidance"],
    )
    before, was = arm.row, _distance(arm, made, wanted)
    arm.add(lesson, wanted[None])
    yield from arm.run()
    return {
        **_outcome(arm, name, before),
        "distance_before": was,
        "distance_after": _distance(arm, made, wanted),
    }


def resume_command(run: Path) -> str:
    """What to type so that a run goes on.

    >>> resume_command(Path("runs/emoji")), resume_command(Path("/data/my run"))
    ('clnf run --resume emoji', "clnf run --resume 'my run' --runs /data")
    """
    folder = run if run.name not in ("", "..") else run.resolve()
    words = ["clnf", "run", "--resume", folder.name]
    if folder.parent != Path("runs"):
        words += ["--runs", str(folder.parent)]
    return shlex.join(words)


def _ready(arm: Arm) -> None:
    if not arm.finished:
        raise RunError(
            f"the run in {arm.folder} has unfinished lessons; "
            f"finish them first: {resume_command(arm.folder)}"
        )
    if arm.model.apart is not None:
        arm.model.apart.check()


def _free_name(arm: Arm, stem: str) -> str:
    taken = {arm.lessons.name(n) for n in range(len(arm.lessons))}
    number = 1
    while f"{stem} {number}" in taken:
        number += 1
    return f"{stem} {number}"


def _file(arm: Arm, name: str) -> str:
    # Two names can make the same file name, so each begins with the lesson's number.
    return f"{len(arm.lessons):04d}-{safe_name(name)}.safetensors"


def _outcome(arm: Arm, name: str, before: Quality) -> dict[str, Any]:
    """What a lesson came to, as JSON values."""
    line = next(line for line in summarise(arm.folder).lessons if line.name == name)
    refused = [event.payload for event in arm.journal.events("file refused")]
    return {
        **asdict(line),
        "gate_reasons": arm.journal.reasons(name),
        "files_refused": {row["file"]: row["reason"] for row in refused if row["lesson"] == name},
        **{
            f"{measure}_{when}": {
                concept: value if math.isfinite(value) else None
                for concept, value in row.measures[measure].items()
            }
            for measure in ("match", "kid")
            for when, row in (("before", before), ("after", arm.row))
        },
    }


def _wish(made: dict[str, Any]) -> Wish:
    """The wish that a picture answered."""
    return Wish(
        concept=made["concept"],
        n=made["index"] + 1,
        seed=made["seed"],
        steps=made["steps"],
        guidance=made["guidance"],
    )


def _distance(arm: Arm, made: dict[str, Any], edit: NDArray[np.uint8]) -> float:
    """How far the model's drawing of the same wish is from the edit."""
    drawn = draw_one(arm.model, _wish(made), made["index"])
    return float((drawn - from_levels(edit[None])[0]).square().mean().sqrt())
