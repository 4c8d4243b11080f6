"""Work over samples or neurons cut into parts, one a thread.

Every number that a kernel writes is made within one part, in an order that does not depend on
where the cuts are: any number of threads gives the bits of one.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

__all__ = ["over"]


def over(total: int, work: Callable[[int, int], None], *, least: int = 1) -> None:
    """Call ``work(first, last)`` for parts of ``range(total)`` on torch's number of threads.

    Args:
        total: how many units there are.
        work: does the units of ``[first, last)``, without the interpreter's lock for the most part.
        least: units that a part has at least; parts begin at multiples of it.

    >>> over(3, lambda first, last: print(first, last), least=3)
    0 3
    """
    units = -(-total // least)
    parts = max(1, min(torch.get_num_threads(), units))
    cuts = [min(total, units * k // parts * least) for k in range(parts + 1)]
    if parts == 1:
        work(0, total)
        return
    with ThreadPoolExecutor(parts) as pool:
        done = [pool.submit(work, a, b) for a, b in pairwise(cuts)]
    for one in done:
        one.result()
