"""What is drawn is what the factors say, measured on the picture, the sound and the solid."""

import math

import numpy as np
import pytest

from clnf.streams.worlds.sounds import ENVELOPES, RATE_HZ, TIMBRES, Sounds
from clnf.streams.worlds.sprites import COLOURS, SHAPES, TEXTURES, Sprites
from clnf.streams.worlds.voxels import SOLIDS, Voxels

SPRITES = Sprites(1, seed=0, label="shape")
SOUNDS = Sounds(1, seed=0, label="timbre")
VOXELS = Voxels(1, seed=0, label="solid")


def scene(**values: float) -> dict[str, np.ndarray]:
    return {name: np.atleast_1d(np.asarray(value, float)) for name, value in values.items()}


def sprite(shape: str, **more: float) -> np.ndarray:
    """Ink of a black sprite, [32, 32] from 0 to 1."""
    values = {"x": 0.5, "y": 0.5, "scale": 0.25, "rotation_rad": 0.0, "texture": 0.0} | more
    black = list(COLOURS).index("black")
    made = SPRITES.render(scene(shape=SHAPES.index(shape), colour=black, **values))
    return (1.0 - made[0, 0]) / 2.0 / 0.95


AREAS = {
    "disc": math.pi * 0.85**2,
    "square": 2 * 0.95**2,
    "triangle": 0.75 * math.sqrt(3) * 0.95**2,
    "hexagon": 1.5 * math.sqrt(3) * 0.95**2,
    "star": 10 * 0.5 * 0.42 * math.sin(math.pi / 5),
    "cross": 2 * 1.8 * 0.6 - 0.36,
    "ring": math.pi * (0.92**2 - 0.48**2),
}


