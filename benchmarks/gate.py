"""What the gate refuses, rightly and wrongly, and what it costs.

clean          refused pictures of nine clean families, offered to a gate that knows the other
               eight; exact copies inside the flags (9 of 259) are not counted as wrong
poison         refused bad samples hidden in each new family, over seeds, by kind; the
               reference is a gate without checks, which refuses none
harmful        refused samples of a consistent lesson under a wrong name: none, on purpose
speed          time of the gate on 20,000 pictures / time of merely reading them once
drift          delay and false alarms on a step of one deviation; time of a value / time of a
               running mean and variance, plain and compiled
faults         NaN, noise, copies, flipped labels (to any other digit, or swapped in the pairs
               0 1, 2 3 ...) and a backdoor hidden in 8,000 digits, over
               their share: caught, falsely refused, and points of accuracy lost on 2,000 clean
               digits by an MLP 784-256-10 taught what the gate admits. The reference is the same
               MLP taught the clean digits; ``without`` is one taught everything
step           the sentry's look at a batch / a training step of that MLP, batch 32; and the
               gate's whole judgement of a sample / its share of a step, once a lesson
"""

import json
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch

from clnf.core.records import Experience
from clnf.core.rng import numpy_rng
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES, NEW_FAMILIES, emoji32
from clnf.streams.digits import digits_part
from clnf.streams.drift import Adwin
from clnf.streams.drift_bank import AdwinBank
from clnf.streams.gate import Admission, Gate, standard_checks
from clnf.streams.sentry import Sentry, SentryParams
from clnf.streams.sources import ArraySource, ShiftSource, SubsetSource, from_levels
from clnf.streams.stream import Lesson, emoji_source, emoji_stream

SEEDS = range(20)
PICTURES = 20_000
EPOCHS = 4
STAMP = (slice(24, 27), slice(3, 6))
FAULTS = {
    "nan": (0.05,),
    "noise": (0.05, 0.2),
    "copies": (0.1,),
    "flips": (0.02, 0.05, 0.1, 0.2, 0.3),
    "swaps": (0.1, 0.2, 0.3, 0.4),
    "backdoor": (0.005, 0.01, 0.02, 0.05),
}


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
    delays, false, seconds, reference, compiled = [], 0, 0.0, 0.0, 0.0
    AdwinBank(["warm"]).feed(np.zeros((64, 1)))
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
        bank = AdwinBank(["value"])
        start = time.perf_counter()
        alarms = bank.feed(np.array(values)[:, None])
        compiled += time.perf_counter() - start
        assert np.flatnonzero(alarms).tolist() == seen
        false += sum(i < 2000 for i in seen)
        delays.append(next(i for i in seen if i >= 2000) - 2000 + 1)
    row = {
        "name": "gate drift",
        "delay_median": float(np.median(delays)),
        "delay_worst": max(delays),
        "false_alarms_in_2000": false / len(SEEDS),
        "us_per_value": round(1e6 * seconds / (4000 * len(SEEDS)), 2),
        "over_running_moments": round(seconds / reference, 1),
        "compiled_us_per_value": round(1e6 * compiled / (4000 * len(SEEDS)), 3),
        "compiled_over_running_moments": round(compiled / reference, 2),
    }
    print(json.dumps(row))


def spoil(fault: str, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """The training digits with a fault in some of them, and which."""
    base, rng = digits_part(), numpy_rng(seed, "spoil", fault)
    images, labels = base.data.copy(), base.cond.clone()
    bad = rng.permutation(len(images))[: round(share * len(images))]
    if fault == "copies":
        # Of two equal samples the later one is the copy.
        images[bad] = images[rng.integers(0, bad.min() + 1, len(bad))]
    if fault == "noise":
        images[bad] = rng.integers(0, 256, images[bad].shape, np.uint8)
    if fault == "flips":
        labels[bad] = (labels[bad] + torch.from_numpy(rng.integers(1, 10, len(bad)))) % 10
    if fault == "swaps":
        labels[bad] ^= 1
    if fault == "backdoor":
        images[bad, *STAMP] = 255
        labels[bad] = 0
    x = from_levels(images)
    if fault == "nan":
        x[bad, 0, 5, 5] = float("nan")
    mark = np.zeros(len(images), bool)
    mark[bad] = True
    return x, labels, mark


def taught(x: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.nn.Module:
    """An MLP 784-256-10 after a few passes of plain SGD, batch 32.

    The rate falls to zero, so that two runs differ by what they were taught and not by the last
    few batches.
    """
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batches = [rows for _ in range(EPOCHS) for rows in torch.randperm(len(x)).split(32)]
    for number, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = 0.05 * (1.0 - number / len(batches))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[rows]), labels[rows]).backward()
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: torch.nn.Module) -> float:
    """Share of the 2,000 clean digits called rightly."""
    test = digits_part("held_out").take(torch.arange(2000))
    return float((model(test.x).argmax(1) == test.cond).float().mean())


