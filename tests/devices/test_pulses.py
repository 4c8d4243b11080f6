"""The pulse kernel against its torch twin, bit for bit, and against plain-loop physics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.devices import pulse_reference, pulses
from clnf.devices.draws import hash_key
from clnf.devices.families import cell
from clnf.devices.pulses import Cells, PulseJob
from clnf.devices.response import Response, cell_traits, fresh_cells

N = 20_000
OPTIMISED = cell("hfo2_array_optimised")
FULL = OPTIMISED.need(OPTIMISED.response)
EVEN = Response(step_up=0.0949, step_down=0.0949, cycle_spread=0.4158)
SLOPED = replace(EVEN, step_up=0.03, step_down=0.02, shape_up=0.3, shape_down=0.7)
CONSTANT = replace(EVEN, step_up=0.02, step_down=0.02, shape_up=0.0, shape_down=0.0)
CURVED = Response(
    kind="exponential", step_up=0.01, step_down=0.01, shape_up=2.0, shape_down=2.0,
    factor_up=-2.0, factor_down=-1.0, scale=-0.5, offset=-0.5, cycle_spread=0.3,
)  # fmt: skip
POWERED = Response(
    kind="power", step_up=0.05, step_down=0.05, shape_up=1.5, shape_down=0.7, cycle_spread=0.3
)
LAWS = {"soft": FULL, "sloped": SLOPED, "constant": CONSTANT, "exponential": CURVED}
ENERGY = (1_000.0, 700.0, 0.25)  # of a pulse up at w = -1, per unit of w; a pulse down over it


def start_of(law: Response, count: int) -> Cells:
    return fresh_cells(law, cell_traits(law, count, 3), 3)


def run(
    law: Response, train: Tensor, fence: Tensor, *, start: Cells | None = None, op: int = 0
) -> tuple[Cells, tuple[int, int, int]]:
    cells = Cells(*(t.clone() for t in start or start_of(law, len(train))))
    result = pulses.pulse_cells(
        PulseJob(train.to(torch.int16).numpy(), fence.numpy(), 0),
        Cells(*(t.numpy() for t in cells)),
        law.law(*ENERGY).numpy(),
        cell_traits(law, len(train), 3).numpy(),
        hash_key(3, "op", op, words=6),
    )
    return cells, result


def mixed_job(n: int = N) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    train = torch.randint(-9, 10, (n,), generator=rng)
    fence = torch.rand(n, generator=rng)
    fence[fence < 0.2] = 0.0
    fence[fence > 0.6] = 1.0
    return train, fence


@pytest.mark.parametrize("name", [*LAWS, "power"])
def test_kernel_and_torch_reference_agree_bit_for_bit(name: str) -> None:
    law = (LAWS | {"power": POWERED})[name]
    train, fence = mixed_job()
    cells, result = run(law, train, fence)
    other = start_of(law, N)
    key = torch.from_numpy(hash_key(3, "op", 0, words=6).astype(np.int64))
    job, table = PulseJob(train.to(torch.int16), fence, 0), cell_traits(law, N, 3)
    assert pulse_reference.pulse_cells(job, other, law.law(*ENERGY), table, key) == result
    for mine, theirs in zip(cells, other, strict=True):
        # The power law takes logarithms, whose last bit may differ.
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-6 if name == "power" else 0.0)
    assert not torch.equal(cells.hidden, start_of(law, N).hidden)


def test_pulses_energy_and_wear_equal_a_slow_count() -> None:
    n = 400
    train, fence = mixed_job(n)
    fence = (fence > 0.3).float()
    start = start_of(FULL, n)
    _, (count, energy_aj, longest) = run(FULL, train, fence, start=start)
    slow_count = slow_energy = slow_longest = 0
    for i in range(n):
        for _ in range(abs(int(train[i]))):
            if fence[i] == 0.0:
                continue
            slow_count += 1
            up_aj = ENERGY[0] + ENERGY[1] * (float(start.seen[i]) + 1)
            slow_energy += round(max(up_aj if train[i] > 0 else up_aj * ENERGY[2], 0.0))
        slow_longest = max(slow_longest, abs(int(train[i])) * int(fence[i]))
    assert count == slow_count
    assert longest == slow_longest
    assert energy_aj == pytest.approx(slow_energy, rel=1e-4)


def test_any_split_of_the_cells_gives_the_same_bits() -> None:
    train, fence = mixed_job()
    whole, (count, energy, _) = run(FULL, train, fence)
    split, table = start_of(FULL, N), cell_traits(FULL, N, 3)
    sums = np.zeros(2, dtype=np.int64)
    for a, b in ((0, 7), (7, 9_999), (9_999, N)):
        part = Cells(*(t[a:b].numpy() for t in split))
        job = PulseJob(train[a:b].to(torch.int16).numpy(), fence[a:b].numpy(), a)
        mine = cell_traits(FULL, b - a, 3, first=a)
        assert torch.equal(mine, table[:, a:b])
        args = (job, part, FULL.law(*ENERGY).numpy(), mine.numpy())
        sums += pulses.pulse_cells(*args, hash_key(3, "op", 0, words=6))[:2]
    assert (int(sums[0]), int(sums[1])) == (count, energy)
    for mine, theirs in zip(whole, split, strict=True):
        assert torch.equal(mine, theirs)


def test_a_shut_fence_keeps_every_bit() -> None:
    train, _ = mixed_job()
    start = start_of(FULL, N)
    cells, result = run(FULL, train, torch.zeros(N), start=start)
    assert result == (0, 0, 0)
    for mine, theirs in zip(cells, start, strict=True):
        assert torch.equal(mine, theirs)
    opened, _ = run(FULL, train, torch.ones(N), start=start)
    assert not torch.equal(opened.hidden, start.hidden)


def test_a_half_open_fence_lets_half_of_the_pulses_through() -> None:
    _, (count, _, _) = run(FULL, torch.ones(N), torch.full((N,), 0.5))
    assert abs(count - N / 2) < 4.5 * (N / 4) ** 0.5


def event_by_event(w: float, n: int, law: Response, cells: int) -> np.ndarray:
    """One draw per coincidence, library normals: the reference semantics."""
    rng = np.random.default_rng(9)
    out = np.full(cells, w)
    for _ in range(abs(n)):
        if law.kind == "linear":
            bound, step = law.bound_max, law.step_up
            slope = law.shape_up
            if n < 0:
                bound, step, slope = law.bound_min, law.step_down, law.shape_down
            size = step * (1 - slope * out / bound)
        else:
            at = torch.from_numpy(out)
            size = law.mean_step(at, up=n > 0).numpy()
        out += np.sign(n) * size * (1 + law.cycle_spread * rng.standard_normal(cells))
    return out


def distances(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Differences of means and of variances, in standard errors."""
    mean = abs(a.mean() - b.mean()) / (a.var() / len(a) + b.var() / len(b)) ** 0.5
    fourth = [((x - x.mean()) ** 4).mean() - x.var() ** 2 for x in (a, b)]
    return mean, abs(a.var() - b.var()) / ((fourth[0] + fourth[1]) / len(a)) ** 0.5


