"""What the gate refuses, rightly and wrongly, and what it costs.

clean          refused pictures of nine clean families, offered to a gate that knows the other
               eight; exact copies inside the flags (9 of 259) are not counted as wrong
poison         refused bad samples hidden in each new family, over seeds, by kind; the
               reference is a gate without checks, which refuses none
harmful        refused samples of a consistent lesson under a wrong name: none, on purpose
speed          time of the gate on 20,000 pictures / time of merely reading them once
drift          delay and false alarms on a step of one deviation; time of a value / time of a
               running mean and variance
"""

import json
import time
from collections import Counter

import numpy as np
import torch

from clnf.core.records import Experience
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES, NEW_FAMILIES, emoji32
from clnf.streams.drift import Adwin
from clnf.streams.gate import Admission, Gate, standard_checks
from clnf.streams.sources import ArraySource, ShiftSource, SubsetSource
from clnf.streams.stream import Lesson, emoji_source, emoji_stream

SEEDS = range(20)
PICTURES = 20_000


def informed(known: tuple[str, ...]) -> Gate:
    """A gate that knows some families."""
    gate = Gate(standard_checks(shape=(3, 32, 32), names=CONCEPTS))
    for name in known:
        gate.know(emoji_source(name, CONCEPTS.index(name)))
    return gate


def clean() -> None:
    """False refusals by family."""
    rates, refused, offered = {}, 0, 0
    for name in CONCEPTS:
        gate = informed(tuple(other for other in CONCEPTS if other != name))
        data = emoji_source(name, CONCEPTS.index(name), "all")
        admission = gate.admit(Experience(name=name, concept=name, data=data))
        wrong = sum(flaw.check != "duplicate" for flaw in admission.quarantined)
        rates[name] = round(wrong / len(data), 4)
        refused, offered = refused + wrong, offered + len(data)
    share = round(refused / offered, 4)
    print(json.dumps({"name": "gate clean", "refused": share, "by_family": rates}))


def refusals(admission: Admission, truth: tuple[str, ...]) -> Counter[str]:
    """Refused samples by their true kind."""
    return Counter(truth[flaw.index] for flaw in admission.quarantined)


def poison() -> None:
    """Right refusals by kind, and good samples lost, with and without checks."""
    caught: Counter[str] = Counter()
    unchecked: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for name in NEW_FAMILIES:
        lesson = Lesson(name=name, family=name, concept=name, poisoned=True)
        for seed in SEEDS:
            stream = emoji_stream([lesson], seed=seed)
            truth = stream.truth[name]
            caught += refusals(informed(CORE_FAMILIES).admit(stream[0]), truth)
            unchecked += refusals(Gate([]).admit(stream[0]), truth)
            total += Counter(truth)
    rates = {kind: round(caught[kind] / total[kind], 4) for kind in sorted(total)}
    without = {kind: round(unchecked[kind] / total[kind], 4) for kind in sorted(total)}
    row = {"name": "gate poison", "refused": rates, "without_checks": without}
    print(json.dumps({**row, "samples": sum(total.values())}))


def harmful() -> None:
    """A consistent lie passes."""
    stream = emoji_stream([Lesson(name="harm", family="mammals", concept="faces")])
    admission = informed(CORE_FAMILIES).admit(stream[0])
    share = len(admission.quarantined) / (len(admission.quarantined) + len(admission.admitted))
    print(json.dumps({"name": "gate harmful lesson", "refused": round(share, 4)}))


def speed() -> None:
    """A large lesson of moved emoji under one name."""
    shifted = ShiftSource(ArraySource(emoji32().images, CONCEPTS.index("shapes")))
    index = torch.randperm(len(shifted), generator=torch.Generator().manual_seed(0))[:PICTURES]
    data = SubsetSource(shifted, index)
    gate = informed(CORE_FAMILIES)
    start = time.perf_counter()
    for chunk in torch.arange(PICTURES).split(512):
        data.take(chunk)
    reading = time.perf_counter() - start
    start = time.perf_counter()
    gate.admit(Experience(name="large", concept="shapes", data=data))
    seconds = time.perf_counter() - start
    row = {"pictures": PICTURES, "seconds": round(seconds, 2)}
    print(json.dumps({"name": "gate speed", **row, "over_reading": round(seconds / reading, 1)}))


def drift() -> None:
    """The detector on the step of the literature."""
    delays, false, seconds, reference = [], 0, 0.0, 0.0
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.normal(0, 1, 2000), rng.normal(1, 1, 2000)]).tolist()
        detector = Adwin()
        start = time.perf_counter()
        seen = [i for i, value in enumerate(values) if detector.update(value)]
        seconds += time.perf_counter() - start
        start = time.perf_counter()
        mean, spread = 0.0, 0.0
        for count, value in enumerate(values, start=1):
            gap = value - mean
            mean += gap / count
            spread += gap * (value - mean)
        reference += time.perf_counter() - start
        false += sum(i < 2000 for i in seen)
        delays.append(next(i for i in seen if i >= 2000) - 2000 + 1)
    row = {
        "name": "gate drift",
        "delay_median": float(np.median(delays)),
        "delay_worst": max(delays),
        "false_alarms_in_2000": false / len(SEEDS),
        "us_per_value": round(1e6 * seconds / (4000 * len(SEEDS)), 2),
        "over_running_moments": round(seconds / reference, 1),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for part in (clean, poison, harmful, speed, drift):
        part()
