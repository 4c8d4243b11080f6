"""Noise that helps: below a converter's resolution, in faint pictures, and in training.

    python benchmarks/helpful_noise.py                JSON lines
    python benchmarks/helpful_noise.py draw FILE.png  faint pictures, seen and drawn

``threshold``: a template is looked for by 16 columns of a tile with 4-bit converters, at contrasts
below and above half a step. Noise comes from random voltages at the ``inputs``, or from the
``cells`` themselves, whose read noise and programming errors a steady voltage brings out. Ours is
the share of right answers on trials that did not choose the cut, beside theory for Gaussian noise
and an ideal quantiser at the same spread (the tile has programming errors, read noise and wires;
of noise from cells, theory knows each column's offset and spread). The measured optimum must lie
where theory loses no more than two standard errors of a measured point; p is Fisher's exact test
of fresh trials at the optimum against none. Contrasts above the edge, and none at all, are the
controls.

``pictures``: bundled pictures of families the generator knows, shown so faint that 4 bits see
little or nothing of them; 16 looks; the drawing keeps 0.55 of what was seen. Error is the
root-mean-square over pixels in [-1, 1] against the clear picture; ``right`` is the share of
drawings that the judge names as the family. ``source_noise`` is what the source brings along, in
full scales: then less is added, or none. Both pictures shown and starting noises are the same
in every row of a contrast.

``injection``: networks trained in plain torch with weight noise of growing spread (shares of the
largest weight; weights clipped at 2.5 sigma, 1 % read noise and 8-bit converters come with it),
programmed into cells, tested now and a month later without compensation of drift; and into HfO2
cells whose programming error is supplied: a spread of that share of the window for every cell.
Digits, networks and training are those of ``tile_accuracy.py``. Mean and range of three seeds.
"""

import copy
import json
import math
import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path

import tile_accuracy as tiles
import torch
from PIL import Image

from clnf.chip import ChipSpec, host
from clnf.chip.injection import Injection, inject
from clnf.chip.resonance import Quantiser, study, study_cells
from clnf.cli.noise import row
from clnf.devices.materials import Material
from clnf.living.faint import Scene, look_at
from clnf.living.generate import Wish, draw
from clnf.living.model import LivingModel
from clnf.living.pictures import grid, to_bytes
from clnf.living.recipe import load_recipe
from clnf.media.bundled import load_judge
from clnf.streams.bundled import emoji32, family
from clnf.streams.sources import from_levels

LOOKS, TRIALS, SEEDS = 16, 4000, (1, 2, 3)
SENSOR = Quantiser(step=1 / 7, top=7)
MATERIALS = ("pcm_hermes", "cmo_hfox", "reram_130nm")
FAMILIES, SHOWN, KEEP = ("faces", "clocks", "fruit"), 8, 0.55
CONTRASTS = (0.03, 0.06, 0.12, 1.0)
NOISY, SOURCES = 0.06, (0.02, 0.05)  # a contrast, and noise that its source brings along
SPREADS = (0.0, 0.06, 0.12, 0.24)  # of the noise injected in training
ERRORS = (0.05, 0.1, 0.15)  # of cells, supplied
MONTH_S, STEPS, RATE = 30 * 86400.0, 1000, 0.5


def show(**row: object) -> None:
    print(json.dumps(row), flush=True)


def scenes(
    model: LivingModel, contrast: float, sigma: float | None, noise: float = 0.0
) -> dict[str, object]:
    """All families at one contrast, added noise and noise of the source."""
    judge, _ = load_judge()
    seen_error, drawn_error, right = [], [], 0
    for name in FAMILIES:
        for k, index in enumerate(family(name)[:SHOWN]):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "scene.png"
                Image.fromarray(emoji32().images[index]).save(file)
                scene = Scene(picture=file, contrast=contrast, sigma=sigma, noise=noise)
                seen = look_at(scene, k)
            clear = from_levels(emoji32().images[index][None])[0]
            drawn = draw(model, Wish(concept=name, n=1, seed=k), like=seen.picture, keep=KEEP)
            seen_error.append(float((seen.picture - clear).square().mean()))
            drawn_error.append(float((drawn[0] - clear).square().mean()))
            right += judge.match(drawn, name) > 0.5
    return {
        "contrast": contrast, "source_noise": noise, "sigma": round(seen.sigma, 4),
        "seen_error": math.sqrt(statistics.mean(seen_error)),
        "drawn_error": math.sqrt(statistics.mean(drawn_error)),
        "right": right / len(drawn_error),
    }  # fmt: skip


