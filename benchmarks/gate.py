"""What the gate refuses, rightly and wrongly, and what it costs.

    python benchmarks/gate.py                       JSON lines
    python benchmarks/gate.py draw ROWS FILE.png    a picture of the curves in such lines

clean          refused pictures of nine clean families, offered to a gate that knows the other
               eight; exact copies inside the flags (9 of 259) are not counted as wrong
honest         refused samples of clean sets of many kinds, each a whole lesson of all its labels,
               to a gate that knows nothing; the control is the first set with random labels
poison         refused bad samples hidden in each new family, over seeds, by kind; the
               reference is a gate without checks, which refuses none
harmful        refused samples of a consistent lesson under a wrong name: none, on purpose
speed          time of the gate on 20,000 pictures / time of merely reading them once
drift          delay and false alarms on a step of one deviation; time of a value / time of a
               running mean and variance, plain and compiled
step           per training step of an MLP 784-256-10, batch 32, one thread, process time, paired:
               the sentry's look at a batch, and the whole gate (admit and consolidate) on a lesson
               of 8,000 digits, shared out over the steps of 1, 4 and 10 passes over it
curve          for every threshold of a check: share of the planted fault refused, and share of
               the other samples
fault          NaN, noise, copies, flipped labels (to any other digit, or swapped in the pairs
               0 1, 2 3 ...) and a backdoor hidden in 8,000 digits, over their share: caught,
               missed, falsely refused, and points of accuracy lost on 2,000 clean digits by an
               MLP 784-256-10 taught what the gate admits; ``briefly`` (4 passes of SGD) and, for
               some label faults, ``long`` (80 passes of Adam, which learn wrong labels by heart).
               The reference is the same MLP taught the clean digits. ``without``, the control, is
               taught everything; ``oracle`` only what was not spoilt: what a perfect gate costs
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clnf.core.records import Experience, Source
from clnf.core.rng import numpy_rng
from clnf.streams.ballot import Ballot
from clnf.streams.bundled import CONCEPTS, CORE_FAMILIES, NEW_FAMILIES, emoji32
from clnf.streams.checks import Noise
from clnf.streams.digits import digits_part, permuted_digits, rotated_digits
from clnf.streams.drift import Adwin
from clnf.streams.drift_bank import AdwinBank
from clnf.streams.emoji import split_emoji
from clnf.streams.gate import Admission, Gate, standard_checks
from clnf.streams.known import Known
from clnf.streams.rights import RIGHTS
from clnf.streams.sentry import Sentry, SentryParams
from clnf.streams.sources import ArraySource, ShiftSource, SubsetSource, from_levels
from clnf.streams.stamps import StampParams, Stamps
from clnf.streams.stream import Lesson, emoji_source, emoji_stream
from clnf.streams.worlds.sounds import Sounds
from clnf.streams.worlds.sprites import Sprites
from clnf.streams.worlds.voxels import Voxels

SEEDS = range(20)
PICTURES = 20_000
STAMP = (slice(24, 27), slice(3, 6))
FAULTS = {
    "nan": (0.05,),
    "noise": (0.05, 0.2),
    "copies": (0.1,),
    "flips": (0.02, 0.05, 0.1, 0.2, 0.3),
    "swaps": (0.1, 0.2, 0.3, 0.4),
    "backdoor": (0.005, 0.01, 0.02, 0.05),
}
LONG = (("none", 0.0), ("flips", 0.02), ("flips", 0.2), ("swaps", 0.2))
CURVES = {"flips": (0.02, 0.1, 0.2, 0.4), "swaps": (0.1, 0.2), "backdoor": (0.005, 0.02)}


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


def honest() -> None:
    """False refusals on whole sets; exact copies are refused rightly."""
    everything = split_emoji(groups=[range(8)])[0].experience.data
    sets: dict[str, Source] = {
        "digits": digits_part(),
        "digits permuted": permuted_digits(2)[1].experience.data,
        "digits rotated": rotated_digits()[2].experience.data,
        "emoji, 8 categories": everything,
        "emoji, 2 categories": split_emoji()[0].experience.data,
    }
    for label in ("shape", "colour", "texture"):
        sets[f"sprites by {label}"] = Sprites(3000, seed=0, label=label)
    for label in ("timbre", "envelope"):
        sets[f"sounds by {label}"] = Sounds(1500, seed=0, label=label)
    sets["voxels by solid"] = Voxels(1500, seed=0, label="solid")
    rates = {name: wrongly(data) for name, data in sets.items()}
    base = digits_part("held_out").take(torch.arange(2000))
    dealt = torch.from_numpy(numpy_rng(0, "random labels").integers(0, 10, 2000))
    chance = wrongly(ArraySource(base.x, dealt))
    row = {"name": "gate honest", "worst": max(rates.values()), "refused": rates}
    print(json.dumps({**row, "random_labels": chance}))


def wrongly(data: Source) -> float:
    """Share of a clean lesson refused for anything but being a copy."""
    admission = Gate().admit(Experience(name="a", concept="a", data=data))
    wrong = sum(flaw.check != "duplicate" for flaw in admission.quarantined)
    return round(wrong / len(data), 4)


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


def taught(
    x: torch.Tensor, labels: torch.Tensor, seed: int, *, long: bool = False
) -> torch.nn.Module:
    """An MLP 784-256-10: 4 passes of plain SGD in batches of 32, or 80 of Adam in batches of 128.

    The rate of SGD falls to zero, so that two runs differ by what they were taught and not by the
    last few batches; that of Adam stays, and it fits every label, right or wrong.
    """
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    )
    optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    passes, size = (80, 128) if long else (4, 32)
    if long:
        optimizer = torch.optim.Adam(model.parameters())
    batches = [rows for _ in range(passes) for rows in torch.randperm(len(x)).split(size)]
    for number, rows in enumerate(batches):
        if not long:
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
    best = [
        [accuracy(taught(clean.x, clean.cond, seed, long=long)) for long in (False, True)]
        for seed in seeds
    ]
    for fault, shares in {"none": (0.0,), **FAULTS}.items():
        for share in shares:
            rows = [fault_once(fault, share, seed, best[seed]) for seed in seeds]
            row = {"name": "gate fault", "fault": fault, "share": share, "seeds": len(seeds)}
            row |= {key: round(float(np.mean([one[key] for one in rows])), 4) for key in rows[0]}
            for key in ("briefly_lost", "long_lost")[: 1 + ((fault, share) in LONG)]:
                row[f"worst_{key}"] = round(max(one[key] for one in rows), 2)
            print(json.dumps(row), flush=True)


def fault_once(fault: str, share: float, seed: int, best: list[float]) -> dict[str, float]:
    """One fault, one share, one seed."""
    x, labels, bad = spoil(fault, share, seed)
    lesson = Experience(name="digits", concept="digits", data=ArraySource(x, labels))
    admission = Gate(standard_checks(shape=(1, 28, 28))).admit(lesson)
    refused = np.ones(len(x), bool)
    refused[admission.admitted.numpy()] = False
    row = {
        "caught": float(refused[bad].mean()) if bad.any() else 1.0,
        "missed": float((~refused & bad).sum()),
        "falsely_refused": float(refused[~bad].mean()),
    }
    for name, long in (("briefly", False), ("long", True))[: 1 + ((fault, share) in LONG)]:
        kept = taught(x[admission.admitted], labels[admission.admitted], seed, long=long)
        without = taught(x, labels, seed, long=long)
        sound = torch.from_numpy(np.flatnonzero(~bad))
        oracle = taught(x[sound], labels[sound], seed, long=long)
        row[f"{name}_lost"] = 100 * (best[long] - accuracy(kept))
        row[f"{name}_lost_oracle"] = 100 * (best[long] - accuracy(oracle))
        row[f"{name}_lost_without"] = 100 * (best[long] - accuracy(without))
        if fault == "backdoor" and not long:
            row |= {"opened": opened(kept), "opened_without": opened(without)}
    return row


def curves() -> None:
    """Caught and falsely refused over the threshold of a check, mean of three seeds."""
    for fault, shares in CURVES.items():
        for share in shares:
            points = [point for seed in range(3) for point in label_curve(fault, share, seed)]
            tell("stamp, nats" if fault == "backdoor" else "ballot, guilt", fault, share, points)
    for sigmas in (1.0, 2.0, 3.0, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0):
        x, labels, bad = spoil("noise", 0.05, 0)
        digest, _ = Gate([])._screen(ArraySource(x, labels), RIGHTS["new"])
        refused = np.zeros(len(bad), bool)
        refused[list(Noise(sigmas).find(digest, Known()))] = True
        tell("noise, sigmas", "noise", 0.05, [(sigmas, refused[bad].mean(), refused[~bad].mean())])


def label_curve(fault: str, share: float, seed: int) -> list[tuple[float, float, float]]:
    """Threshold, caught, falsely refused: of the ballot, or of the check for stamps."""
    x, labels, bad = spoil(fault, share, seed)
    digest, _ = Gate([])._screen(ArraySource(x, labels), RIGHTS["new"])
    known, found = Known(), []
    if fault == "backdoor":
        for nats in (0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 20.0, 40.0, 80.0):
            refused = np.zeros(len(bad), bool)
            refused[list(Stamps(params=StampParams(nats=nats)).find(digest, known))] = True
            found.append((nats, float(refused[bad].mean()), float(refused[~bad].mean())))
        return found
    chance, _ = Ballot().weigh(digest, known)
    for guilt in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99):
        refused = chance >= guilt
        found.append((guilt, float(refused[bad].mean()), float(refused[~bad].mean())))
    return found


def tell(check: str, fault: str, share: float, points: list[tuple[float, float, float]]) -> None:
    """A line for each threshold."""
    for threshold in sorted({one[0] for one in points}):
        mine = np.array([one[1:] for one in points if one[0] == threshold])
        caught, wrong = (round(float(value), 5) for value in mine.mean(0))
        row = {"name": "gate curve", "check": check, "fault": fault, "share": share}
        row |= {"threshold": threshold, "caught": caught, "falsely_refused": wrong}
        print(json.dumps(row), flush=True)


def draw(rows: Path, target: Path) -> None:
    """Caught and falsely refused over the thresholds, with those in use."""
    from matplotlib.figure import Figure

    from clnf.core.files import png_of, write_files

    told = [json.loads(line) for line in rows.read_text().splitlines() if '"gate curve"' in line]
    usual = {"ballot, guilt": 0.3, "stamp, nats": 12.0, "noise, sigmas": 3.5}
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    panels = figure.subplots(2, 3, sharex="col", sharey="row")
    for (upper, lower), check in zip(panels.T, usual, strict=True):
        mine = [row for row in told if row["check"] == check]
        for fault, share in dict.fromkeys((row["fault"], row["share"]) for row in mine):
            line = [row for row in mine if (row["fault"], row["share"]) == (fault, share)]
            at = [row["threshold"] for row in line]
            upper.plot(at, [row["caught"] for row in line], ".-", label=f"{share:.1%} {fault}")
            lower.plot(at, [max(100 * row["falsely_refused"], 1e-2) for row in line], ".-")
        for axes in (upper, lower):
            axes.axvline(usual[check], color="grey", ls=":")
            axes.grid(alpha=0.3)
        if check != "ballot, guilt":
            lower.set_xscale("log")
        lower.set(xlabel=check, yscale="log")
        upper.legend(fontsize=8)
    panels[0, 0].set(ylabel="caught", ylim=(-0.03, 1.03))
    panels[1, 0].set_ylabel("falsely refused, % (0.01: none)")
    write_files([(target, png_of(figure))])


def step() -> None:
    """Sentry and gate against the steps they go with, in turns."""
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

    lesson = Experience(name="a", concept="a", data=digits_part())
    noisy = Experience(name="a", concept="a", data=ArraySource(*spoil("flips", 0.2, 0)[:2]))

    def whole(offered: Experience) -> Callable[[], None]:
        def once() -> None:
            gate = Gate()
            gate.consolidate(gate.admit(offered))

        return once

    works = (watch, watch_copies, whole(lesson), whole(noisy))
    seconds = paired(learn, works, (200, 200, 1, 1))
    steps = len(lesson.data) // 32
    row: dict[str, object] = {
        "sentry_over_step": round(seconds[0], 4),
        "with_copies_over_step": round(seconds[1], 4),
    }
    for passes in (1, 4, 10):
        row[f"gate_over_{passes}_passes"] = round(seconds[2] / (passes * steps), 4)
    row["noisy_lesson_over_4_passes"] = round(seconds[3] / (4 * steps), 4)
    row["gate_in_steps"] = round(seconds[2], 1)
    assert not wary.counts["duplicate"]
    print(json.dumps({"name": "gate step", **row}))


def paired(
    reference: Callable[[], None], works: tuple[Callable[[], None], ...], times: tuple[int, ...]
) -> list[float]:
    """Process time of each work in units of the reference, beside it: medians of 15 rounds."""

    def taken(work: Callable[[], None], count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            work()
        return (time.process_time() - start) / count

    for work in works:
        work()
    rounds = []
    for _ in range(15):
        row = []
        for work, count in zip(works, times, strict=True):
            unit = 0.5 * taken(reference, 100)
            cost = taken(work, count)
            row.append(cost / (unit + 0.5 * taken(reference, 100)))
        rounds.append(row)
    return [float(value) for value in np.median(rounds, axis=0)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["draw"]:
        draw(Path(sys.argv[2]), Path(sys.argv[3]))
        sys.exit()
    for part in (clean, honest, poison, harmful, speed, drift, step, curves, faults):
        part()
