"""Drawing on demand: PNG files that say how they were made."""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from PIL import Image, PngImagePlugin

from clnf import __version__
from clnf.core.errors import ConfigError, ExportError
from clnf.core.rng import fold
from clnf.core.units import quantity
from clnf.living import snapshots
from clnf.living.concepts import Concepts
from clnf.living.faint import Scene, look_at
from clnf.living.files import why, write_whole
from clnf.living.model import LivingModel
from clnf.living.pictures import grid, to_bytes
from clnf.living.run import Run
from clnf.media.flow import last, noise_for

__all__ = ["Drawn", "Wish", "draw", "draw_from_run", "draw_one", "noise_seed", "save"]


@final
@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to draw.

    Attributes:
        concept: name of a concept the model knows.
        n: number of pictures, 1 to 4096.
        seed: 0 to 2^63 - 1. Where picture i starts depends on (seed, i) alone. What comes of it
            also depends a little on how many are drawn, as each is read through the chip's noise.
        steps: Heun steps, 1 to 1000.
        guidance: strength of the concept, > 0; 1 means none beyond the condition itself.
    """

    concept: str
    n: int = quantity("1", 16)
    seed: int = quantity("1", 0)
    steps: int = quantity("1", 12)
    guidance: float = quantity("1", 2.0)

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 4096:
            raise ConfigError(f"n must be 1 to 4096, got {self.n}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"a seed is a whole number from 0 to 2^63 - 1, got {self.seed}")
        if not 1 <= self.steps <= 1000:
            raise ConfigError(f"steps must be 1 to 1000, got {self.steps}")
        if not 0 < self.guidance < 100:
            raise ConfigError(f"guidance must be above 0 and below 100, got {self.guidance}")


@final
@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What was drawn from a run.

    Attributes:
        files: the grid, then the single pictures.
        snapshot_sha256: names the snapshot drawn from.
        note: where newer snapshots were damaged and passed over, a sentence saying so.
        seen: what noise did for the scene the drawing started from; empty without one.
    """

    files: tuple[Path, ...]
    snapshot_sha256: str
    note: str = ""
    seen: str = ""


def draw(
    model: LivingModel,
    wish: Wish,
    *,
    like: torch.Tensor | None = None,
    keep: float = 0.5,
    batch: int = 64,
) -> torch.Tensor:
    """Draw pictures on the model's chip.

    Args:
        model: a living model as a snapshot left it.
        wish: what to draw.
        like: a picture [3, 32, 32] in [-1, 1] to start from; None starts from noise alone.
        keep: how much of it is kept, from 0 to below 1, in whole steps of the wish.
        batch: pictures drawn together.

    Returns:
        Pictures [n, 3, 32, 32] in [-1, 1].

    Raises:
        ConfigError: the concept is unknown.
    """
    numbers = range(wish.n)
    return torch.cat(
        [_draw(model, wish, numbers[at : at + batch], like, keep) for at in range(0, wish.n, batch)]
    )


def draw_one(model: LivingModel, wish: Wish, number: int) -> torch.Tensor:
    """Draw only one picture of a wish, by itself.

    Args:
        model: a living model as a snapshot left it.
        wish: what to draw.
        number: which of its pictures, from 0.

    Returns:
        The picture [3, 32, 32] in [-1, 1].

    Raises:
        ConfigError: the concept is unknown.
    """
    return _draw(model, wish, range(number, number + 1))[0]


def noise_seed(wish: Wish, number: int) -> int:
    """Names the noise from which picture ``number`` of a wish starts."""
    return fold(wish.seed, "draw", number)


def _draw(
    model: LivingModel,
    wish: Wish,
    numbers: range,
    like: torch.Tensor | None = None,
    keep: float = 0.0,
) -> torch.Tensor:
    row = model.concepts.row(wish.concept)
    model.engine.eval()
    start = noise_for([noise_seed(wish, number) for number in numbers], (3, 32, 32))
    cond = torch.full((len(numbers),), row, dtype=torch.int64)
    first = 0 if like is None else min(round(keep * wish.steps), wish.steps - 1)
    if like is not None:
        start = torch.lerp(start, like, first / wish.steps)
    frames = model.engine.sample(
        cond, noise=start, steps=wish.steps, guidance=wish.guidance, first=first
    )
    return last(frames)


