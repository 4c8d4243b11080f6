"""How soon a change is seen, how often one is seen where there is none, and what answering costs.

steady         alarms in 10,000 values of which nothing changes, over laws of the values; ours with
               the settings of River's ADWIN, and as it is used here
planted        a step or a ramp in the mean after 2,000 values: median delay, share seen within the
               next 2,000, alarms before it
speed          processor time of a value: ours in plain Python, ours compiled and fed value by
               value or as the gate feeds it (a hundred samples of five quantities at once), and
               River's ADWIN, fed value by value as it must be, which is the reference
lessons        what is news in a lesson of emoji or digits: a second half of the same label (false),
               another label's pictures under its name (right), a label never taught (right)
cells          a net on drifting cells for 40 lessons, a day apart: calibrated before each of them,
               calibrated where the probe finds drift, never. Joules, calibrations, error of the
               outputs over that right after programming. The reference is the first

River's KSWIN and Page-Hinkley stand beside them as published. No settings; a few minutes.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peers import river_drift
from torch import nn

from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.core.rng import numpy_rng
from clnf.living.monitor import HardwareProbe
from clnf.streams.bundled import CONCEPTS
from clnf.streams.digits import digits_part
from clnf.streams.drift import Adwin, AdwinParams
from clnf.streams.drift_bank import AdwinBank
from clnf.streams.drift_lessons import LessonWatch
from clnf.streams.gate import Gate
from clnf.streams.known import Digest
from clnf.streams.sources import SubsetSource
from clnf.streams.stream import emoji_source

Values = NDArray[np.float64]
Detect = Callable[[Values], list[int]]
STABLE, AFTER, LENGTH = 2000, 2000, 10_000
SEEDS, SLOW_SEEDS = 50, 5
LIKE_RIVER = AdwinParams(clock=32)  # delta 0.002, 5 buckets, 10 values of grace: River's own
RIVER, WHY = river_drift.detectors()
DAY_S, LESSONS = 86400.0, 40
TOLERANCE = 0.02


def say(**row: Any) -> None:
    """One line of the results."""
    print(json.dumps({"benchmark": "drift", **row}), flush=True)


def ours(params: AdwinParams) -> Detect:
    """Our compiled detector."""

    def detect(values: Values) -> list[int]:
        alarms = AdwinBank(["value"], params).feed(values[:, None])
        return [int(at) for at in np.flatnonzero(alarms)]

    return detect


def theirs(make: Callable[[], Any]) -> Detect:
    """One of River's, fed value by value, as it must be."""

    def detect(values: Values) -> list[int]:
        detector, found = make(), []
        for at, value in enumerate(values.tolist()):
            detector.update(value)
            if detector.drift_detected:
                found.append(at)
        return found

    return detect


def arms() -> Iterator[tuple[str, Detect, int]]:
    """Detectors by name, and over how many seeds."""
    yield "ours, as River's", ours(LIKE_RIVER), SEEDS
    yield "ours", ours(AdwinParams()), SEEDS
    if RIVER is None:
        say(part="peer", missing=WHY)
        return
    yield "River ADWIN", theirs(lambda: RIVER.ADWIN(delta=0.002)), SEEDS
    yield "River Page-Hinkley", theirs(RIVER.PageHinkley), SEEDS
    yield "River KSWIN", theirs(lambda: RIVER.KSWIN(seed=0)), SLOW_SEEDS


def draw(law: str, count: int, seed: int) -> Values:
    """Values of deviation one about a mean of zero, or coins."""
    rng = numpy_rng(seed, "drift", law)
    if law == "coins":
        return (rng.random(count) < 0.3).astype(np.float64)
    if law == "uniform":
        return np.asarray(rng.uniform(-(3**0.5), 3**0.5, count))
    if law == "heavy tails":
        return np.asarray(rng.laplace(0.0, 0.5**0.5, count))
    return np.asarray(rng.normal(0.0, 1.0, count))


def steady() -> None:
    """Alarms where nothing changes."""
    for name, detect, seeds in arms():
        row = {
            law: sum(len(detect(draw(law, LENGTH, seed))) for seed in range(seeds)) / seeds
            for law in ("normal", "uniform", "heavy tails", "coins")
        }
        say(part="steady", arm=name, seeds=seeds, alarms_in_10000=row)


