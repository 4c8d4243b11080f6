"""What a lesson leaves alone, measured: answers before and after it, to the last bit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError
from clnf.core.units import quantity

__all__ = ["Change", "answers", "compared"]

Ask = Mapping[str, Callable[[], Tensor]]


@final
@dataclass(frozen=True, kw_only=True)
class Change:
    """How far a group's answers moved.

    Attributes:
        group: its name.
        outputs: numbers compared.
        changed: numbers of which any bit differs.
        largest: largest difference; infinite where a number is not finite on one side only.
        relative: that over the root-mean-square of the answers before.
    """

    group: str
    outputs: int = quantity("1")
    changed: int = quantity("1")
    largest: float = quantity("1")
    relative: float = quantity("1")

    @property
    def identical(self) -> bool:
        """Whether every bit is the same."""
        return self.changed == 0


@torch.no_grad()
def answers(chip: Chip, ask: Ask) -> dict[str, Tensor]:
    """What each group answers now, with the same draws of read noise at every call.

    Noise depends on a layer's count of reads. Each group is asked with all counts at zero, and
    counts and converters are put back afterwards: measuring leaves the chip as it was, but for the
    bill.

    Args:
        chip: the layers that are read.
        ask: by group, a function that reads the module on inputs of its own; the same each time.

    Returns:
        Copies of the answers, by group.
    """
    found: dict[str, Tensor] = {}
    for group, one in ask.items():
        layers = chip.layers.values()
        kept = [(layer.reads, [c.range for c in (layer.dac, *layer.adcs)]) for layer in layers]
        try:
            for layer in layers:
                layer.reads = 0
            found[group] = one().detach().clone()
        finally:
            for layer, (reads, ranges) in zip(layers, kept, strict=True):
                layer.reads = reads
                for converter, value in zip((layer.dac, *layer.adcs), ranges, strict=True):
                    converter.range = value
    return found


def compared(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, Change]:
    """How far each group's answers moved between two calls of :func:`answers`.

    Raises:
        ConfigError: other groups or other shapes were asked for.

    >>> one = {"a": torch.zeros(2), "b": torch.ones(2)}
    >>> changes = compared(one, {"a": torch.zeros(2), "b": torch.tensor([1.0, 1.5])})
    >>> changes["a"].identical, changes["b"].changed, changes["b"].largest
    (True, 1, 0.5)
    """
    shapes = [{name: tuple(x.shape) for name, x in side.items()} for side in (before, after)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"answers before and after must be to the same questions, got {shapes[0]} and "
            f"{shapes[1]}"
        )
    return {name: _change(name, before[name], after[name]) for name in before}


def _change(group: str, before: Tensor, after: Tensor) -> Change:
    same = (before == after) | (before.isnan() & after.isnan())
    apart = (after.double() - before.double()).abs().masked_fill(same, 0.0)
    largest = float(apart.nan_to_num(nan=float("inf")).max()) if apart.numel() else 0.0
    size = float(before.double().square().mean().sqrt()) if before.numel() else 0.0
    return Change(
        group=group,
        outputs=before.numel(),
        changed=int((~same).sum()),
        largest=largest,
        relative=largest / size if size else largest,
    )
