"""Digits and spoken vowels, taught in four ways, without limits, under each chip's, and on chips.

    python benchmarks/spiking_rules.py                        JSON lines, all runs
    python benchmarks/spiking_rules.py run SET WAY CHIP SEED  one run; CHIP+ learns by itself
    python benchmarks/spiking_rules.py rates SET WAY CHIP     how a learning rate was chosen
    python benchmarks/spiking_rules.py into FILE              runs that the file lacks, added to it
    python benchmarks/spiking_rules.py table FILE             runs of a file as a table
    python benchmarks/spiking_rules.py section FILE           the same as a section of RESULTS.md

The sets are those of ``peers/spiking_sets.py`` (vowels where CLNF_KLETTRES names the folder of
``clnf data get klettres``), the ways those of ``peers/spiking_ways.py``; 196-128-10 cells for
digits, 16-64-5 for vowels, the class that spikes most is the answer. Learning ``off`` a chip:
floats on a host, the chip's limits in each run forward, straight through; ``on`` it: whole steps of
the chip's weights and nothing finer, the chip's traces. ``accuracy`` is of the chip's whole numbers
(``deploy``) or of floats; where a chip cannot hold the net or learn so, ``why`` says why and there
is no accuracy. ``logistic`` is regression on the counts of events of each channel, ``logistic 5``
on those of five spans of time: the same features without spikes. ``chance`` names the most frequent
class always.

``synops`` are synaptic operations of one sample. ``chip_j`` is what it takes by the chip's own
published figures, cells and spikes included; None where there are none. ``any_j`` is what
the operations alone take on published digital chips, 1.54 to 45 pJ each. A lesson off the chip
costs a run forward (``chip_j``, or ``any_j`` without it) and ``lesson_ops`` multiplications and
additions of a host, 4.6 to 104.4 pJ each: ``lesson_j``. Learning on a chip: ``lesson_j`` is the run
forward by the chip's figures, None without them; traces, changes and writes (``writes`` a sample)
have no published figure on any chip or material here, so it is a lower end.

Rates are those of LADDER that name most tuning samples (seed 77) rightly after as many passes as
the runs have; of those within a standard error of the best, the smallest. ``rates`` prints them:
without limits for all learning off a chip (stdp also with 0.0003 for letters and 0.3 for digits,
which were worse), and on each chip that learns. Tuning has three quarters of the taught digits, and
for letters one language that no seed asks, so fewer samples a pass than the runs. Passes, the first
weights of digits and the halved range of grids of few steps were found on seed 77, too.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from peers.rows import command, mean, span
from peers.spiking_costs import MAC_J, SYNOP_J, lesson_ops
from peers.spiking_sets import Task, logistic, sets, task
from peers.spiking_ways import TEACHER, Lessons, Taught, net_of, right, under

from clnf.core.errors import ClnfError
from clnf.spiking.energy import Counts, bill, count, figures
from clnf.spiking.profiles import Constrained, check, profile, trace_format

SEEDS = (1, 2, 3)
WAYS = ("bptt", "eprop", "local", "stdp")
CELLS = ("memristive:cmo_hfox", "memristive:hfox_generic")
CHIPS = ("float", "loihi", "xylo", "speck", *CELLS)
PASSES = {"digits": (3, 1), "letters": (40, 20)}  # off a chip, on it
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1)
RATES = {
    ("digits", "bptt"): 0.01, ("digits", "eprop"): 0.01, ("digits", "local"): 0.03,
    ("digits", "stdp"): 0.1, ("letters", "bptt"): 0.003, ("letters", "eprop"): 0.003,
    ("letters", "local"): 0.01, ("letters", "stdp"): 0.001,
}  # fmt: skip
# On Loihi, on cells of 32 states and on cells of four.
RATES_ON = {
    ("digits", "eprop"): (0.01, 0.01, 0.003), ("digits", "local"): (0.03, 0.01, 0.003),
    ("digits", "stdp"): (0.01, 0.01, 0.01), ("letters", "eprop"): (0.001, 0.03, 0.01),
    ("letters", "local"): (0.01, 0.003, 0.01), ("letters", "stdp"): (0.003, 0.003, 0.01),
}  # fmt: skip
PRICED = {"loihi": "loihi", "xylo": "xylo", "speck": "speck"}
ARMS = [
    *((way, "float", "off") for way in ("logistic", "logistic 5", *WAYS)),
    *((way, chip, "off") for chip in CHIPS[1:] for way in WAYS),
    *((way, chip, "on") for chip in CHIPS[1:] for way in WAYS),
]


def rate_of(name: str, way: str, chip: str, on: bool) -> float:
    """The rate of an arm."""
    return RATES_ON[name, way][("loihi", *CELLS).index(chip)] if on else RATES[name, way]


def refusal(name: str, way: str, chip: str, place: str) -> str:
    """Why a chip cannot hold the net, or learn this way by itself; empty where it can."""
    net = net_of(task(name, 1), chip, 1)
    if chip != "float":
        lacks = [
            f"{one.limit}: {one.value} where it has {one.allowed}"
            for one in check(net, profile(chip)).findings
        ]
        if lacks:
            return f"{chip}: " + "; ".join(lacks)
    if place == "off":
        return ""
    if way == "bptt":
        return (
            f"{chip.partition(':')[0]}: gradients through time need all steps of all cells kept, "
            "and weights read backwards; no profile has a place for them"
        )
    found = under(net, chip, 1)
    assert found is not None
    if found.profile.trace_bits is None and not chip.startswith("memristive"):
        try:
            trace_format(found.profile)
        except ClnfError as error:
            return str(error)
    return ""


def costs(name: str, way: str, made: Taught, found: Task) -> dict[str, Any]:
    """Operations and joules of a sample, asked and taught."""
    x = found.events(found.asked)
    samples, parts = len(found.asked), count(made.chip or made.net, x)
    total = sum(parts.values(), Counts())
    synops = total.synaptic_operations / samples
    hidden, last = (one.spikes / samples for one in parts.values())
    spikes = hidden if way != "stdp" else last + len(x) / TEACHER
    ops = lesson_ops(way, (found.channels, found.hidden, found.classes), len(x), spikes)
    ops += synops * (way == "bptt")
    any_j = [synops * one for one in SYNOP_J]
    return {
        "events": float(x.sum()) / samples, "spikes": total.spikes / samples, "synops": synops,
        "chip_j": published(made.chip, total, samples), "any_j": any_j, "lesson_ops": ops,
    }  # fmt: skip


def published(chip: Constrained | None, total: Counts, samples: int) -> list[float] | None:
    """Joules of a sample by the chip's own figures."""
    if chip is None or chip.profile.name not in PRICED:
        return None
    found = bill(total, figures(PRICED[chip.profile.name]), samples=samples)
    if {"synaptic_operation_j", "active_update_j"} & found.unknown.keys():
        return None
    return [found.each.low, found.each.high]


