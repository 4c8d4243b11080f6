"""Two sets of real data as events: digits in 196 channels, spoken vowels in 16.

digits    ``digits10k`` as in ``spiking_digits.py``: averaged to 14 x 14, latency code, at most one
          spike a pixel, 20 steps of 1 ms. 8,000 teach, 2,000 others are asked, the same for each
          seed.
letters   the vowel, a e i o u, of 665 spoken syllables in seven languages (``clnf data get
          klettres``): levels of 16 bands from 150 to 4000 Hz in the half second around the loudest,
          as spikes; 50 steps of 10 ms. Each seed asks two languages that were not taught:
          Spanish and Ukrainian, Italian and Russian, Portuguese and Tswana. Malayalam is always
          taught. So no voice is both taught and asked.

Tuning (seed 77) asks a quarter of what is taught under every other seed, digits or Malayalam, and
teaches the rest of it; nothing that any seed asks is in it.

The folder of klettres is named by CLNF_KLETTRES; without it the letters are left out. Its sounds
are Ogg Vorbis, which the extra ``sound`` reads.
"""

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clnf.core.rng import torch_rng
from clnf.spiking.coding import FilterBank
from clnf.spiking.tasks import PictureCode
from clnf.streams.digits import digits_part
from clnf.streams.recordings import Cut
from clnf.streams.vowels import LANGUAGES, VOWELS, read_vowels

BANDS = 16
ASKED = {1: ("es", "uk"), 2: ("it", "ru"), 3: ("pt_BR", "tn")}


class Task(NamedTuple):
    """What is taught and what is asked.

    Attributes:
        events: of samples by their index, [T, B, channels].
        y: classes of all samples.
        taught: indices to teach.
        asked: indices to ask.
        classes: how many.
        dt_s: seconds of a step.
        channels: of events.
        hidden: cells of a net for it.
        start: largest first weight, in shares of 1 / sqrt(inputs) volts.
    """

    events: Callable[[Tensor], Tensor]
    y: Tensor
    taught: Tensor
    asked: Tensor
    classes: int
    dt_s: float
    channels: int
    hidden: int
    start: float


def sets() -> list[str]:
    """Those that can be had here."""
    return ["digits", "letters"] if os.environ.get("CLNF_KLETTRES") else ["digits"]


def task(name: str, seed: int) -> Task:
    """A set and its split; seed 77 is for tuning alone."""
    found = digits() if name == "digits" else letters(seed)
    if seed != 77:
        return found
    order = torch.randperm(len(found.taught), generator=torch_rng(77, "tuning"))
    cut = len(order) // 4
    return found._replace(taught=found.taught[order[cut:]], asked=found.taught[order[:cut]])


@lru_cache(maxsize=1)
def pictures() -> tuple[Tensor, Tensor, int]:
    """Events of all digits [20, N, 196], whole numbers; classes; how many teach."""
    code, parts = PictureCode(kind="latency"), []
    for name in ("train", "held_out"):
        part = digits_part(name)  # type: ignore[arg-type]
        batch = part.take(torch.arange(len(part)))
        parts.append((code.events(batch.x).to(torch.uint8), batch.cond))
    (x, y), (more, others) = parts
    return torch.cat([x, more], 1), torch.cat([y, others]), len(y)


def digits() -> Task:
    """All ten digits."""
    spikes, y, cut = pictures()

    def events(index: Tensor) -> Tensor:
        return spikes[:, index].float()

    taught, asked = torch.arange(cut), torch.arange(cut, len(y))
    return Task(events, y, taught, asked, 10, 1e-3, spikes.shape[2], 128, 4.0)


@lru_cache(maxsize=1)
def spoken() -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Spikes of all syllables [50, N, 16], vowels, languages."""
    cut, bank = Cut(), FilterBank(bands=BANDS)
    source = read_vowels(Path(os.environ["CLNF_KLETTRES"]), cut)
    levels = bank.levels(source.sounds, rate_hz=cut.rate_hz, dt_s=10e-3)
    return bank.events(levels, dt_s=10e-3), source.vowel, source.language


def letters(seed: int) -> Task:
    """Vowels of syllables."""
    spikes, y, language = spoken()
    # Tuning has the one language that no seed asks.
    held = set(ASKED[seed]) if seed in ASKED else set(LANGUAGES) - {"ml"}
    taught = torch.tensor([n for n, one in enumerate(language) if one not in held])
    asked = torch.tensor([n for n, one in enumerate(language) if one in held])

    def events(index: Tensor) -> Tensor:
        return spikes[:, index]

    return Task(events, y, taught, asked, len(VOWELS), 10e-3, BANDS, 64, 2.0)


def logistic(found: Task, windows: int) -> float:
    """Share of the asked named rightly from counts of events in spans of time.

    Logistic regression on standardised counts, L-BFGS, weight decay 0.01.
    """

    def counts(index: Tensor) -> Tensor:
        parts = found.events(index).tensor_split(windows)
        return torch.cat([one.sum(0) for one in parts], 1)

    x, held = counts(found.taught), counts(found.asked)
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x, held = (x - mean) / spread, (held - mean) / spread
    weight = torch.zeros(x.shape[1] + 1, found.classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=200)

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weight[1:] + weight[0], found.y[found.taught])
        loss = loss + 0.01 * weight[1:].square().sum()
        loss.backward()
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    said = (held @ weight[1:] + weight[0]).argmax(1)
    return float((said == found.y[found.asked]).double().mean())


def main() -> None:
    """Sizes of the sets, and what regression makes of their counts, as JSON lines."""
    for name in sets():
        for seed in (*ASKED, 77):
            found = task(name, seed)
            sizes = {"taught": len(found.taught), "asked": len(found.asked)}
            shares = {f"logistic_{n}": logistic(found, n) for n in (1, 5)}
            print(json.dumps({"set": name, "seed": seed, **sizes, **shares}), flush=True)


if __name__ == "__main__":
    main()
