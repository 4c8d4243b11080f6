"""What guards with a memory share: rows put behind a batch, and where they stand."""

from dataclasses import dataclass
from typing import final

from clnf.core.errors import ConfigError
from clnf.core.records import Batch

__all__ = ["Rows", "behind", "check_keep"]


@final
@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where a guard's rows stand in the mixed batch; guards after it append behind them.

    Attributes:
        new: rows before this guard mixed, the step's own samples.
        old: remembered rows it put behind them.
    """

    new: slice
    old: slice


def behind(batch: Batch, old: Batch) -> tuple[Batch, Rows]:
    """The batch followed by remembered rows at weight 0: their loss is the guard's own penalty.

    So each term of a published loss stays a mean of its own, whatever the sizes.
    """
    old = old.to(batch.x.device)
    still = Batch(x=old.x, cond=old.cond, weight=old.weight.new_zeros(len(old)))
    size = len(batch)
    return Batch.cat([batch, still]), Rows(new=slice(0, size), old=slice(size, size + len(old)))


def check_keep(keep: str) -> None:
    """Refuse a policy of keeping that does not exist.

    Raises:
        ConfigError: it is neither "lesson" nor "batch".
    """
    if keep not in ("lesson", "batch"):
        raise ConfigError(f'a memory keeps per "lesson" or "batch", got "{keep}"')