def row_of(name: str, way: str, chip: str, place: str, seed: int) -> dict[str, Any]:
    """One run."""
    begun, found = time.process_time(), task(name, seed)
    row: dict[str, Any] = {"benchmark": "spiking_rules", "set": name, "way": way, "chip": chip}
    row |= {"learns": place, "seed": seed, "accuracy": None, "why": refusal(name, way, chip, place)}
    largest = found.y[found.asked].bincount().max()
    row["chance"] = round(float(largest) / len(found.asked), 4)
    if way.startswith("logistic"):
        row["accuracy"] = logistic(found, 5 if way.endswith("5") else 1)
    elif not row["why"]:
        on = place == "on"
        lessons = Lessons(way, found, chip, seed=seed, on=on)
        rate, passes = rate_of(name, way, chip, on), PASSES[name][on]
        made = lessons.teach(rate, passes)
        row |= {"rate": rate, "passes": passes, "accuracy": right(made, found)} | costs(
            name, way, made, found
        )
        if on:
            row["writes"] = made.writes / made.lessons
    return row | {"seconds": round(time.process_time() - begun, 1)}


def lesson_j(line: dict[str, Any], place: str) -> Any:
    """Joules of a lesson: a run forward, and a host's arithmetic where a host teaches."""
    if place == "on":
        return line["chip_j"]
    run = line["chip_j"] or line["any_j"]
    return [mean([a + line["lesson_ops"] * b]) for a, b in zip(run, MAC_J, strict=True)]


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those that are not there yet, seed by seed."""
    have = {tuple(one[key] for key in ("set", "way", "chip", "learns", "seed")) for one in done}
    for seed in SEEDS:
        for name in sets():
            for way, chip, place in ARMS:
                if (name, way, chip, place, seed) not in have:
                    yield row_of(name, way, chip, place, seed)


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Means over seeds."""
    told = ("benchmark", "set", "way", "chip", "learns", "seed", "why", "lesson_j")
    for name in ("digits", "letters"):
        for arm in ARMS:
            own = [one for one in rows if one["set"] == name]
            own = [one for one in own if (one["way"], one["chip"], one["learns"]) == arm]
            if not own:
                continue
            line = {key: mean([one[key] for one in own]) for key in own[0] if key not in told}
            each = [one["accuracy"] and round(one["accuracy"], 4) for one in own]
            line |= {"accuracy": each[0] and statistics.mean(each), "each": each}
            if "synops" in line:
                line["lesson_j"] = lesson_j(line, arm[2])
            head = dict(zip(("way", "chip", "learns"), arm, strict=True))
            yield {"benchmark": "spiking_rules", "set": name, **head, "why": own[0]["why"], **line}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Means over seeds as tables of a page: accuracy of each set, and what it costs."""
    lines = {(one["set"], one["chip"], one["learns"], one["way"]): one for one in summed(rows)}
    names = list(dict.fromkeys(key[0] for key in lines))
    for name in names:
        yield f"| {name}: chip | learns | " + " | ".join(WAYS) + " |"
        yield "| --- " * (2 + len(WAYS)) + "|"
        for place in ("off", "on"):
            for chip in CHIPS:
                own = [lines.get((name, chip, place, way)) for way in WAYS]
                if any(own):
                    shown = " | ".join(map(points, own))
                    yield f"| {chip.removeprefix('memristive:')} | {place} | {shown} |"
        yield ""
    yield "| set | chip | learns | way | operations | inference, nJ | any chip, nJ | lesson, uJ |"
    yield "| --- " * 8 + "|"
    for (name, chip, place, way), one in lines.items():
        if one["accuracy"] is None or "synops" not in one or chip not in ("float", "loihi"):
            continue
        more = " +" if place == "on" else ""
        own, spent = span(one["chip_j"], 1e-9), span(one["lesson_j"], 1e-6)
        yield (
            f"| {name} | {chip} | {place} | {way} | {one['synops']:.0f} | {own} "
            f"| {span(one['any_j'], 1e-9)} | {spent}{more} |"
        )


def points(one: dict[str, Any] | None) -> str:
    """Accuracy in percent with its ends over the seeds."""
    if one is None or one["accuracy"] is None:
        return "no" if one else ""
    low, high = 100 * min(one["each"]), 100 * max(one["each"])
    ends = f" ({low:.0f} to {high:.0f})" if len(one["each"]) > 1 else ""
    return f"{100 * one['accuracy']:.0f}{ends}"


def rates(name: str, way: str, chip: str) -> Iterator[dict[str, Any]]:
    """Accuracy on tuning samples by learning rate; CHIP+ learns by itself."""
    found, on = task(name, 77), chip.endswith("+")
    for rate in LADDER:
        lessons = Lessons(way, found, chip.removesuffix("+"), seed=77, on=on)
        made = lessons.teach(rate, PASSES[name][on])
        yield {"set": name, "way": way, "chip": chip, "rate": rate, "tuning": right(made, found)}


def main() -> None:
    """See the head of this script."""
    asked = sys.argv[1:]
    if asked[:1] == ["run"]:
        torch.set_num_threads(1)
        name, way, chip, seed = asked[1:]
        place = "on" if chip.endswith("+") else "off"
        print(json.dumps(row_of(name, way, chip.removesuffix("+"), place, int(seed))))
    elif asked[:1] == ["rates"]:
        torch.set_num_threads(1)
        for line in rates(*asked[1:]):
            print(json.dumps(line), flush=True)
    else:
        command("spiking_rules", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
