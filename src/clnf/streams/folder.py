"""A user's folder of pictures becomes a source, read safely and one file at a time.

Only the finished 32x32 uint8 pictures are kept (3 KB each), so 20,000 photos need 60 MB. A file
that cannot be used is refused with a reason; it never stops the others.
"""

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clnf.core.errors import ConfigError, DataError
from clnf.core.records import Batch
from clnf.core.units import quantity
from clnf.streams.sources import ArraySource

__all__ = ["FolderParams", "FolderSource", "Refusal", "read_folder", "read_picture"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
_FORMATS = ["PNG", "JPEG", "WEBP"]


@final
@dataclass(frozen=True, kw_only=True)
class FolderParams:
    """How pictures are read, and what is refused.

    Attributes:
        side_px: side of the finished square picture.
        min_side_px: shorter side a file must have.
        max_pixels: pixels a file may have; refused before decoding.
        max_bytes: size a file may have on disk.
        exact: refuse every picture that does not have the finished size already.
    """

    side_px: int = quantity("px", 32)
    min_side_px: int = quantity("px", 8)
    max_pixels: int = quantity("1", 32_000_000)
    max_bytes: int = quantity("B", 100_000_000)
    exact: bool = False

    def __post_init__(self) -> None:
        if min(self.side_px, self.min_side_px, self.max_pixels, self.max_bytes) < 1:
            raise ConfigError(f"folder limits must be at least 1, got {self}")


@final
@dataclass(frozen=True)
class Refusal:
    """A file that was not used: its name inside the folder, and why."""

    file: str
    reason: str


@final
class FolderSource:
    """Pictures read from a folder; made by :func:`read_folder`.

    Attributes:
        images: uint8 [N, side, side, 3].
        files: name of each picture inside the folder, sorted.
        refused: the files that were not used, sorted, with reasons.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        cond: int,
        files: tuple[str, ...],
        refused: tuple[Refusal, ...],
    ) -> None:
        self.images = images
        self.files = files
        self.refused = refused
        self._array = ArraySource(images, cond)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor) -> Batch:
        """The pictures at ``index`` (int64 [K]), float32 [K, 3, side, side] in [-1, 1]."""
        return self._array.take(index)


def read_folder(
    folder: Path,
    *,
    cond: int,
    params: FolderParams = FolderParams(),
    progress: Callable[[int, int], None] | None = None,
) -> FolderSource:
    """Read a folder of PNG, JPEG and WebP files, with its subfolders, in the order of names.

    Each picture is turned upright (EXIF), cut to its central square, reduced (Lanczos) and put
    on white where it is transparent. Hidden files are passed over; links that lead out of the
    folder, and everything that is not a readable picture, are refused with a reason.

    Args:
        folder: the folder.
        cond: concept index of its pictures.
        params: sizes and limits.
        progress: called after each file with (files done, files in all).

    Returns:
        The pictures as a source, with the files used and refused.

    Raises:
        DataError: the folder is missing, not a folder, or holds no usable picture.
    """
    if not folder.exists():
        raise DataError(f"there is no folder {folder}; give the path of a folder of pictures")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds the pictures")
    root = folder.resolve()
    paths = sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())
    if not paths:
        raise DataError(f"the folder {folder} is empty; put PNG, JPEG or WebP files in it")
    # Room for all files is reserved at once: no list of small arrays, no second copy.
    images = np.empty((len(paths), params.side_px, params.side_px, 3), np.uint8)
    used: list[str] = []
    refused: list[Refusal] = []
    for number, path in enumerate(paths, start=1):
        name = _printable(path.relative_to(root).as_posix())
        try:
            images[len(used)] = _read(path, root, params)
            used.append(name)
        except DataError as error:
            refused.append(Refusal(name, str(error)))
        if progress is not None:
            progress(number, len(paths))
    if not used:
        raise DataError(
            f"no picture in {folder} can be used: {len(refused)} refused, "
            f"the first is {refused[0].file} ({refused[0].reason})"
        )
    return FolderSource(images[: len(used)], cond, tuple(used), tuple(refused))


def read_picture(path: Path, *, params: FolderParams = FolderParams()) -> NDArray[np.uint8]:
    """Read one picture as :func:`read_folder` would; one of the finished size comes unchanged.

    Args:
        path: a PNG, JPEG or WebP file.
        params: sizes and limits.

    Returns:
        uint8 [side, side, 3].

    Raises:
        DataError: the file is missing or is no usable picture; says why.
    """
    real = path.resolve()
    if not real.exists():
        raise DataError(f"there is no file {path}; give the path of a picture")
    try:
        return _read(real, real.parent, params)
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from None


def _walk(root: Path) -> Iterator[Path]:
    """Files, and links to folders (which are never followed), that are not hidden."""
    for place, folders, names in os.walk(root, followlinks=False):
        here = Path(place)
        yield from (here / name for name in names if not name.startswith("."))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (here / name for name in folders if (here / name).is_symlink())


def _read(path: Path, root: Path, params: FolderParams) -> NDArray[np.uint8]:
    """One file as uint8 [side, side, 3], or a DataError that says why not."""
    try:
        _check_file(path, root, params)
        with warnings.catch_warnings():
            # A picture that is legal but odd is no reason to talk; a bomb is one to refuse.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(path, params)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(f"more than {params.max_pixels / 1e6:g} megapixels") from None
    except UnidentifiedImageError:
        raise DataError("not a PNG, JPEG or WebP picture, whatever its name says") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        # Pillow's decoders raise any of these on damaged files.
        raise DataError(f"damaged or unreadable ({_printable(str(error))[:80]})") from None


def _check_file(path: Path, root: Path, params: FolderParams) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(root):
        raise DataError("a link that leads out of the folder")
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DataError("a link to a folder")
    if not stat.S_ISREG(status.st_mode):
        raise DataError("not an ordinary file")
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError("the name does not end in .png, .jpg, .jpeg or .webp")
    if status.st_size > params.max_bytes:
        raise DataError(f"{status.st_size / 1e6:.0f} MB, the limit is {params.max_bytes / 1e6:g}")


def _decode(path: Path, params: FolderParams) -> NDArray[np.uint8]:
    with path.open("rb") as file, Image.open(file, formats=_FORMATS) as picture:
        width, height = picture.size
        if width * height > params.max_pixels:
            raise DataError(
                f"{width}x{height} is {width * height / 1e6:.1f} megapixels, "
                f"the limit is {params.max_pixels / 1e6:g}"
            )
        if min(width, height) < params.min_side_px:
            raise DataError(
                f"{width}x{height} is too small, the shorter side must have "
                f"{params.min_side_px} pixels"
            )
        side = params.side_px
        if params.exact and (width, height) != (side, side):
            raise DataError(f"{width}x{height}, it must have {side}x{side} pixels")
        # JPEG can decode at 1/2, 1/4 or 1/8 size; four times the goal loses nothing visible.
        scale = 4 * side / min(width, height)
        picture.draft("RGB", (max(1, int(width * scale)), max(1, int(height * scale))))
        upright = ImageOps.exif_transpose(_eight_bit(picture))
        return _square(upright, side)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """RGB or RGBA with 8 bits; 16-bit grey keeps its upper byte instead of saturating."""
    if picture.mode.startswith("I"):
        grey = np.asarray(picture).astype(np.int64) >> 8
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    clear = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    converted = picture.convert("RGBA" if clear else "RGB")
    return converted


def _square(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    width, height = picture.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    box = (left, top, left + edge, top + edge)
    small = picture.resize((side, side), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    if small.mode == "RGBA":
        paper = Image.new("RGBA", small.size, "white")
        paper.alpha_composite(small)
        small = paper.convert("RGB")
    return np.asarray(small)


def _printable(name: str) -> str:
    """The name with control characters and undecodable bytes spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