def planted() -> None:
    """Delay of the first alarm after a change."""
    changes = {f"step {size}": np.full(AFTER, size) for size in (0.25, 0.5, 1.0, 2.0)}
    changes["ramp to 1"] = np.linspace(0.0, 1.0, AFTER)
    for name, detect, seeds in arms():
        for change, shift in changes.items():
            delays, before = [], 0
            for seed in range(seeds):
                values = draw("normal", STABLE + AFTER, seed)
                values[STABLE:] += shift
                found = detect(values)
                before += sum(at < STABLE for at in found)
                later = [at - STABLE + 1 for at in found if at >= STABLE]
                delays += later[:1]
            say(
                part="planted", arm=name, change=change, seeds=seeds,
                delay=float(np.median(delays)) if delays else None,
                seen=round(len(delays) / seeds, 3), false_before=round(before / seeds, 3),
            )  # fmt: skip


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor time of a call: least of some."""
    work()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def speed() -> None:
    """Time of a value."""
    values = draw("normal", LENGTH, 0)
    lesson = np.stack([draw("normal", LENGTH, seed) for seed in range(5)], axis=1)

    def plain() -> None:
        detector = Adwin(LIKE_RIVER)
        for value in values.tolist():
            detector.update(value)

    def compiled() -> None:
        bank = AdwinBank(["a", "b", "c", "d", "e"], LIKE_RIVER)
        for start in range(0, LENGTH, 100):
            bank.feed(lesson[start : start + 100])

    def one_by_one() -> None:
        bank = AdwinBank(["value"], LIKE_RIVER)
        for value in values[:, None, None]:
            bank.feed(value)

    found = {
        "ours, plain": seconds(plain, 5),
        "ours, compiled, value by value": seconds(one_by_one, 3),
        "ours": seconds(compiled, 15) / 5,
    }
    if RIVER is not None:
        found["River ADWIN"] = seconds(lambda: theirs(lambda: RIVER.ADWIN())(values), 15)
    base = found.get("River ADWIN")
    for name, taken in found.items():
        ratio = {} if base is None else {"ratio_to_river": round(taken / base, 3)}
        say(part="speed", arm=name, us_per_value=round(1e6 * taken / LENGTH, 4), **ratio)


def digest(label: int, name: str) -> Digest:
    """All samples of a label as the gate sees them."""
    gate = Gate(())
    if name in CONCEPTS or name == "mammals":
        return gate.know(emoji_source(name, label, "all"))
    source = digits_part()
    return gate.know(SubsetSource(source, torch.nonzero(source.cond == int(name)).flatten()))


def lessons() -> None:
    """What is called news."""
    for kind, names in (("emoji", (*CONCEPTS, "mammals")), ("digits", tuple("0123456789"))):
        known = {name: digest(1, name) for name in names}
        false = right = new = 0
        trials = 20
        for name, seed in itertools.product(names, range(trials)):
            one = known[name]
            order = numpy_rng(seed, "halves", name).permutation(len(one))
            watch = LessonWatch()
            watch.add(one.select(order[: len(one) // 2]))
            false += bool(watch.look(one.select(order[len(one) // 2 :][:100])))
        pairs = list(itertools.permutations(names, 2))
        for taught, offered in pairs:
            watch = LessonWatch()
            watch.add(known[taught])
            right += bool(watch.look(known[offered].select(np.arange(len(known[offered]))[:100])))
        for name in names:
            watch = LessonWatch()
            watch.add(known[name])
            other = known[name]
            watch_for = Digest(
                position=other.position, prints=other.prints, label=other.label + 1,
                features=other.features, summary=other.summary,
            )  # fmt: skip
            new += [one.kind for one in watch.look(watch_for)] == ["concept"]
        say(
            part="lessons", data=kind, false_news=round(false / (trials * len(names)), 4),
            lessons_of_the_same=trials * len(names), other_look_seen=round(right / len(pairs), 3),
            lessons_of_another=len(pairs), new_label_seen=new / len(names),
        )  # fmt: skip


def learned(seed: int) -> tuple[nn.Module, Chip]:
    """A net whose weights are stored cells."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(288, 128), nn.ReLU(), nn.Linear(128, 64))
    chip = host(net, assign=lambda name, leaf: "core", seed=seed, spec=ChipSpec(wires=None))
    chip.program_core()
    return net, chip


@torch.no_grad()
def cells() -> None:
    """What keeping cells calibrated costs, and what it is worth."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed, way in itertools.product(range(3), ("always", "where it drifted", "never")):
        net, chip = learned(seed)
        x = torch.randn(256, 288, generator=torch.Generator().manual_seed(seed))
        fresh, probe, done, errors = net(x), HardwareProbe(chip), 0, []
        start = chip.ledger.total(op="verify").energy_j
        for _ in range(LESSONS):
            chip.advance(DAY_S)
            if way == "always":
                chip.recalibrate()
                done += 1
            elif way == "where it drifted" and max(probe.off().values()) > TOLERANCE:
                probe.recalibrate(reads=1)
                done += 1
            errors.append(float((net(x) - fresh).norm() / fresh.norm()))
        spent = chip.ledger.total(op="verify").energy_j - start
        row = {"calibrations": done, "energy_j": spent, "error": float(np.mean(errors))}
        rows.setdefault(way, []).append(row)
    base = np.mean([row["energy_j"] for row in rows["always"]])
    for way, each in rows.items():
        means = {key: float(np.mean([row[key] for row in each])) for key in each[0]}
        ratio = round(means["energy_j"] / float(base), 3)
        say(part="cells", arm=way, lessons=LESSONS, seeds=3, ratio_to_always=ratio, **means)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for part in (steady, planted, speed, lessons, cells):
        part()
