"""Write masks of cells: importance measured on the array, masks made of it, what they cost."""

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, final

import torch
from torch import Tensor

from clnf.chip.analog import AbstractAnalog
from clnf.chip.crossbar.array import Crossbar
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.inputs import instance, number, shown, whole
from clnf.core.rng import torch_rng
from clnf.core.tensors import dense, not_finite, shares
from clnf.core.units import quantity

__all__ = ["Importance", "MaskCost", "Masks", "gradual", "protect", "random_like", "shut"]

Kind = Literal["fisher", "sensitivity", "activity"]
Masks = dict[str, Tensor]
_PIECE = 1 << 24  # numbers in one stack of samples' gradients


@final
class Importance:
    """Gathers how much each learning weight matters, from what its own array drives and senses.

        fisher:       mean over samples of (sum over vectors of d x)^2; with losses of labels drawn
                      from the model's own answers it is the Fisher information, with given labels
                      the empirical one (Kirkpatrick et al. 2017)
        sensitivity:  mean over samples of |sum over vectors of d x|; with half the squared output
                      as loss it is MAS (Aljundi et al. 2018)
        activity:     mean over vectors of x^2, for every column alike; no backward read is needed

    x is what rows were driven with, after converters; d what came back to the columns. While it is
    open, call ``backward`` on losses summed over samples, and :meth:`take` after each. The reads
    are in the ledger as any; squares and sums are too, as multiplications and additions.

    Args:
        chip: its plastic layers are looked at, but for those that are blank. Their modules must be
            in training mode.
        kind: see above.
    """

    def __init__(self, chip: Chip, kind: Kind = "fisher") -> None:
        instance("chip", chip, Chip, "give what host() returned")
        if not isinstance(kind, str) or kind not in ("fisher", "sensitivity", "activity"):
            raise ConfigError(
                "importance is fisher, sensitivity or activity, got "
                f"{shown(kind)}; take one of these"
            )
        self.chip, self.kind, self.samples = chip, kind, 0
        layers = chip.layers.values()
        self._layers = [layer for layer in layers if layer.plastic and not layer.blank]
        self._sums: Masks = {}
        self._kept: list[list[tuple[list[Tensor], Tensor]] | None] = []

    def __enter__(self) -> Self:
        self._kept = [layer.capture for layer in self._layers]
        for layer in self._layers:
            layer.capture = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for layer, kept in zip(self._layers, self._kept, strict=True):
            layer.capture = kept

    @torch.no_grad()
    def take(self) -> None:
        """Add up what the backward passes since the last call left at the layers."""
        counted = 0
        for layer in self._layers:
            captured, layer.capture = layer.capture or [], []
            for driven, grad in captured:
                samples = len(driven[0])
                counted = max(counted, samples)
                for tile in layer.tiles:
                    self._add(layer, tile, driven, grad, samples)
        self.samples += counted

    def _add(
        self, layer: AbstractAnalog, tile: Crossbar, driven: list[Tensor], grad: Tensor, n: int
    ) -> None:
        rows = layer.unfolded(driven, tile)
        found = self._sums.setdefault(tile.name, torch.zeros(tile.shape, device=rows.device))
        per = len(rows) // n
        if self.kind == "activity":
            found += rows.square().sum(0) / per
            self._charge(tile, rows.numel())
            return
        columns = layer.sensed(grad, tile)
        both = rows.reshape(n, per, -1), columns.reshape(n, per, -1)
        piece = max(1, _PIECE // tile.size)
        for x, d in zip(*(each.split(piece) for each in both), strict=True):
            products = torch.bmm(d.transpose(1, 2), x)
            found += (products.square() if self.kind == "fisher" else products.abs()).sum(0)
        self._charge(tile, tile.size * len(rows) + tile.size * n)

    def _charge(self, tile: Crossbar, operations: int) -> None:
        costs = self.chip.circuit.costs
        each = costs.get("multiply_j") + costs.get("add_j")
        self.chip.ledger.charge("importance", tile=tile.name, count=operations, energy_j=each)

    def result(self) -> Masks:
        """Mean importance of each weight by its tile's name, [columns, rows]."""
        if not self.samples:
            raise ConfigError(
                "no backward pass was seen; put the module in training mode, call backward on a "
                "loss and take() after it"
            )
        return {name: found / self.samples for name, found in self._sums.items()}


def shut(importance: Masks, share: float) -> Masks:
    """Masks that shut the most important share of each tile's weights.

    Args:
        importance: see :meth:`Importance.result`.
        share: in [0, 1]; of equals, those that come first.

    >>> shut({"t": torch.tensor([[1.0, 3.0], [2.0, 0.0]])}, 0.5)
    {'t': tensor([[1., 0.],
            [0., 1.]])}
    """
    _check_share(share)
    masks = {}
    for name, found in _measured(importance).items():
        mask = torch.ones_like(found)
        top = torch.sort(found.flatten(), descending=True, stable=True).indices
        mask.view(-1)[top[: round(share * found.numel())]] = 0.0
        masks[name] = mask
    return masks


def random_like(masks: Masks, seed: int) -> Masks:
    """The same values in random places: the control that every importance must beat."""
    seed, mixed = whole("seed", seed), {}
    for name, mask in _measured(masks, "a mask").items():
        order = torch.randperm(mask.numel(), generator=torch_rng(seed, "mask", name))
        mixed[name] = mask.flatten()[order.to(mask.device)].view_as(mask)
    return mixed


def gradual(importance: Masks, share: float, *, bits: int = 3) -> Masks:
    """Metaplastic step scales: the more a weight matters, the smaller its steps.

        scale = floor(top / (1 + importance / middle)) / top,  top = 2^bits - 1

    The middle is the importance above which the given share of a tile's weights lies, so these have
    less than half of their steps.

    Args:
        importance: see :meth:`Importance.result`.
        share: of weights with less than half of their steps, above 0 and below 1.
        bits: in which a scale is kept, 1 to 8.

    Source: steps that shrink with consolidation, as in Laborieux et al., Nat. Commun. 12, 2549
    (2021), for scales kept beside the cells.
    """
    _check_share(share)
    bits = whole("bits", bits)
    if not 1 <= bits <= 8 or share in (0.0, 1.0):
        raise ConfigError(
            f"gradual masks need bits of 1 to 8 and a share between 0 and 1, got {bits} and {share}"
        )
    top = 2**bits - 1
    masks = {}
    for name, found in _measured(importance).items():
        middle = torch.quantile(found.flatten().double(), 1.0 - share).clamp(min=1e-30)
        masks[name] = (top / (1.0 + found / middle)).floor().float().clamp_(max=top) / top
    return masks


def _check_share(share: float) -> None:
    if not 0 <= number("share", share) <= 1:
        raise ConfigError(f"a share of weights lies in [0, 1], got {share}; correct it")


def _measured(importance: Masks, what: str = "importance") -> Masks:
    """Finite numbers for each tile.

    Raises:
        ConfigError: no dict, or a value that is not finite.
        ShapeError: a value is no tensor of numbers.
    """
    instance("importance", importance, dict, "give what Importance.result() returned")
    found = {
        name: dense(f"{what} of {name}", one, dtype=torch.float32)
        for name, one in importance.items()
    }
    for name, one in found.items():
        if not one.numel():
            raise ConfigError(f"{what} of {name} holds no value; give one for each weight")
        bad = not_finite(one)
        if bad:
            raise ConfigError(f"{what} of {name} is not finite, {bad}; measure it on finite losses")
    return found


@final
@dataclass(frozen=True, kw_only=True)
class MaskCost:
    """What masks take up on the chip.

    Attributes:
        bits: kept in all, one scale for each weight.
        area_m2: at the buffer's area of a bit; None where that is not known.
        energy_j: of writing them once, at the buffer's energy of a bit.
        shut: share of weights that no pulse reaches.
    """

    bits: int = quantity("1")
    area_m2: float | None = quantity("m2")
    energy_j: float = quantity("J")
    shut: float = quantity("1")


def protect(chip: Chip, masks: Masks, *, bits: int = 1) -> MaskCost:
    """Put masks on tiles that learn; they are saved with the chip and replaced by the next ones.

    A weight's mask holds for all its cells. At 0 no pulse is meant for it, between 0 and 1 a pulse
    falls with that chance; tiles not named stay as they are. Neighbours' pulses still disturb it
    where ``ChipSpec.half_select`` is above 0.

    Args:
        chip: the tiles' chip.
        masks: by tile, values in [0, 1], [columns, rows].
        bits: in which each value is kept.

    Returns:
        What that costs; writing them is charged to the ledger as "mask".

    Raises:
        ConfigError: no tile of that name learns, or a mask has another shape or other values.
    """
    bits = whole("bits", bits, least=1, most=16)
    instance("chip", chip, Chip, "give what host() returned")
    instance("masks", masks, dict, "write {tile name: mask}")
    tiles = {t.name: t for layer in chip.layers.values() if layer.plastic for t in layer.tiles}
    for name in masks:
        if name not in tiles:
            learn = ", ".join(tiles) or "none"
            raise ConfigError(f"no tile {shown(name)} learns on this chip; it has {learn}")
    good = {name: shares(f"a mask for {name}", mask, tiles[name].shape)
            for name, mask in masks.items()}  # fmt: skip
    costs, kept, closed = chip.circuit.costs, 0, 0
    for name, mask in good.items():
        tiles[name].set_fence(mask)
        kept, closed = kept + bits * mask.numel(), closed + int((mask == 0).sum())
        each = costs.buffer_bit_j
        chip.ledger.charge("mask", tile=name, count=bits * mask.numel(), energy_j=each)
    known = "buffer_area_m2" in costs and "buffer_bits" in costs
    return MaskCost(
        bits=kept,
        area_m2=kept * costs.get("buffer_area_m2") / costs.get("buffer_bits") if known else None,
        energy_j=kept * costs.buffer_bit_j,
        shut=closed * bits / max(kept, 1),
    )
