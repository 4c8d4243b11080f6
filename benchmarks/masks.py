"""Write masks on a split stream: what they keep, what they cost, and a random mask beside them.

    python benchmarks/masks.py

The bundled digits in five parts of two digits each (0 and 1, 2 and 3, ...), one after the other;
the answer is always "even or odd", so that the parts share both outputs (domain-incremental). A
perceptron 196-64-2 on plastic tiles learns each part for STEPS batches by pulses; nothing of
earlier parts is shown again. After each part importance is measured on the array from 500 of its
digits, added up, and the masks shut the most important SHARE more of each tile.

``none`` has no mask; ``random`` shuts as many weights in random places (nested, as the others
are); ``gradual`` scales steps in 3 bits instead of shutting. ``half`` is the mean step of a
half-selected cell over that of a meant one. Accuracy is over the test digits of all parts at the
end; ``first`` of the first part alone, ``newest`` of each part right after it was learned, mean
over parts. Pulses are those of learning; energy is the ledger's of learning and of measuring
importance, by digital multipliers. Bits of masks are kept on the chip. Mean, least and largest of
three seeds.
"""

import json
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import tile_accuracy as tiles
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clnf.chip import ChipSpec, PulseRule, host
from clnf.chip.hosting import Chip
from clnf.chip.masks import Importance, Masks, gradual, protect, random_like, shut
from clnf.core.rng import torch_rng

SEEDS, STEPS, BATCH, MEASURED = (1, 2, 3), 150, 32, 500
MATERIALS = {"hfo2_array_optimised": 0.3, "ecram_li": 0.1}  # and their learning rates
ARMS = ("none", "random", "fisher", "sensitivity", "activity", "gradual")
SHARES, HALVES = (0.1, 0.05, 0.02), (0.0, 0.0001, 0.001)


def parts(name: str) -> list[tuple[Tensor, Tensor]]:
    """Five pairs of digits, with 1 for an odd one."""
    x, y = tiles.data()[name]
    return [(x[y // 2 == k], y[y // 2 == k] % 2) for k in range(5)]


def teach(net: nn.Module, optimizer: Any, part: tuple[Tensor, Tensor], seed: int) -> None:
    rng, (x, y) = torch_rng(seed, "batches"), part
    for _ in range(STEPS):
        picked = torch.randint(0, len(y), (BATCH,), generator=rng)
        optimizer.zero_grad()
        F.cross_entropy(net(x[picked]), y[picked]).backward()
        optimizer.step()


def measure(
    chip: Chip, net: nn.Module, part: tuple[Tensor, Tensor], kind: str
) -> dict[str, Tensor]:
    """Importance for one part; the Fisher's labels are drawn from the model's own answers."""
    rng, (x, _) = torch_rng(0, "labels"), part
    with Importance(chip, kind) as probe:  # type: ignore[arg-type]
        for piece in x[:MEASURED].split(100):
            out = net(piece)
            if kind == "fisher":
                drawn = torch.multinomial(out.detach().softmax(1), 1, generator=rng)[:, 0]
                F.cross_entropy(out, drawn, reduction="sum").backward()
            else:
                (0.5 * out.square().sum()).backward()
            probe.take()
    return probe.result()


def masks_of(arm: str, total: Masks, share: float, seed: int) -> Masks:
    if arm == "gradual":
        return gradual(total, share)
    if arm == "random":  # an order drawn once, so that what is shut stays shut
        ranks = {k: torch.arange(v.numel()).float().view_as(v) for k, v in total.items()}
        return shut(random_like(ranks, seed), share)
    return shut(total, share)


def learned(material: str, arm: str, share: float, half: float, seed: int) -> dict[str, float]:
    """One stream."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 2))
    row, _ = tiles.filled(material)
    spec = ChipSpec(plastic=row, relatives=False, pairs=1, half_select=half)
    chip = host(net, assign=lambda name, leaf: "plastic", seed=seed, spec=spec)
    optimizer = chip.optimizer(
        net.parameters(), lr=MATERIALS[material], rule=PulseRule(mode="stochastic")
    )
    total: Masks = {}
    newest, bits = [], 0
    test = parts("test")
    for k, part in enumerate(parts("train")):
        chip.ledger.lesson = f"part {k}"
        teach(net, optimizer, part, seed + 100 * k)
        newest.append(tiles.accuracy(net, test[k]))
        if arm != "none":
            kind = {"random": "activity", "gradual": "fisher"}.get(arm, arm)
            for name, found in measure(chip, net, part, kind).items():
                total[name] = total.get(name, 0) + found / found.mean().clamp(min=1e-30)
            cost = protect(
                chip, masks_of(arm, total, share * (k + 1), seed), bits=3 if arm == "gradual" else 1
            )
            bits = cost.bits
    spent = [row for row in chip.ledger.state() if row[1] != "setup"]
    return {
        "accuracy": statistics.mean(tiles.accuracy(net, part) for part in test),
        "first": tiles.accuracy(net, test[0]), "newest": statistics.mean(newest),
        "pulses": sum(row[3] for row in spent if row[2] == "pulse"),
        "energy_uj": sum(row[4] for row in spent) * 1e-12,
        "mask_bits": bits,
    }  # fmt: skip


def row(job: tuple[str, str, float, float]) -> dict[str, Any]:
    found = [learned(*job, seed) for seed in SEEDS]
    material, arm, share, half = job
    sums = {
        key: [round(f(one[key] for one in found), 4) for f in (statistics.mean, min, max)]
        for key in found[0]
    }
    return {"material": material, "mask": arm, "share": share, "half": half, **sums}


def main() -> None:
    start = time.perf_counter()
    jobs = [(name, "none", 0.0, half) for name in MATERIALS for half in HALVES]
    jobs += [
        (name, arm, share, half)
        for name in MATERIALS
        for share in SHARES
        for half in (HALVES if share == SHARES[0] else HALVES[:1])
        for arm in ARMS[1:]
    ]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for found in pool.map(row, jobs):
            print(json.dumps(found), flush=True)
    print(json.dumps({"seconds": round(time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