@pytest.mark.parametrize("n", [1, 2, 5, -3, -7])
@pytest.mark.parametrize("w", [-0.4, 0.0, 0.3])
@pytest.mark.parametrize("law", [EVEN, SLOPED, CONSTANT], ids=["soft", "sloped", "constant"])
def test_mean_and_variance_equal_one_draw_per_coincidence(law: Response, n: int, w: float) -> None:
    cells = 60_000
    start = Cells(torch.full((cells,), w), torch.full((cells,), w), torch.zeros(cells).int())
    moved, _ = run(law, torch.full((cells,), n), torch.ones(cells), start=start)
    slow = event_by_event(w, n, law, cells)
    mean, variance = distances(moved.hidden.double().numpy(), slow)
    assert mean < 4.5
    assert variance < 4.5


def test_the_moment_check_sees_the_common_approximation() -> None:
    """Control: n linear steps with one sqrt(n) draw, as dense kernels often do, is caught."""
    cells, n, w = 60_000, 5, 0.3
    rng = np.random.default_rng(4)
    step = EVEN.step_up * (1 - w)
    linear = w + step * (n + EVEN.cycle_spread * n**0.5 * rng.standard_normal(cells))
    mean, variance = distances(linear, event_by_event(w, n, EVEN, cells))
    assert mean > 10
    assert variance > 10


@pytest.mark.parametrize("n", [12, -9])
@pytest.mark.parametrize("law", [CURVED, POWERED], ids=["exponential", "power"])
def test_curved_steps_follow_the_mean_path_to_first_order_in_their_noise(
    law: Response, n: int
) -> None:
    cells, w = 60_000, 0.1
    start = Cells(torch.full((cells,), w), torch.full((cells,), w), torch.zeros(cells).int())
    moved, _ = run(law, torch.full((cells,), n), torch.ones(cells), start=start)
    slow = event_by_event(w, n, law, cells)
    travelled = abs(slow.mean() - w)
    assert abs(float(moved.hidden.double().mean()) - slow.mean()) < 0.01 * travelled
    assert float(moved.hidden.double().std()) == pytest.approx(slow.std(), rel=0.04)
    # Control: as many steps of the first one's size would have been seen.
    first = float(law.mean_step(torch.tensor(w), up=n > 0))
    assert abs(abs(n) * first - travelled) > 0.01 * travelled


def test_write_noise_is_drawn_at_each_pulse_and_rests_between() -> None:
    ones, law = torch.ones(N), replace(FULL, dead_fraction=0.0)
    first, _ = run(law, ones, ones)
    second, _ = run(law, -ones, ones, start=first, op=1)
    noise1, noise2 = first.seen - first.hidden, second.seen - second.hidden
    sigma = 1.4113 * 0.0949
    assert float(noise1.std()) == pytest.approx(sigma, rel=0.02)
    assert abs(float((noise1 * noise2).mean())) < 4.5 * sigma**2 / N**0.5
    rested, _ = run(law, 0 * ones, ones, start=first, op=2)
    assert torch.equal(rested.seen, first.seen)
