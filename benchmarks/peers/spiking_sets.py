"""Two sets of real data as events in 16 channels, of a size that every chip profile takes.

digits    digits 0 to 7 of ``digits10k``, brightness of 4 x 4 fields: an input spikes in a step by
          chance, with half its brightness, drawn anew for each lesson; 40 steps of 1 ms. 2,000
          teach, 1,000 others are asked, drawn by the seed.
letters   the vowel, a e i o u, of 665 spoken syllables in seven languages (``clnf data get
          klettres``): levels of 16 bands from 150 to 4000 Hz in the half second around the loudest,
          as spikes; 50 steps of 10 ms. Each seed asks two languages that were not taught:
          Spanish and Ukrainian, Italian and Russian, Portuguese and Tswana. Malayalam is always
          taught. So no voice is both taught and asked.

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
from clnf.streams.bundled import digits10k
from clnf.streams.recordings import Cut
from clnf.streams.vowels import LANGUAGES, VOWELS, read_vowels

CHANNELS = 16
ASKED = {1: ("es", "uk"), 2: ("it", "ru"), 3: ("pt_BR", "tn"), 77: ("es", "it")}


class Task(NamedTuple):
    """What is taught and what is asked.

    Attributes:
        events: of samples by their index, [T, B, 16]; further numbers draw other ones.
        y: classes of all samples.
        taught: indices to teach.
        asked: indices to ask.
        classes: how many.
        dt_s: seconds of a step.
    """

    events: Callable[..., Tensor]
    y: Tensor
    taught: Tensor
    asked: Tensor
    classes: int
    dt_s: float


def sets() -> list[str]:
    """Those that can be had here."""
    return ["digits", "letters"] if os.environ.get("CLNF_KLETTRES") else ["digits"]


def task(name: str, seed: int) -> Task:
    """A set and its split; seed 77 is for tuning alone."""
    found = digits(seed) if name == "digits" else letters(seed)
    if seed != 77:
        return found
    # Tuning asks what is taught under other seeds, too, and never what they ask.
    order = torch.randperm(len(found.taught), generator=torch_rng(77, "tuning"))
    cut = len(order) // 4
    return found._replace(taught=found.taught[order[cut:]], asked=found.taught[order[:cut]])


def digits(seed: int) -> Task:
    """Digits 0 to 7."""
    whole = digits10k()
    x, y = torch.tensor(whole.images), torch.tensor(whole.labels)
    some = (y < 8).nonzero().flatten()
    some = some[torch.randperm(len(some), generator=torch_rng(seed, "order"))][:3000]
    fields = F.avg_pool2d(x[some].permute(0, 3, 1, 2) / 255.0, 7).flatten(1)
    fields = fields / fields.amax(1, keepdim=True).clamp_min(1e-6)

    def events(index: Tensor, *place: int) -> Tensor:
        rng = torch_rng(seed, "events", *place)
        return (torch.rand(40, len(index), CHANNELS, generator=rng) < 0.5 * fields[index]).float()

    return Task(events, y[some], torch.arange(2000), torch.arange(2000, 3000), 8, 1e-3)


@lru_cache(maxsize=1)
def spoken() -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Spikes of all syllables [50, N, 16], vowels, languages."""
    cut, bank = Cut(), FilterBank(bands=CHANNELS)
    source = read_vowels(Path(os.environ["CLNF_KLETTRES"]), cut)
    levels = bank.levels(source.sounds, rate_hz=cut.rate_hz, dt_s=10e-3)
    return bank.events(levels, dt_s=10e-3), source.vowel, source.language


def letters(seed: int) -> Task:
    """Vowels of syllables."""
    spikes, y, language = spoken()
    # Tuning teaches and asks within the languages that no seed asks, or that its own leaves.
    other = {"ml"} if seed == 77 else set(LANGUAGES) - set(ASKED[seed])
    taught = torch.tensor([n for n, one in enumerate(language) if one in other])
    asked = torch.tensor([n for n, one in enumerate(language) if one in ASKED[seed]])

    def events(index: Tensor, *_: int) -> Tensor:
        return spikes[:, index]

    return Task(events, y, taught, asked, len(VOWELS), 10e-3)


def logistic(found: Task, windows: int) -> float:
    """Share of the asked named rightly from counts of events in spans of time.

    Logistic regression on standardised counts, L-BFGS, weight decay 0.01.
    """

    def counts(index: Tensor, place: int) -> Tensor:
        parts = found.events(index, place, 0).tensor_split(windows)
        return torch.cat([one.sum(0) for one in parts], 1)

    x, held = counts(found.taught, 0), counts(found.asked, -1)
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
        for seed in ASKED:
            found = task(name, seed)
            sizes = {"taught": len(found.taught), "asked": len(found.asked)}
            shares = {f"logistic_{n}": logistic(found, n) for n in (1, 5)}
            print(json.dumps({"set": name, "seed": seed, **sizes, **shares}), flush=True)


if __name__ == "__main__":
    main()
