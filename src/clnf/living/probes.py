"""Probes of a picture generator: what it draws when asked, in the eyes of the judge."""

import math
from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor

from clnf.core.protocols import Engine
from clnf.core.records import Quality, Source
from clnf.core.rng import fold, torch_rng
from clnf.living.recipe import ProbePart
from clnf.media.flow import last, noise_for
from clnf.media.judge import Judge
from clnf.media.kid import kid_blocks

__all__ = ["DrawProbe", "newness"]


_AT_ONCE = 16  # pictures drawn together; twice as many pass the network, for guidance


class _Named(Protocol):
    def row(self, name: str) -> int: ...


@final
class DrawProbe:
    """Draws each concept from fixed noise and reports class match and KID.

    The start noise of a probe depends on the run's seed, the concept and the sample's number
    alone, so two measurements differ only by the model (and its chip's read noise).

    Attributes:
        pictures: what was drawn at the last measurement, by concept, [n, 3, 32, 32].
    """

    def __init__(
        self, judge: Judge, real: dict[str, Tensor], part: ProbePart, *, seed: int
    ) -> None:
        self._judge = judge
        # Looked at when first compared with: a run is opened more often than it is measured.
        self._pictures = dict(real)
        self._features: dict[str, Tensor] = {}
        self._part = part
        self._seed = seed
        self.pictures: dict[str, Tensor] = {}

    def other(self, part: ProbePart, *, seed: int) -> "DrawProbe":
        """A probe that draws from other noise; both know the same real pictures from now on.

        Args:
            part: how it draws.
            seed: of its noise.
        """
        found = DrawProbe(self._judge, {}, part, seed=seed)
        found._pictures, found._features = self._pictures, self._features
        return found

    def measure(self, engine: Engine, concepts: Sequence[str], table: _Named) -> Quality:
        """Draw and judge the given concepts.

        Concepts the judge does not know (a user's own) are compared with the pictures of their
        lesson by feature distance only, and have no match.

        Args:
            engine: the model as it is now.
            concepts: names to draw.
            table: gives a concept's row.

        Returns:
            Measures "match" (0 to 1), "kid" and "kid_error" (its standard error) by concept.
        """
        self.pictures = self.draw(engine, concepts, table)
        match, distance, error = {}, {}, {}
        for name, x in self.pictures.items():
            if not bool(x.isfinite().all()):
                match[name], distance[name] = 0.0, float("inf")
                continue
            if name in self._judge.families:
                match[name] = self._judge.match(x, name)
            if name in self._pictures:
                found = kid_blocks(self._judge.features(x), self._real(name))
                distance[name] = found.value
                if math.isfinite(found.error):
                    error[name] = found.error
        return Quality({"match": match, "kid": distance, "kid_error": error})

    def draw(self, engine: Engine, concepts: Sequence[str], table: _Named) -> dict[str, Tensor]:
        """Pictures of each concept, [samples, 3, 32, 32] in [-1, 1]."""
        n, part = self._part.samples, self._part
        seeds = [fold(self._seed, "probe", name, i) for name in concepts for i in range(n)]
        rows = torch.tensor([table.row(name) for name in concepts]).repeat_interleave(n)
        start = noise_for(seeds, (3, 32, 32))
        # Few pictures at a time leave a forward pass waiting for its small operations.
        x = torch.cat(
            [
                last(engine.sample(cond, noise=noise, steps=part.steps, guidance=part.guidance))
                for cond, noise in zip(rows.split(_AT_ONCE), start.split(_AT_ONCE), strict=True)
            ]
        )
        return dict(zip(concepts, x.split(n), strict=True))

    def remember(self, concept: str, x: Tensor) -> None:
        """Take pictures of a lesson as what its concept really looks like."""
        self._pictures.setdefault(concept, x)

    def _real(self, concept: str) -> Tensor:
        """Features of what a concept really looks like."""
        if concept not in self._features:
            self._features[concept] = self._judge.features(self._pictures[concept])
        return self._features[concept]


@torch.no_grad()
def newness(engine: Engine, lesson: Source, known: Source, *, samples: int, seed: int) -> float:
    """How much harder a lesson's samples are for the model than known ones of the concept.

    Both sets see the same noise and times, so the ratio of their mean losses is about 1 for
    more of the same and larger for anything else.

    Args:
        engine: the model as it is now.
        lesson: the samples offered.
        known: samples of the same concept that the model has learned.
        samples: how many of each are tried.
        seed: places the draws.

    Returns:
        mean loss(lesson) / mean loss(known).
    """
    means = []
    for source in (lesson, known):
        rng = torch_rng(seed, "newness", "pick")
        picks = torch.randint(0, len(source), (samples,), generator=rng)
        losses = engine.loss(source.take(picks), torch_rng(seed, "newness", "draw"))
        means.append(float(losses.mean()))
    return means[0] / means[1]