def noises(contrast: float) -> list[float | None]:
    """None at all, the best by theory, and far too much."""
    return [0.0, None, 6 * 0.3 * SENSOR.step] if contrast < 0.5 else [0.0, None]


def cells(name: str, error: float | None) -> Material:
    kind, _ = tiles.filled(name)
    if error is None:
        return kind
    window = kind.values["conductance_max_s"].number - kind.values["conductance_min_s"].number
    return kind.supply(programming_noise_g=(error * window,))


def trained(kind: str, spread: float, seed: int) -> torch.nn.Module:
    net, data = tiles.network(kind, seed), tiles.data()["train"]
    noise = inject(net, Injection(weight=spread), seed=seed) if spread else nullcontext()
    with noise:
        tiles.train(net, torch.optim.SGD(net.parameters(), lr=RATE), data, seed, STEPS)
    return net.eval()


def deployed(net: torch.nn.Module, kind: Material, seed: int) -> tuple[float, float]:
    """Accuracy in cells, now and a month later."""
    spec = ChipSpec(core=kind, relatives=False)
    chip = host(net, assign=lambda name, leaf: "core", seed=seed, spec=spec)
    chip.program_core()
    chip.calibrating(True)
    with torch.no_grad():
        net(tiles.data()["train"][0][:500])
    chip.calibrating(False)
    now = tiles.accuracy(net, tiles.data()["test"])
    chip.advance(MONTH_S)
    return now, tiles.accuracy(net, tiles.data()["test"])


def injection(kind: str, spread: float) -> None:
    """All materials with networks trained at one spread."""
    targets: list[tuple[str, float | None]] = [("gst_pcm", None), ("reram_130nm", None)]
    targets += [("hfo2_1t1r", error) for error in (None, *ERRORS)]
    nets = {seed: trained(kind, spread, seed) for seed in SEEDS}
    for name, error in targets:
        digital: list[float] = []
        now: list[float] = []
        later: list[float] = []
        for seed in SEEDS:
            net = copy.deepcopy(nets[seed])
            digital.append(tiles.accuracy(net, tiles.data()["test"]))
            for found, to in zip(
                deployed(net, cells(name, error), seed), (now, later), strict=True
            ):
                to.append(found)
        sums = {
            key: [round(f(values), 4) for f in (statistics.mean, min, max)]
            for key, values in {"digital": digital, "now": now, "month": later}.items()
        }
        show(part="injection", net=kind, injected=spread, cells=name, cell_error=error, **sums)


def picture(path: str) -> None:
    """Shown, then seen and drawn without noise, with the best and with six times as much."""
    model, rows = generator(), []
    for name in (*FAMILIES, "hearts"):
        levels = emoji32().images[family(name)[3]]
        rows.append(from_levels(levels[None])[0])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "scene.png"
            Image.fromarray(levels).save(file)
            for sigma in (0.0, None, 6 * 0.3 * SENSOR.step):
                seen = look_at(Scene(picture=file, contrast=0.06, sigma=sigma), 3)
                wish = Wish(concept=name, n=1, seed=3)
                rows += [seen.picture, draw(model, wish, like=seen.picture, keep=KEEP)[0]]
    grid(to_bytes(torch.stack(rows)), 7, scale=3).quantize(128).save(path, optimize=True)


def generator() -> LivingModel:
    """The bundled model on its chip, before any lesson."""
    model = LivingModel(load_recipe(Path(str(files("clnf.living") / "recipes" / "emoji.toml"))))
    model.chip.program_core()
    return model


def main() -> None:
    start = time.perf_counter()
    torch.set_num_threads(1)
    for measure in (study, study_cells):
        for material in MATERIALS:
            for share in (0.0, 0.1, 0.25, 0.4, 0.7, 1.0):
                one = row(measure(material, share, trials=TRIALS, seed=SEEDS[0]))
                del one["curve"]
                show(part="threshold", material=material, **one)
    model = generator()
    for contrast in CONTRASTS:
        for sigma in noises(contrast):
            show(part="pictures", **scenes(model, contrast, sigma))
    for noise in SOURCES:
        for sigma in (0.0, None):
            show(part="pictures", **scenes(model, NOISY, sigma, noise))
    for kind in ("mlp", "conv"):
        for spread in SPREADS:
            injection(kind, spread)
    show(seconds=round(time.perf_counter() - start))


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        picture(sys.argv[2])
    else:
        main()
