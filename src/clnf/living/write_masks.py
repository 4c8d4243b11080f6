"""Write masks of a living model's cells: measured when a lesson is committed, worn by the next."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any, final

import torch
from torch import Tensor

from clnf.chip.hosting import Chip
from clnf.chip.masks import Importance, Masks, gradual, protect, random_like, shut
from clnf.core.errors import DataError
from clnf.core.records import Batch, Experience
from clnf.core.rng import torch_rng
from clnf.living.recipe import MaskPart
from clnf.media.flow import FlowModel

__all__ = ["WriteMasks", "by_tile"]

Quiet = Callable[[], AbstractContextManager[None]]
_TOGETHER = 8  # samples in one backward pass of a measurement


@final
class WriteMasks:
    """Measures which cells matter, and keeps pulses off them.

    When a lesson is committed, importance is measured on its samples and on samples of the core,
    each divided by its mean over a tile. Of all measurements a weight keeps the largest: so what
    one lesson alone needs is not outvoted by those that came after, and the core, measured again
    after each lesson since its importance changes with the adapters, does not count more often.
    Every committed lesson, the core first, adds ``share`` to what masks hold, up to ``most``; a
    lesson may ask for another share while it is taught.

    A weight that never mattered stays open. Random masks measure nothing and are nested: what was
    shut stays shut.

    Args:
        engine: whose samples' losses are looked at; its layers are on the chip.
        chip: whose cells are held.
        part: the recipe's.
        asked: share by name of the lessons that ask for one of their own.
        seed: of samples, noise and random places.
        quiet: a context without noise that a recipe adds while teaching.
    """

    def __init__(
        self,
        engine: FlowModel,
        chip: Chip,
        part: MaskPart,
        asked: Mapping[str, float],
        *,
        seed: int,
        quiet: Quiet = nullcontext,
    ) -> None:
        self.engine, self.chip, self.part, self.seed = engine, chip, part, seed
        self._quiet = quiet
        self.asked = dict(asked)
        self.importance: Masks = {}
        self.lessons = 0
        self.share = 0.0
        self.cost: dict[str, Any] = {}

    def begin(self, lesson: str, fences: Masks) -> None:
        """Put on the masks a lesson asks for, where they are not those that are there.

        Args:
            lesson: its name.
            fences: what else holds weights, by tile.
        """
        usual = min(self.lessons * self.part.share, self.part.most)
        share = self.asked.get(lesson, usual)
        if share != self.share:
            self._write(share, fences)

    def consolidate(self, experience: Experience, core: Experience, fences: Masks) -> None:
        """Measure what was committed, and hold more.

        Args:
            experience: the lesson.
            core: samples of the core; the lesson itself where it is the core.
            fences: what else holds weights, by tile; the smaller of both goes to the chip.
        """
        self.lessons += 1
        if self.part.kind != "random":
            for one in (experience,) if experience.kind == "core" else (experience, core):
                for name, found in self._measure(one).items():
                    found = found / found.mean().clamp(min=1e-30)
                    held = self.importance.get(name, torch.zeros_like(found))
                    self.importance[name] = torch.maximum(held, found)
        self._write(min(self.lessons * self.part.share, self.part.most), fences)

    def facts(self, lesson: str) -> dict[str, Any]:
        """What masks hold now and what they cost in a lesson, as JSON values."""
        layers = (one for one in self.chip.layers.values() if one.plastic and not one.blank)
        tiles = [tile for layer in layers for tile in layer.tiles]
        measured = self.chip.ledger.total(lesson=lesson, op="importance")
        return {
            "kind": self.part.kind,
            "share": self.share,
            "shut": sum(int((t.fence == 0).sum()) for t in tiles) / sum(t.size for t in tiles),
            "bits": self.cost.get("bits", 0),
            "area_m2": self.cost.get("area_m2"),
            "written_aj": self.chip.ledger.total(lesson=lesson, op="mask").energy_aj,
            "measured_aj": measured.energy_aj,
            "multiplications": measured.count,
        }

    def state_dict(self) -> dict[str, Any]:
        """Importance so far, and what is on the chip."""
        return {
            "importance": dict(self.importance),
            "lessons": self.lessons,
            "share": self.share,
            "cost": dict(self.cost),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        tiles = self.chip.tiles
        self.importance = {
            name: value.to(tiles[name].fence.device, copy=True)
            for name, value in state["importance"].items()
        }
        self.lessons, self.share = state["lessons"], state["share"]
        self.cost = dict(state["cost"])

    def return_to(self, state: dict[str, Any], fences: Masks) -> None:
        """Put on again the masks of an earlier time, and pay for writing them.

        Args:
            state: what :meth:`state_dict` gave then.
            fences: what else holds weights, by tile.
        """
        self.load_state_dict(state)
        self._write(self.share, fences)

    def _write(self, share: float, fences: Masks) -> None:
        masks = self._made(share)
        both = {name: torch.minimum(mask, fences.get(name, mask)) for name, mask in masks.items()}
        self.cost = asdict(protect(self.chip, both, bits=max(self.part.bits, 1)))
        self.share = share

    def _made(self, share: float) -> Masks:
        if self.part.kind == "random":
            layers = self.chip.layers.values()
            plastic = (layer for layer in layers if layer.plastic and not layer.blank)
            ranks = {
                tile.name: torch.arange(tile.size, device=tile.fence.device).float()
                for layer in plastic
                for tile in layer.tiles
            }
            mixed = random_like(ranks, self.seed)
            return shut({k: v.view(self.chip.tiles[k].shape) for k, v in mixed.items()}, share)
        if self.part.bits and 0 < share < 1:
            masks = gradual(self.importance, share, bits=self.part.bits)
        else:
            masks = shut(self.importance, share)
        return {
            name: mask.masked_fill_(self.importance[name] == 0, 1.0) for name, mask in masks.items()
        }

    def _measure(self, experience: Experience) -> Masks:
        """Importance of each weight for a lesson's samples, by tile."""
        rng = torch_rng(self.seed, "importance", experience.name)
        index = torch.randperm(len(experience.data), generator=rng)[: self.part.samples]
        batch = experience.data.take(index)
        whole = torch.nonzero(batch.x.flatten(1).isfinite().all(1)).flatten()
        if not len(whole):
            raise DataError(f"lesson {experience.name!r} gave no finite sample to measure")
        kind = self.part.kind
        assert kind != "none"
        assert kind != "random"
        with _training(self.engine), self._quiet(), Importance(self.chip, kind) as probe:
            for picked in whole.split(_TOGETHER):
                self._loss(batch.select(picked), rng).backward()
                probe.take()
        return probe.result()

    def _loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """What is differentiated, summed over samples: see :class:`Importance`.

        The Fisher is the empirical one; of sensitivity it is half the squared velocity, at noisy
        pictures as in the loss of the flow.
        """
        if self.part.kind != "sensitivity":
            return self.engine.loss(batch, rng).sum()
        batch = batch.to(self.engine.device)
        noise = torch.randn(batch.x.shape, generator=rng).to(batch.x)
        t = torch.sigmoid(torch.randn(len(batch), generator=rng)).to(batch.x)
        mix = t[:, None, None, None]
        velocity: Tensor = self.engine.net((1 - mix) * noise + mix * batch.x, t, batch.cond)
        return 0.5 * velocity.float().square().flatten(1).mean(1).sum()


def by_tile(chip: Chip, masks: Mapping[str, Tensor]) -> Masks:
    """Masks of plastic layers' weights, by the tiles they lie on.

    Args:
        chip: of these layers.
        masks: by name of the layer, [shape of its weight].
    """
    found: Masks = {}
    for name, mask in masks.items():
        layer = chip.layers[name]
        flat = layer.matrix(mask.detach().float())
        found |= {tile.name: flat[tile.columns, tile.rows] for tile in layer.tiles}
    return found


@contextmanager
def _training(engine: FlowModel) -> Iterator[None]:
    """Training mode, as measuring on the array wants it; no gradient is left behind."""
    modes = [(module, module.training) for module in engine.modules()]
    engine.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in engine.parameters():
            parameter.grad = None