def draw_from_run(
    folder: Path,
    wish: Wish,
    out: Path,
    device: torch.device | str = "cpu",
    scene: Scene | None = None,
) -> Drawn:
    """Draw from a run's newest snapshot and write the pictures; the run is not changed.

    Args:
        folder: the run's folder.
        wish: what to draw.
        out: the grid's file, see :func:`save`.
        device: where torch runs.
        scene: what to start from, as a sensor sees it; None starts from noise.

    Raises:
        RunError: there is no run, or no snapshot of it is whole.
        ConfigError: the concept is unknown.
        DataError: the scene's picture cannot be read.
        ExportError: the pictures cannot be written.
    """
    _check_out(out)
    seen = None if scene is None else look_at(scene, wish.seed)
    recipe = Run(folder).recipe
    found = snapshots.load_latest(folder / "snapshots")
    names = Concepts([], rows=0)
    names.load_state_dict(found.parts["model"]["concepts"])
    names.row(wish.concept)  # an unknown one is refused before the model is built
    model = LivingModel(recipe, device, blank=True)
    model.load_state_dict(found.parts)
    if scene is None or seen is None:
        x, made = draw(model, wish), asdict(wish)
    else:
        x = draw(model, wish, like=seen.picture, keep=scene.keep)
        made = {**asdict(wish), "scene": seen.making(scene)}
    files = save(x, made, found.sha256, out, seen=None if seen is None else seen.picture)
    return Drawn(
        files=tuple(files), snapshot_sha256=found.sha256, note=found.note,
        seen="" if seen is None else seen.dither.sentence,
    )  # fmt: skip


def save(
    x: torch.Tensor,
    wish: dict[str, Any],
    snapshot: str,
    out: Path,
    seen: torch.Tensor | None = None,
) -> list[Path]:
    """Write a grid and one file per picture, each with its making in its metadata.

    All files are written, or none.

    Args:
        x: pictures [n, 3, 32, 32] in [-1, 1].
        wish: what was asked.
        snapshot: SHA-256 of the snapshot drawn from.
        out: the grid's file; single pictures go beside it as ``NAME-000.png`` ...
        seen: what the drawing started from, written as ``NAME-seen.png``.

    Returns:
        The files written, the grid first, ``seen`` last.

    Raises:
        ExportError: out does not end in .png, or a file cannot be written.
    """
    _check_out(out)
    made = {"software": f"clnf {__version__}", "ai_generated": True, "sampler": "heun",
            "snapshot_sha256": snapshot, **wish}  # fmt: skip
    try:
        return write_whole(_files(x, made, out, seen), durable=False)
    except OSError as error:
        raise ExportError(f"cannot write {error.filename or out}: {why(error)}") from error


def _check_out(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise ExportError(f"pictures are written as PNG, got {out}; give a name ending in .png")
    if out.is_dir():
        raise ExportError(f"{out} is a folder; give the name of a file in it")


def _files(
    x: torch.Tensor, made: dict[str, Any], out: Path, seen: torch.Tensor | None
) -> Iterator[tuple[Path, bytes]]:
    images = to_bytes(x)
    yield out, _png(grid(images, min(8, len(images)), scale=3), made)
    for i, image in enumerate(images):
        path = out.with_name(f"{out.stem}-{i:03d}.png")
        yield path, _png(Image.fromarray(image), {**made, "index": i})
    if seen is not None:
        path = out.with_name(f"{out.stem}-seen.png")
        facts = {"software": made["software"], "ai_generated": False, "scene": made["scene"]}
        yield path, _png(Image.fromarray(to_bytes(seen[None])[0]), facts)


def _png(picture: Image.Image, made: dict[str, Any]) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("clnf", json.dumps(made, sort_keys=True))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
