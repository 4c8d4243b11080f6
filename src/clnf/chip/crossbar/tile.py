"""How a layer is cut into tiles.

A weight is a sum of differential cells on planes; planes with even index count up, odd ones
down. Columns never interact, so cutting along columns changes only names and counts; cutting
along rows gives partial sums that are converted one by one and added digitally.
"""

from collections.abc import Iterator

from clnf.chip.crossbar.plastic import PlasticTile
from clnf.chip.crossbar.stored import StoredTile

__all__ = ["PlasticTile", "StoredTile", "Tile", "partition"]

Tile = StoredTile | PlasticTile


def partition(size: int, unit: int, limit: int) -> Iterator[slice]:
    """Cut ``size`` groups of ``unit`` lines into runs of at most ``limit`` lines.

    Yields slices of groups. A group larger than a tile gets a tile of its own, which then
    stands for several stacked ones.

    >>> [s.stop - s.start for s in partition(128, 9, 512)]
    [43, 43, 42]
    """
    most = max(limit // unit, 1)
    parts = -(-size // most)
    start = 0
    for part in range(parts):
        stop = start + (size - start + parts - part - 1) // (parts - part)
        yield slice(start, stop)
        start = stop
