"""A stream of a hundred lessons: what is kept, and whether memory, time and learning stay flat.

    python benchmarks/continual_hundred.py             JSON lines
    python benchmarks/continual_hundred.py into FILE   those runs that the file lacks, added to it
    python benchmarks/continual_hundred.py lines FILE  JSON lines of the runs in a file
    python benchmarks/continual_hundred.py table FILE  the same as a table of a page
    python benchmarks/continual_hundred.py section FILE  the same as a section of RESULTS.md

Each lesson tells two looks of sprites apart (shape, colour and texture, anywhere, at any size and
turn): 512 pictures of 3x32x32 to learn, 128 to test, three passes at batch 32. Two outputs are
shared by all lessons (domain-incremental), nothing is told. SGD, memories of 500 samples filled
at ends of lessons, three seeds. Two networks: ``conv``, two layers of 16 and 32 channels, largest
of each quarter, 128-64-2, rate 0.05; and ``mlp``, 3072-128-128-2, rate 0.01, which must find each
look anew from pixels and so shows best whether it still can learn. ``fresh`` is a new network for
each lesson: what of a lesson can be learned at all. Continual backprop replaces units of the
linear layers.

    acc            mean over the hundred lessons at the end, percent
    fgt            mean over lessons of the best at any tenth lesson less that at the end, points
    new_first/_last  accuracy right after a lesson, mean of the first and of the last ten
    dormant        part of the last hidden layer's units that hardly answer, at the end
    rank           effective rank of that layer on 512 test pictures, at the end
    state_bytes    of a snapshot of learner, guards and memory after 10 lessons and after 100
    rss_growth_mb  of the process from lesson 10 to lesson 100
    time_ratio     median processor time of the last ten lessons by that of the first ten
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from continual_accuracy import spread
from peers.rows import command
from torch import Tensor, nn

from clnf.continual.classifier import Classifier
from clnf.continual.fisher import Fisher, FisherParams
from clnf.continual.guards import (
    DER,
    EWC,
    ContinualBackprop,
    DERParams,
    EWCParams,
    Rehearsal,
    RehearsalParams,
)
from clnf.continual.learner import Learner
from clnf.continual.memory import Reservoir
from clnf.continual.metrics import dormant_units, effective_rank
from clnf.core.protocols import Guard
from clnf.streams.scenario import LazyScenario
from clnf.streams.worlds.endless import sprite_scenario

SEEDS, LESSONS, SAMPLES, BATCH, PASSES, MEMORY = 3, 100, 256, 32, 3, 500
RATES = {"conv": 0.05, "mlp": 0.01}
ARMS = ("naive", "fresh", "continual backprop", "ewc", "er", "der++", "er, continual backprop")


def network(kind: str, seed: int) -> nn.Sequential:
    """One of the two, ending in linear layers."""
    torch.manual_seed(seed)
    if kind == "mlp":
        wide = (nn.Linear(3072, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2))
        return nn.Sequential(nn.Flatten(), *wide)
    seen = (nn.Conv2d(3, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
    pooled = (nn.AdaptiveMaxPool2d(2), nn.Flatten())
    return nn.Sequential(*seen, *pooled, nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2))


def guards_of(name: str, model: Classifier, seed: int) -> list[Guard]:
    """The guards of an arm."""
    found: list[Guard] = []
    if name.startswith("er"):
        params = RehearsalParams(samples=BATCH, coefficient=1.0)
        found.append(Rehearsal(Reservoir(MEMORY, seed=seed), params))
    if name == "der++":
        found.append(DER(Reservoir(MEMORY, seed=seed), model, DERParams(beta=1.0, keep="lesson")))
    if name == "ewc":
        fisher = Fisher(model, params=FisherParams(samples=128), seed=seed)
        found.append(EWC(fisher, EWCParams(strength=100.0, gamma=0.9)))
    if name.endswith("continual backprop"):
        assert isinstance(model.net, nn.Sequential)
        linear = [i for i, layer in enumerate(model.net) if isinstance(layer, nn.Linear)]
        layers, between = ([model.net[i + k] for i in linear[: len(linear) - k]] for k in (0, 1))
        found.append(ContinualBackprop(layers, between, seed=seed))
    return found


def answered(model: Classifier, scenario: LazyScenario, lesson: int) -> float:
    """Accuracy on a lesson's test pictures, in percent; they are made anew."""
    test = scenario[lesson].test
    batch = test.take(torch.arange(len(test)))
    model.eval()
    with torch.no_grad():
        return 100 * float((model(batch.x).argmax(1) == batch.cond).double().mean())


