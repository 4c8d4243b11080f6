"""How a layer is cut into tiles.

Columns never interact, so cutting along columns changes only names and counts; cutting along rows
gives partial sums that are converted one by one and added digitally.
"""

from collections.abc import Iterator

__all__ = ["partition"]


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
