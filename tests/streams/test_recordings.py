"""Recordings and spoken vowels, from files made here."""

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clnf.core.errors import ConfigError, DataError, MissingExtraError, ShapeError
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
    (tmp_path / "cut.wav").write_bytes(save(tmp_path / "a.wav", tone(200.0)).read_bytes()[:20])
    with pytest.raises(DataError, match=r"cut.wav is no WAV .* \(it ends early\); leave it out"):
        read_recording(tmp_path / "cut.wav")
    with pytest.raises(DataError, match="no sound"):
        read_recording(save(tmp_path / "empty.wav", np.zeros((0, 1))))
    (tmp_path / "a.ogg").write_bytes(b"OggS")
    with pytest.raises((MissingExtraError, DataError)):
        read_recording(tmp_path / "a.ogg")
    with pytest.raises(ConfigError, match="a cut has"):
        Cut(length_s=0.0)


@pytest.mark.parametrize("rate", [0, 15_999_989, 2**32 - 5])
def test_a_damaged_header_is_named_with_its_file(tmp_path: Path, rate: int) -> None:
    path = save(tmp_path / "es" / "syllab" / "ba.wav", tone(200.0))
    save(tmp_path / "es" / "syllab" / "be.wav", tone(200.0))
    assert len(read_vowels(tmp_path, CUT)) == 2
    header = bytearray(path.read_bytes())
    struct.pack_into("<I", header, 24, rate)
    path.write_bytes(header)
    words = rf"ba\.wav says that it has {rate} samples a second, and 4000 of them"
    with pytest.raises(DataError, match=words):
        read_recording(path)
    with pytest.raises(DataError, match=words):
        read_vowels(tmp_path, CUT)


def test_a_sound_that_would_fill_all_memory_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", np.zeros((4000, 1)), rate=1)
    with pytest.raises(DataError, match="has 1 samples a second, and 4000"):
        read_recording(path, rate_hz=100_000)
    assert len(read_recording(path, rate_hz=2)) == 8000


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 8000.5, "a", None, 10**9])
def test_rates_are_whole_numbers(tmp_path: Path, rate: Any) -> None:
    path = save(tmp_path / "a.wav", tone(200.0))
    with pytest.raises(ConfigError, match="rate_hz must be a whole number from 1 to 400000, got"):
        read_recording(path, rate_hz=rate)
    with pytest.raises(DataError, match="named by its path"):
        read_recording(None)  # type: ignore[arg-type]


def test_sounds_of_one_channel_have_a_loudest_part() -> None:
    for bad in (np.zeros(0, np.float32), np.zeros((200, 2), np.float32), np.float32(1.0)):
        with pytest.raises(ShapeError, match="a sound is one row of samples"):
            loudest(bad, CUT)  # type: ignore[arg-type]
    x = np.zeros(4000, np.int16)
    x[3000:3400] = 32767  # squares of 16 bits would come out small
    assert float(loudest(x, CUT).sum()) == 400 * 32767.0  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"sounds are finite, got nan at \[5\]"):
        loudest(np.where(np.arange(9) == 5, np.nan, 0.0), CUT)  # type: ignore[arg-type]


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
    assert torch.equal(found.take(held.tolist()).x, batch.x)  # type: ignore[arg-type]
    for bad in (torch.tensor([5]), torch.tensor([-1]), torch.tensor([0.0]), torch.tensor(0)):
        with pytest.raises(DataError, match="places .* from 0 to 4, got"):
            found.take(bad)
    with pytest.raises(DataError, match="named by its path"):
        read_vowels(None, CUT)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no sounds of 'ru'"):
        found.spoken(["ru"])
    with pytest.raises(DataError, match="clnf data get klettres"):
        read_vowels(tmp_path / "empty", CUT)
