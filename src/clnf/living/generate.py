"""Drawing on demand: PNG files that say how they were made."""

import json
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
from clnf.living.model import LivingModel
from clnf.living.pictures import grid, to_bytes
from clnf.living.run import Run
from clnf.media.flow import last, noise_for

__all__ = ["Wish", "draw", "draw_from_run", "save"]


@final
@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to draw.

    Attributes:
        concept: name of a concept the model knows.
        n: number of pictures, 1 to 4096.
        seed: picture i depends on (seed, i) and the snapshot alone.
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
        if not 1 <= self.steps <= 1000:
            raise ConfigError(f"steps must be 1 to 1000, got {self.steps}")
        if not 0 < self.guidance < 100:
            raise ConfigError(f"guidance must be above 0 and below 100, got {self.guidance}")


def draw(model: LivingModel, wish: Wish, *, batch: int = 64) -> torch.Tensor:
    """Draw pictures on the model's chip.

    Args:
        model: a living model as a snapshot left it.
        wish: what to draw.
        batch: pictures drawn together.

    Returns:
        Pictures [n, 3, 32, 32] in [-1, 1].

    Raises:
        ConfigError: the concept is unknown.
    """
    row = model.concepts.row(wish.concept)
    model.engine.eval()
    parts = []
    for first in range(0, wish.n, batch):
        seeds = [fold(wish.seed, "draw", i) for i in range(first, min(first + batch, wish.n))]
        cond = torch.full((len(seeds),), row, dtype=torch.int64)
        start = noise_for(seeds, (3, 32, 32))
        frames = model.engine.sample(cond, noise=start, steps=wish.steps, guidance=wish.guidance)
        parts.append(last(frames))
    return torch.cat(parts)


def draw_from_run(folder: Path, wish: Wish, out: Path) -> list[Path]:
    """Draw from a run's newest snapshot and write the pictures; the run is not changed.

    Args:
        folder: the run's folder.
        wish: what to draw.
        out: the grid's file, see :func:`save`.

    Raises:
        RunError: there is no run, or no snapshot of it is whole.
        ConfigError: the concept is unknown.
    """
    recipe = Run(folder).recipe
    found = snapshots.load_latest(folder / "snapshots")
    model = LivingModel(recipe)
    model.load_state_dict(found.parts)
    return save(draw(model, wish), wish, found.sha256, out)


def save(x: torch.Tensor, wish: Wish, snapshot: str, out: Path) -> list[Path]:
    """Write a grid and one file per picture, each with its making in its metadata.

    Args:
        x: pictures [n, 3, 32, 32] in [-1, 1].
        wish: what was asked.
        snapshot: SHA-256 of the snapshot drawn from.
        out: the grid's file; single pictures go beside it as ``NAME-000.png`` ...

    Returns:
        The files written, the grid first.

    Raises:
        ExportError: out does not end in .png, or a file cannot be written.
    """
    if out.suffix.lower() != ".png":
        raise ExportError(f"pictures are written as .png, got {out.name}")
    made = {"software": f"clnf {__version__}", "ai_generated": True, "sampler": "heun",
            "snapshot_sha256": snapshot, **asdict(wish)}  # fmt: skip
    images = to_bytes(x)
    written = [_write(grid(images, min(8, len(images)), scale=3), out, made)]
    for i, image in enumerate(images):
        path = out.with_name(f"{out.stem}-{i:03d}.png")
        written.append(_write(Image.fromarray(image), path, {**made, "index": i}))
    return written


def _write(picture: Image.Image, path: Path, made: dict[str, Any]) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("clnf", json.dumps(made, sort_keys=True))
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(draft, "PNG", pnginfo=info)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from error
    return path
