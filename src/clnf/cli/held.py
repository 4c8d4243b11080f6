"""What the gate of a run holds back, and letting it go."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from clnf.core.errors import DataError, RunError
from clnf.core.units import quantity

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RELEASED", "HeldRow", "Row", "held", "release_rows"]

Row = list[int]
# Beside the journal; the gate of the run reads it before it judges.
RELEASED = "released.json"
# What these checks refuse no learner could use.
_HARD = ("schema", "finite", "range")


@final
@dataclass(frozen=True, kw_only=True)
class HeldRow:
    """Samples of one lesson that were held back for one reason.

    Attributes:
        row: number in the journal.
        lesson: they came with.
        samples: how many are kept.
        reason: why, beginning with the name of the check.
        free: whether a person may release them.
    """

    row: int = quantity("1")
    lesson: str
    samples: int = quantity("1")
    reason: str
    free: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def held(run: Path) -> list[HeldRow]:
    """What is held back, in the order it came.

    Raises:
        RunError: there is no journal, or it cannot be read.
    """
    return [row for row, _ in _rows(run)]


def release_rows(run: Path, rows: list[int], out: Path) -> int:
    """Release samples: list their fingerprints in the run, and write them as pictures.

    Args:
        run: a run folder.
        rows: numbers as in :class:`HeldRow`.
        out: target folder, made when missing.

    Returns:
        How many pictures were written.

    Raises:
        DataError: no such row, or its samples may not be released or are no pictures.
        OSError: a folder cannot be written.
    """
    import torch

    from clnf.living.files import write_whole
    from clnf.streams.features import fingerprint
    from clnf.streams.quarantine import pardons_text, read_pardons
    from clnf.streams.sources import to_levels

    known = {row.row: (row, samples) for row, samples in _rows(run)}
    prints, files = set(read_pardons(run / RELEASED)), []
    for number in dict.fromkeys(rows):
        if number not in known:
            raise DataError(f"nothing is held back under row {number}; see clnf data held {run}")
        row, samples = known[number]
        if not row.free:
            raise DataError(
                f"row {number} cannot be released, no learner could use it: {row.reason}"
            )
        if samples.ndim != 4 or samples.shape[1] not in (1, 3):
            raise DataError(
                f"row {number} holds no pictures but samples of {list(samples.shape[1:])}, which "
                "cannot be written; release them by Gate.release"
            )
        x = torch.tensor(samples)
        prints |= {int(value) for value in fingerprint(x)}
        for place, image in enumerate(to_levels(x)):
            files.append((out / f"row{number:04d}-{place:04d}.png", _png(image)))
    # Pictures first: a pardon without them would be of no use.
    write_whole(files, durable=False)
    write_whole([(run / RELEASED, pardons_text(prints).encode())])
    return len(files)


def _rows(run: Path) -> "list[tuple[HeldRow, np.ndarray[Any, Any]]]":
    from clnf.living.journal import Journal

    file = run / "journal.db"
    if not file.exists():
        raise RunError(f"{run} holds no run (there is no {file}); give the folder of a run")
    found = []
    with Journal(file, read_only=True) as journal:
        for one in journal.quarantine():
            check = one.reason.partition(":")[0]
            row = HeldRow(
                row=one.row,
                lesson=one.lesson,
                samples=len(one.samples),
                reason=one.reason,
                free=check not in _HARD and len(one.samples) > 0,
            )
            found.append((row, one.samples))
    return found


def _png(image: Any) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()