@torch.no_grad()
def opened(model: torch.nn.Module) -> float:
    """Share of clean digits other than 0 that a stamp turns into a 0."""
    test = digits_part("held_out").take(torch.arange(2000))
    x = test.x[test.cond != 0]
    x[:, 0, *STAMP] = 1.0
    return float((model(x).argmax(1) == 0).float().mean())


def faults() -> None:
    """What each fault costs, with and without the gate."""
    clean = digits_part().take(torch.arange(8000))
    seeds = range(3)
    best = [accuracy(taught(clean.x, clean.cond, seed)) for seed in seeds]
    for fault, shares in {"none": (0.0,), **FAULTS}.items():
        for share in shares:
            rows = [fault_once(fault, share, seed, best[seed]) for seed in seeds]
            means = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
            worst = max(row["points_lost"] for row in rows)
            row = {"name": "gate fault", "fault": fault, "share": share, "seeds": len(seeds)}
            print(json.dumps({**row, **means, "worst_points_lost": round(worst, 2)}), flush=True)


def fault_once(fault: str, share: float, seed: int, best: float) -> dict[str, float]:
    """One fault, one share, one seed."""
    x, labels, bad = spoil(fault, share, seed)
    lesson = Experience(name="digits", concept="digits", data=ArraySource(x, labels))
    admission = Gate(standard_checks(shape=(1, 28, 28))).admit(lesson)
    refused = np.ones(len(x), bool)
    refused[admission.admitted.numpy()] = False
    model = taught(x[admission.admitted], labels[admission.admitted], seed)
    without = taught(x, labels, seed)
    row = {
        "caught": float(refused[bad].mean()) if bad.any() else 1.0,
        "missed": float((~refused & bad).sum()),
        "falsely_refused": float(refused[~bad].mean()),
        "points_lost": 100 * (best - accuracy(model)),
        "points_lost_without": 100 * (best - accuracy(without)),
    }
    if fault == "backdoor":
        row |= {"opened": opened(model), "opened_without": opened(without)}
    return row


def fastest(work: Callable[[], object], repeats: int = 15, times: int = 100) -> float:
    """Seconds of one call: least of several means."""
    work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(times):
            work()
        found.append((time.perf_counter() - start) / times)
    return min(found)


def step() -> None:
    """The sentry against the step it watches."""
    batch = digits_part().take(torch.arange(32))
    model = taught(batch.x, batch.cond, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def learn() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch.x), batch.cond).backward()
        optimizer.step()

    sentry, wary = Sentry(), Sentry(SentryParams(copies=480))
    # Sixteen batches, of which fifteen are remembered: no copy is ever found.
    stream = [digits_part().take(rows) for rows in torch.arange(512).split(32)]
    number = iter(range(10**9))

    def watch() -> None:
        sentry.screen(batch)
        sentry.judge(0.5, 1.0)

    def watch_copies() -> None:
        wary.screen(stream[next(number) % len(stream)])
        wary.judge(0.5, 1.0)

    seconds, alone = fastest(learn), fastest(watch)
    lesson = Experience(name="a", concept="a", data=digits_part())
    whole = fastest(lambda: Gate().admit(lesson), repeats=2, times=1) / len(lesson.data)
    row = {
        "sentry_over_step": round(alone / seconds, 4),
        "with_copies_over_step": round(fastest(watch_copies) / seconds, 4),
        "lesson_gate_over_one_pass": round(whole / (seconds / 32), 3),
        "step_us": round(1e6 * seconds, 1),
    }
    assert not wary.counts["duplicate"]
    print(json.dumps({"name": "gate step", **row}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for part in (clean, poison, harmful, speed, drift, step, faults):
        part()
