"""Anybody's data as a source: arrays, torch data sets, folders of classes, iterators.

:func:`source_of` picks the way by type; each way can also be named.
"""

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from clnf.core.errors import ClnfError, ConfigError, DataError, ShapeError
from clnf.core.inputs import shown, whole
from clnf.core.records import Batch, Experience, Source
from clnf.streams.folder import FolderParams, FolderSource, Refusal, read_folder
from clnf.streams.items import read_pair, stacked
from clnf.streams.sources import ArraySource, JoinSource

__all__ = [
    "ClassFolders",
    "DatasetSource",
    "from_arrays",
    "from_folders",
    "from_iterator",
    "source_of",
]

Numbers = NDArray[Any] | Tensor
_Item = tuple[Tensor, int] | ClnfError  # a sample, or what is wrong with it
_CHANNELS = (1, 3, 4)


@runtime_checkable
class _Taken(Protocol):
    """What a source can do, to be asked of an object."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Batch: ...


def source_of(data: Source | Dataset[Any] | tuple[Numbers, Numbers] | Path | str) -> Source:
    """Data as a source, whatever it is.

    Args:
        data: ``(x, y)`` arrays or tensors, a torch data set with a length, the path of a folder
            with one folder for each class, or a source, which is handed back.

    Raises:
        DataError: a data set without a length, or data of another kind.
        ShapeError: arrays of a shape or type that cannot be used.
    """
    if isinstance(data, tuple):
        if len(data) != 2:
            raise ShapeError(f"arrays come as (samples, labels), got a tuple of {len(data)}")
        return from_arrays(*data)
    if isinstance(data, TensorDataset) and len(data.tensors) == 2:
        return from_arrays(*data.tensors)
    if isinstance(data, Dataset):
        return DatasetSource(data)
    if isinstance(data, Path | str):
        return from_folders(data).source
    if isinstance(data, _Taken):
        return data
    raise DataError(
        f"no way is known to read samples from a {type(data).__name__}; give (samples, labels), "
        "a torch data set, the path of a folder, or a source with a length and take(index)"
    )


def from_arrays(x: Numbers, y: Numbers) -> ArraySource:
    """Arrays in memory as a source.

    Args:
        x: pictures as uint8 [N, H, W] or [N, H, W, C] (as a tensor [N, C, H, W]), read as
            u / 127.5 - 1; or floating point [N, ...], used as it is.
        y: whole numbers [N].

    Raises:
        ShapeError: labels that are no whole numbers of int64, samples of another type, or other
            lengths.
    """
    labels = _numbers(y)
    if labels.ndim != 1 or labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise ShapeError(
            f"labels are whole numbers, one a sample, got {labels.dtype} {list(labels.shape)}"
            + ("; of one-hot rows give the place of the one" if labels.ndim == 2 else "")
        )
    kept = labels.to(torch.int64)
    if labels.dtype == torch.uint64 and (beyond := (kept < 0).nonzero()).numel():
        worst = int(kept[beyond[0, 0]]) + 2**64
        raise ShapeError(f"a label fits into int64, got {worst}; number the classes from 0")
    if isinstance(x, Tensor) and x.dtype == torch.uint8 and x.ndim in (3, 4):
        x = x.numpy() if x.ndim == 3 else x.permute(0, 2, 3, 1).contiguous().numpy()
    if isinstance(x, np.ndarray) and x.dtype == np.uint8:
        x = x[..., None] if x.ndim == 3 else x
        if x.ndim == 4 and x.shape[3] not in _CHANNELS:
            raise ShapeError(
                f"pictures have 1, 3 or 4 channels, got {x.shape[3]} in uint8 {list(x.shape)}; "
                "arrays are [N, H, W, C], tensors [N, C, H, W]"
            )
        return ArraySource(x, kept)
    values = _numbers(x)
    if not values.dtype.is_floating_point or values.ndim < 2:
        raise ShapeError(
            f"samples are uint8 pictures or floating point [N, ...], got {values.dtype} "
            f"{list(values.shape)}"
        )
    return ArraySource(values.to(torch.float32), kept)


def _numbers(values: Numbers) -> Tensor:
    """As a tensor; arrays are copied, since they may be read-only."""
    if isinstance(values, Tensor):
        return values
    try:
        return torch.from_numpy(np.array(values))
    except (TypeError, ValueError) as error:
        raise ShapeError(f"samples and labels are arrays of numbers ({error})") from None


@final
class DatasetSource:
    """A torch data set whose items are (sample, label).

    Samples may be tensors or arrays (uint8: pictures, an array [H, W] or [H, W, C], a tensor
    [H, W] or [C, H, W], read as u / 127.5 - 1; else floating point) or Pillow images.

    Args:
        data: with ``__len__`` and ``__getitem__``.

    Raises:
        DataError: the data set has no length. Read it by :func:`from_iterator`.
    """

    def __init__(self, data: Dataset[Any]) -> None:
        if not isinstance(data, Sized):
            raise DataError(
                f"the data set {type(data).__name__} has no length; read it by from_iterator"
            )
        self.data = data
        self._count = len(data)

    def __len__(self) -> int:
        return self._count

    def take(self, index: Tensor) -> Batch:
        """The samples at ``index`` (int64 [K]).

        Raises:
            DataError: the data set failed on a sample, or gave something else than a pair.
            ShapeError: samples differ in shape.
        """
        if not len(index):
            # The shape of a sample is known only from one.
            return self.take(torch.zeros(1, dtype=torch.int64)).select(index)
        return stacked([self._item(number) for number in index.tolist()])

    def _item(self, number: int) -> tuple[Tensor, int]:
        try:
            item = self.data[number]
        except Exception as error:
            # Whatever other people's code raises: one bad sample must not end the stream.
            raise DataError(f"sample {number} cannot be read: {error!r}") from error
        return read_pair(item)


@final
@dataclass(frozen=True)
class ClassFolders:
    """What :func:`from_folders` read: the source, the classes by label, and the files refused."""

    source: JoinSource
    classes: tuple[str, ...]
    refused: tuple[Refusal, ...]


def from_folders(
    folder: Path | str,
    *,
    params: FolderParams | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClassFolders:
    """A folder with one folder of pictures for each class; labels follow the sorted names.

    A folder without any usable picture is no class; it is among the refused, with the reason, and
    so is a link that leads out of the folder.

    Args:
        folder: holds the folders of the classes; hidden ones and files beside them are left out.
        params: sizes and limits of reading; the usual ones where not given.
        progress: as in ``read_folder``, for each class anew.

    Raises:
        DataError: no path, no folder there, none inside it, or no usable picture in any of them.
    """
    if not isinstance(folder, Path | str):
        raise DataError(f"a folder is given by its path, got {shown(folder)}; give one")
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give one that holds a folder for each class")
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not inside:
        raise DataError(f"{folder} holds no folders; put the pictures of each class in one")
    parts: dict[str, FolderSource] = {}
    refused: list[Refusal] = []
    for path in inside:
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            refused.append(Refusal(path.name, "a link that leads out of the folder"))
            continue
        try:
            read = read_folder(
                path, cond=len(parts), params=params or FolderParams(), progress=progress
            )
        except DataError as error:
            refused.append(Refusal(path.name, str(error)))
            continue
        parts[path.name] = read
        refused += [Refusal(f"{path.name}/{one.file}", one.reason) for one in read.refused]
    if not parts:
        raise DataError(
            f"no folder in {folder} holds a usable picture: {refused[0].file} ({refused[0].reason})"
        )
    return ClassFolders(JoinSource(list(parts.values())), tuple(parts), tuple(refused))


def from_iterator(
    items: Iterable[Any], *, size: int, name: str = "window", concept: str = "flow"
) -> Iterator[Experience]:
    """Whatever an iterator yields, cut into experiences of equal size; it may never end.

    Only the samples of one experience are in memory. One that is no pair, or has another shape
    than the others, is kept among them: the gate refuses it, and the others are taught. Where the
    iterator itself fails, what came before is handed out first.

    Args:
        items: (sample, label) pairs, as in :class:`DatasetSource`.
        size: samples of an experience, >= 1; the last may be smaller.
        name: experiences are called "NAME 0", "NAME 1" ...
        concept: of the experiences.

    Raises:
        DataError: a size below 1, nothing that can be iterated over, or the iterator failed.
    """
    try:
        size = whole("the size of an experience", size, least=1)
    except ConfigError as error:
        raise DataError(str(error)) from None
    try:
        given = iter(items)
    except Exception as error:
        raise DataError(
            f"samples come from something that yields (sample, label) pairs, got {shown(items)} "
            f"({error!r}); give a list, a generator or a data set"
        ) from error
    return _windows(given, size, name, concept)


def _windows(items: Iterator[Any], size: int, name: str, concept: str) -> Iterator[Experience]:
    number, held, failed = 0, [], None
    while failed is None:
        try:
            item = next(items)
        except Exception as error:
            # Other people's code again; StopIteration is the usual end.
            failed = error
        else:
            held.append(_held(item))
        if held and (len(held) == size or failed is not None):
            yield _experience(held, f"{name} {number}", concept)
            number, held = number + 1, []
    if not isinstance(failed, StopIteration):
        raise DataError(f"the iterator failed after {number} experiences: {failed!r}") from failed


def _held(item: Any) -> _Item:
    try:
        return read_pair(item)
    except ClnfError as error:
        return error


@final
class _ListSource:
    """Samples in a list, of which some may be faulty."""

    def __init__(self, items: list[_Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def take(self, index: Tensor) -> Batch:
        chosen = [self._items[number] for number in index.tolist()]
        for item in chosen:
            if isinstance(item, ClnfError):
                raise item
        return stacked([item for item in chosen if not isinstance(item, ClnfError)])


def _experience(held: list[_Item], name: str, concept: str) -> Experience:
    source: Source = _ListSource(held)
    origin = f"an iterator, {len(held)} samples"
    try:
        batch = source.take(torch.arange(len(held)))
        source = ArraySource(batch.x, batch.cond)
    except ClnfError:
        pass  # The list is kept: the gate reads it sample by sample.
    return Experience(name=name, concept=concept, data=source, provenance=origin)
