"""Two loops timed in turns in one process, so that a busy machine slows both alike."""

import json
import statistics
import time
from collections.abc import Callable

Arm = Callable[[], object]

STEPS, ROUNDS, WARM_UP = 25, 60, 3


def ratio(arm: Arm, reference: Arm) -> tuple[float, float, float]:
    """Median ratio of process time over rounds, and the median seconds a step of both."""
    pairs = []
    for number in range(WARM_UP + ROUNDS):
        if number % 2:
            mine, other = _block(arm), _block(reference)
        else:
            other, mine = _block(reference), _block(arm)
        pairs.append((mine, other))
    pairs = pairs[WARM_UP:]
    ratios = statistics.median(a / b for a, b in pairs)
    return ratios, *(statistics.median(side) for side in zip(*pairs, strict=True))


def _block(arm: Arm) -> float:
    """Process seconds per step."""
    start = time.process_time()
    for _ in range(STEPS):
        arm()
    return (time.process_time() - start) / STEPS


def main() -> None:
    """A loop against itself: how far from 1 this machine, as busy as it is, puts what is equal."""
    value, *_ = ratio(lambda: sum(range(10_000)), lambda: sum(range(10_000)))
    print(json.dumps({"equal_loops": round(value, 3)}))


if __name__ == "__main__":
    main()