@pytest.mark.parametrize("shape", AREAS)
def test_area_follows_shape_and_scale(shape) -> None:
    for scale in (0.2, 0.28):
        area = sprite(shape, scale=scale, rotation_rad=0.3).sum() / 32**2 / scale**2
        assert area == pytest.approx(AREAS[shape], rel=0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_and_place_are_the_ones_named(shape) -> None:
    plain = sprite(shape, rotation_rad=0.4)
    quarter = sprite(shape, rotation_rad=0.4 + math.pi / 2)
    assert np.rot90(plain) == pytest.approx(quarter, abs=0.01)
    moved = sprite(shape, rotation_rad=0.4, x=0.5 + 4 / 32, y=0.5 - 2 / 32)
    assert np.roll(plain, (-2, 4), (0, 1)) == pytest.approx(moved, abs=0.01)
    # The control: another turn is another picture, unless the shape is round.
    other = np.abs(plain - sprite(shape, rotation_rad=0.9)).max()
    assert (other < 0.01) == (shape in ("disc", "ring"))


def test_colours_and_textures_are_the_ones_named() -> None:
    for number, rgb in enumerate(COLOURS.values()):
        made = SPRITES.render(
            scene(shape=0, colour=number, texture=0, x=0.5, y=0.5, scale=0.28, rotation_rad=0)
        )
        assert (made[0, :, 16, 16] + 1) / 2 == pytest.approx(rgb, abs=0.003)
    plain, stripes, checks = (
        sprite("square", texture=float(t), scale=0.28) for t in range(len(TEXTURES))
    )
    along, across = stripes[14:18, 10:22].std(1).mean(), stripes[10:22, 14:18].std(0).mean()
    assert max(along, across) > 5 * min(along, across)
    assert plain[12:20, 12:20].std() < 0.01 < checks[12:20, 12:20].std()


def note(timbre: str, **more: float) -> np.ndarray:
    values = {"pitch_hz": 250.0, "glide": 0.0, "loudness": 0.8, "phase_rad": 0.3} | more
    envelope = values.pop("envelope", 0)
    return SOUNDS.render(scene(timbre=TIMBRES.index(timbre), envelope=envelope, **values))[0, 0]


def spectrum(sound: np.ndarray) -> np.ndarray:
    return np.abs(np.fft.rfft(sound * np.hanning(len(sound))))


@pytest.mark.parametrize("pitch", [125.0, 250.0, 500.0])
def test_pitch_is_the_one_named(pitch) -> None:
    peak = spectrum(note("sine", pitch_hz=pitch)).argmax() * RATE_HZ / 2048
    assert peak == pytest.approx(pitch, abs=2.0)


def test_timbres_have_their_partials_and_nothing_folds_back() -> None:
    step = round(250.0 * 2048 / RATE_HZ)
    levels = {t: spectrum(note(t))[step::step][:8] for t in TIMBRES}
    saw = levels["saw"] / levels["saw"][0]
    assert saw == pytest.approx([1 / n for n in range(1, 9)], rel=0.02)
    square = levels["square"] / levels["square"][0]
    assert square[::2] == pytest.approx([1, 1 / 3, 1 / 5, 1 / 7], rel=0.02)
    assert square[1::2].max() < 0.01
    assert levels["reed"].argmax() in (1, 2)
    assert spectrum(note("bell"))[round(2.76 * step)] > 10 * levels["bell"][2]
    # 880 Hz rising a quarter octave: the 16 partials would reach 16 kHz. All power lies at
    # multiples of the pitch, so nothing came back from above 4 kHz.
    high = spectrum(note("saw", pitch_hz=800.0, glide=0.0))
    bins = np.arange(len(high)) * RATE_HZ / 2048
    far = np.abs(bins / 800.0 - np.round(bins / 800.0)) * 800.0 > 40.0
    assert (high[far] ** 2).sum() < 1e-4 * (high**2).sum()


def test_a_glide_ends_at_its_pitch_and_loudness_is_the_bound() -> None:
    sound = note("sine", glide=0.25, pitch_hz=400.0)
    late = np.angle(np.exp(1j * np.diff(np.unwrap(np.angle(_analytic(sound))))))[1500:1900]
    early = np.angle(np.exp(1j * np.diff(np.unwrap(np.angle(_analytic(sound))))))[100:500]
    assert early.mean() * RATE_HZ / 2 / math.pi == pytest.approx(
        400 * 2 ** (0.25 * 300 / 2048), rel=0.01
    )
    assert late.mean() * RATE_HZ / 2 / math.pi == pytest.approx(
        400 * 2 ** (0.25 * 1700 / 2048), rel=0.01
    )
    for timbre in TIMBRES:
        assert np.abs(note(timbre, loudness=0.5)).max() <= 0.5


def _analytic(sound: np.ndarray) -> np.ndarray:
    from scipy.signal import hilbert

    return np.asarray(hilbert(sound))


def test_envelopes_differ_in_where_their_energy_lies() -> None:
    centre = {}
    for number, name in enumerate(ENVELOPES):
        power = note("sine", envelope=number) ** 2
        centre[name] = (power * np.arange(2048)).sum() / power.sum() / 2048
    assert centre["pluck"] < 0.2 < 0.45 < centre["steady"] < 0.55 < 0.75 < centre["swell"]
    power = note("sine", envelope=ENVELOPES.index("tremolo"), pitch_hz=800.0) ** 2
    beat = np.abs(np.fft.rfft(power - power.mean()))[:20].argmax() * RATE_HZ / 2048
    assert beat == pytest.approx(20.0, abs=2.5)


def solid(name: str, **more: float) -> np.ndarray:
    values = {"x": 0.5, "y": 0.5, "z": 0.5, "size": 0.34, "yaw_rad": 0.3, "tilt_rad": 0.2} | more
    return (VOXELS.render(scene(solid=SOLIDS.index(name), **values))[0, 0] + 1) / 2


VOLUMES = {
    "ball": 4 / 3 * math.pi,
    "box": 8 * 0.85 * 0.6 * 0.4,
    "cylinder": math.pi * 0.55**2 * 1.6,
    "cone": math.pi * 0.8**2 * 1.6 / 3,
    "torus": 2 * math.pi**2 * 0.7 * 0.28**2,
    "octahedron": 4 / 3,
}


@pytest.mark.parametrize("name", SOLIDS)
def test_volume_place_and_pose_of_solids(name) -> None:
    made = solid(name)
    assert made.sum() / 16**3 / 0.34**3 == pytest.approx(VOLUMES[name], rel=0.08)
    moved = solid(name, x=0.5 + 1 / 16, z=0.5 - 1 / 16)
    assert np.roll(made, (-1, 0, 1), (0, 1, 2)) == pytest.approx(moved, abs=1e-5)
    quarter = solid(name, yaw_rad=0.3 + math.pi / 2)
    assert np.rot90(made, 1, (2, 1)) == pytest.approx(quarter, abs=1e-5)
    other = np.abs(made - solid(name, tilt_rad=0.9)).max()
    assert (other < 1e-5) == (name == "ball")
