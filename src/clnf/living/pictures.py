"""Pictures as files: strips per concept, grids, one PNG each."""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clnf.core.errors import RunError
from clnf.living.files import why, write_whole

__all__ = ["grid", "safe_name", "save_strips", "to_bytes"]


def to_bytes(x: Tensor) -> NDArray[np.uint8]:
    """Pictures [N, 3, H, W] in [-1, 1] as uint8 [N, H, W, 3]; what is not finite becomes black."""
    finite = torch.nan_to_num(x.float(), nan=-1.0, posinf=1.0, neginf=-1.0)
    levels = ((finite.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


def grid(images: NDArray[np.uint8], across: int, *, gap: int = 2, scale: int = 1) -> Image.Image:
    """Lay pictures out in rows on white.

    Args:
        images: uint8 [N, H, W, 3].
        across: pictures a row.
        gap: white pixels between pictures.
        scale: whole-number enlargement.

    Returns:
        The grid as one picture.
    """
    n, h, w, _ = images.shape
    down = -(-n // across)
    sheet = np.full((down * (h + gap) - gap, across * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // across) * (h + gap), (i % across) * (w + gap)
        sheet[top : top + h, left : left + w] = image
    picture = Image.fromarray(sheet)
    if scale == 1:
        return picture
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)


def save_strips(
    folder: Path, after: str, pictures: dict[str, Tensor], *, most: int = 8
) -> dict[str, str]:
    """Save the first pictures of each concept in rows of four: ``after/concept.png``.

    Returns:
        SHA-256 of each file by its path below the folder.

    Raises:
        RunError: the disk is full or cannot be written.
    """
    files = {}
    for concept, x in pictures.items():
        drawn = io.BytesIO()
        grid(to_bytes(x[:most]), 4).save(drawn, "PNG")
        files[f"{safe_name(after)}/{safe_name(concept)}.png"] = drawn.getvalue()
    try:
        write_whole((folder / name, content) for name, content in files.items())
    except OSError as error:
        raise RunError(
            f"pictures could not be kept in {folder} ({why(error)}); free space, then resume"
        ) from error
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def safe_name(text: str) -> str:
    """A file name made of a title: letters, digits, dash and underscore only.

    >>> safe_name("faces: again/2")
    'faces_again_2'
    """
    kept = "".join(c if c.isalnum() or c == "-" else " " for c in text)
    return "_".join(kept.split())[:80] or "unnamed"
