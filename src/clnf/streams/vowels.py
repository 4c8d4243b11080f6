"""Spoken syllables of several languages, told apart by their vowel: from the set ``klettres``.

``clnf data get klettres --out FOLDER`` fetches it. Taken are syllables of consonants and one vowel
at the end (``ba``, ``gno``, ``shii``) and vowels alone, as the files are called; nobody listened to
check. Each language is spoken by voices of its own: who tests with languages that were not taught
tests with voices that were not heard.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clnf.core.errors import DataError
from clnf.core.inputs import shown
from clnf.core.records import Batch
from clnf.core.tensors import dense
from clnf.streams.recordings import Cut, loudest, read_recording

__all__ = ["LANGUAGES", "VOWELS", "VowelSource", "read_vowels"]

LANGUAGES = ("es", "it", "ml", "pt_BR", "ru", "tn", "uk")
VOWELS = ("a", "e", "i", "o", "u")
_SYLLABLE = re.compile(r"[bcdfghjklmnpqrstvwxz]*([aeiou])\1?")
_ALONE = re.compile(r"([aeiou])\1?")
_SUFFIXES = {".ogg", ".wav", ".flac"}


@final
class VowelSource:
    """Sounds of one length with their vowel; made by :func:`read_vowels`.

    Attributes:
        sounds: float32 [N, samples] in [-1, 1].
        vowel: index into VOWELS, int64 [N].
        language: of each sound, [N].
        files: name of each inside the folder.
    """

    def __init__(
        self,
        sounds: NDArray[np.float32],
        vowel: Tensor,
        language: tuple[str, ...],
        files: tuple[str, ...],
    ) -> None:
        self.sounds, self.vowel, self.language, self.files = sounds, vowel, language, files

    def __len__(self) -> int:
        return len(self.sounds)

    def take(self, index: Tensor) -> Batch:
        """Sounds at ``index`` (int64 [K]), float32 [K, 1, samples], with their vowel.

        Raises:
            DataError: places that are no whole numbers from 0 on, or beyond the last sound.
        """
        found = dense("places of sounds", index)
        whole = found.dim() == 1 and not found.is_floating_point() and found.dtype != torch.bool
        if not whole or bool(((found < 0) | (found >= len(self))).any()):
            raise DataError(
                f"sounds are at places [K] from 0 to {len(self) - 1}, got {shown(index)}; "
                "correct them"
            )
        found = found.to(torch.int64)
        chosen = torch.from_numpy(self.sounds[found.numpy()])
        return Batch.of(chosen[:, None], self.vowel[found])

    def spoken(self, languages: Sequence[str]) -> Tensor:
        """Which sounds are of some languages, int64 [K].

        Raises:
            DataError: a language without sounds here.
        """
        missing = [one for one in languages if one not in self.language]
        if missing:
            raise DataError(f"there are no sounds of {missing[0]!r}; give some of {LANGUAGES}")
        return torch.tensor([n for n, one in enumerate(self.language) if one in languages])


def read_vowels(folder: Path, cut: Cut | None = None) -> VowelSource:
    """The syllables in a folder that ``clnf data get klettres`` filled.

    Args:
        folder: holds ``share/klettres``, or a folder for each language.
        cut: what is kept of each sound; None for :class:`Cut` as it comes.

    Raises:
        DataError: none of the files are there, or one cannot be read.
    """
    if not isinstance(folder, (str, Path)):
        raise DataError(f"a folder is named by its path, got {shown(folder)}; give its name")
    cut = cut or Cut()
    inner = Path(folder) / "share" / "klettres"
    base = inner if inner.is_dir() else Path(folder)
    found = list[tuple[str, Path, int]]()
    for language in LANGUAGES:
        for part, shape in (("alpha", _ALONE), ("syllab", _SYLLABLE)):
            for path in sorted((base / language / part).glob("*")):
                name = shape.fullmatch(path.stem.lower())
                if name and path.suffix.lower() in _SUFFIXES:
                    found.append((language, path, VOWELS.index(name[1])))
    if not found:
        raise DataError(
            f"{folder} holds no syllables of klettres; run: clnf data get klettres --out {folder}"
        )
    rows = [loudest(read_recording(path, rate_hz=cut.rate_hz), cut) for _, path, _ in found]
    return VowelSource(
        np.stack(rows),
        torch.tensor([vowel for _, _, vowel in found]),
        tuple(language for language, _, _ in found),
        tuple(str(path.relative_to(base)) for _, path, _ in found),
    )
