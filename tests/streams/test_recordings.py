"""Recordings and spoken vowels, from files made here."""

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError, DataError, MissingExtraError
from clnf.streams.recordings import Cut, loudest, read_recording
from clnf.streams.vowels import VOWELS, read_vowels

CUT = Cut(rate_hz=4000, length_s=0.2)


def save(path: Path, x: np.ndarray, rate: int = 8000, width: int = 2) -> Path:
    """A WAV of [samples, channels] in [-1, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = 2 ** (8 * width - 1) - 1
    whole = np.round(x * top).astype(np.int64) + 128 * (width == 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(x.shape[1]), file.setsampwidth(width), file.setframerate(rate)
        file.writeframes(whole.astype({1: "u1", 2: "<i2", 4: "<i4"}[width]).tobytes())
    return path


def tone(hz: float, samples: int = 4000, rate: int = 8000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)[:, None]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_file_is_read_as_the_mean_of_its_channels(tmp_path: Path, width: int) -> None:
    one = tone(200.0)
    both = np.concatenate([one, np.zeros_like(one)], 1)
    found = read_recording(save(tmp_path / "a.wav", both, width=width), rate_hz=8000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one[:, 0] / 2, atol=0.01 if width == 1 else 1e-4)


def test_another_rate_keeps_the_tone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tone(200.0))
    found = read_recording(path, rate_hz=4000)
    assert len(found) == 2000
    wanted = tone(200.0, 2000, 4000)[:, 0]
    np.testing.assert_allclose(found[200:-200], wanted[200:-200], atol=0.01)


def test_what_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_recording(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("hello", encoding="utf-8")
    with pytest.raises(DataError, match="no WAV"):
        read_recording(tmp_path / "text.wav")
    with pytest.raises(DataError, match="no sound"):
        read_recording(save(tmp_path / "empty.wav", np.zeros((0, 1))))
    (tmp_path / "a.ogg").write_bytes(b"OggS")
    with pytest.raises((MissingExtraError, DataError)):
        read_recording(tmp_path / "a.ogg")
    with pytest.raises(ConfigError, match="a cut has"):
        Cut(length_s=0.0)


def test_the_loudest_part_is_kept_wherever_it_is() -> None:
    for first in (0, 1500, 3600):
        x = np.zeros(4000, np.float32)
        x[first : first + 400] = 0.5
        kept = loudest(x, CUT)
        assert kept.shape == (800,)
        assert float(kept.sum()) == 200.0


def test_syllables_by_language_and_vowel(tmp_path: Path) -> None:
    base = tmp_path / "share" / "klettres"
    for name in ("es/syllab/ba", "es/syllab/gue", "es/syllab/guu", "it/syllab/gno", "it/alpha/e",
                 "it/alpha/be", "ml/syllab/shii", "fr/syllab/ba"):  # fmt: skip
        save(base / f"{name}.wav", tone(200.0))
    (base / "es" / "syllab" / "bi.txt").write_text("no sound", encoding="utf-8")
    found = read_vowels(tmp_path, CUT)
    told = {file: VOWELS[int(v)] for file, v in zip(found.files, found.vowel, strict=True)}
    assert told == {
        "es/syllab/ba.wav": "a", "es/syllab/guu.wav": "u", "it/alpha/e.wav": "e",
        "it/syllab/gno.wav": "o", "ml/syllab/shii.wav": "i",
    }  # fmt: skip
    held, taught = found.spoken(["it"]), found.spoken(["es", "ml"])
    assert not set(held.tolist()) & set(taught.tolist())
    batch = found.take(held)
    assert batch.x.shape == (2, 1, 800)
    assert torch.equal(batch.cond, found.vowel[held])
    with pytest.raises(DataError, match="no sounds of 'ru'"):
        found.spoken(["ru"])
    with pytest.raises(DataError, match="clnf data get klettres"):
        read_vowels(tmp_path / "empty", CUT)