def resident() -> float:
    """Memory of the process, MB."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(one for one in text.splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def nbytes(state: dict[str, Any]) -> int:
    """Of the tensors of a snapshot."""
    tensors = [v for v in state.values() if isinstance(v, Tensor)]
    return sum(v.numel() * v.element_size() for v in tensors)


def health(model: Classifier, scenario: LazyScenario) -> tuple[float, float]:
    """Dormant units and effective rank of the last hidden layer."""
    tests = [scenario[i].test for i in range(LESSONS - 4, LESSONS)]
    x = torch.cat([test.take(torch.arange(len(test))).x for test in tests])
    assert isinstance(model.net, nn.Sequential)
    with torch.no_grad():
        h = model.net[:-1](x).numpy()
    return dormant_units(h), effective_rank(h)


def learner_of(kind: str, name: str, seed: int) -> tuple[Classifier, Learner]:
    """A network and what teaches it."""
    model = Classifier(network(kind, seed))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATES[kind])
    return model, Learner(model, optimizer, guards=guards_of(name, model, seed), seed=seed)


def measured(kind: str, name: str, seed: int) -> dict[str, Any]:
    """One run through the hundred lessons."""
    scenario = sprite_scenario(LESSONS, seed=seed, samples=SAMPLES)
    model, learner = learner_of(kind, name, seed)
    steps, new, seconds, best = PASSES * 2 * SAMPLES // BATCH, [], [], [0.0] * LESSONS
    size: list[int] = []
    held: list[float] = []
    for number in range(LESSONS):
        if name == "fresh":
            model, learner = learner_of(kind, name, seed)
        lesson, begun = scenario[number].experience, time.process_time()
        for _ in learner.lesson(lesson, steps=steps, batch_size=BATCH):
            pass
        learner.consolidate(lesson)
        seconds.append(time.process_time() - begun)
        new.append(answered(model, scenario, number))
        best[number] = new[-1]
        if number % 10 == 9:
            now = [answered(model, scenario, i) for i in range(number + 1)]
            best[: number + 1] = [max(pair) for pair in zip(best, now, strict=False)]
            size.append(nbytes(learner.state_dict()))
            held.append(resident())
    dormant, rank = health(model, scenario)
    lost = [a - b for a, b in zip(best[:-1], now[:-1], strict=True)]
    first, last = (statistics.median(part) for part in (seconds[:10], seconds[-10:]))
    return {
        "benchmark": "continual_hundred",
        "net": kind,
        "method": name,
        "seed": seed,
        "acc": round(statistics.mean(now), 2),
        "fgt": round(statistics.mean(lost), 2),
        "new_first": round(statistics.mean(new[:10]), 2),
        "new_last": round(statistics.mean(new[-10:]), 2),
        "dormant": round(dormant, 3),
        "rank": round(rank, 2),
        "state_bytes_10": size[0],
        "state_bytes_100": size[-1],
        "rss_growth_mb": round(held[-1] - held[0], 1),
        "time_ratio": round(last / first, 3),
        "seconds_per_lesson": round(statistics.median(seconds), 3),
        "seconds": round(sum(seconds), 1),
    }


def runs(done: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those not done yet, seed by seed."""
    there = {(one["net"], one["method"], one["seed"]) for one in done}
    for seed in range(SEEDS):
        for kind in RATES:
            for name in ARMS:
                if (kind, name, seed) not in there:
                    yield measured(kind, name, seed)


def summed(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One line a net and method: means over seeds, of accuracies the spread too."""
    for kind, name in dict.fromkeys((one["net"], one["method"]) for one in rows):
        mine = [one for one in rows if (one["net"], one["method"]) == (kind, name)]
        line: dict[str, Any] = {"benchmark": "continual_hundred", "net": kind, "method": name}
        line |= {"seeds": len(mine)}
        for key in ("acc", "fgt", "new_first", "new_last"):
            line |= spread(mine, key)
        for key in ("dormant", "rank", "time_ratio", "rss_growth_mb"):
            line[key] = round(statistics.mean(one[key] for one in mine), 3)
        line["state_bytes"] = [mine[0]["state_bytes_10"], mine[0]["state_bytes_100"]]
        yield line


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One table a net."""
    for kind in RATES:
        yield (
            f"\n| {kind} | all 100 at the end | forgotten | new, first ten | new, last ten | "
            "dormant | rank | time, last by first ten | snapshot, lesson 10 and 100 |"
        )
        yield "| --- " * 9 + "|"
        for o in (one for one in summed(rows) if one["net"] == kind):
            words = [f"{o[k]} ± {o[f'{k}_sd']}" for k in ("acc", "fgt", "new_first", "new_last")]
            sizes = ", ".join(f"{one / 1e6:.2f} MB" for one in o["state_bytes"])
            more = f"{o['dormant']} | {o['rank']:.1f} | {o['time_ratio']} | {sizes}"
            yield f"| {o['method']} | {' | '.join(words)} | {more} |"


def main() -> None:
    """Run, or print what was run."""
    command("continual_hundred", runs=runs, summed=summed, table=table)


if __name__ == "__main__":
    main()
