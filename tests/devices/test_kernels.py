"""The pulse kernel against its torch twin, bit for bit, and against plain-loop physics."""

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.devices import kernels, reference
from clnf.devices.kernels import Cells, PulseJob
from clnf.devices.soft_bounds import SoftBounds, fresh_cells, hash_key

N = 20_000
FULL = SoftBounds.of("hfo2_array_optimised")
EVEN = SoftBounds(
    step_up=0.0949,
    step_down=0.0949,
    cycle_spread=0.4158,
    conductance_min_s=5e-5,
    conductance_max_s=2.25e-4,
    pulse_v=1.5,
    pulse_s=1e-8,
)


def run(
    law: SoftBounds, pulses: Tensor, fence: Tensor, *, start: Cells | None = None, op: int = 0
) -> tuple[Cells, tuple[int, int, int]]:
    cells = Cells(*(t.clone() for t in start or fresh_cells(law, len(pulses), 3)))
    result = kernels.pulse_cells(
        PulseJob(pulses.to(torch.int16).numpy(), fence.numpy(), 0),
        Cells(*(t.numpy() for t in cells)),
        law.law().numpy(),
        hash_key(3, "traits", words=8),
        hash_key(3, "op", op, words=6),
    )
    return cells, result


def mixed_job(n: int = N) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    pulses = torch.randint(-9, 10, (n,), generator=rng)
    fence = torch.rand(n, generator=rng)
    fence[fence < 0.2] = 0.0
    fence[fence > 0.6] = 1.0
    return pulses, fence


def test_kernel_and_torch_reference_agree_bit_for_bit() -> None:
    pulses, fence = mixed_job()
    cells, result = run(FULL, pulses, fence)
    other = fresh_cells(FULL, N, 3)
    keys = (hash_key(3, "traits", words=8), hash_key(3, "op", 0, words=6))
    signed = [torch.from_numpy(k.astype(np.int64)) for k in keys]
    job = PulseJob(pulses.to(torch.int16), fence, 0)
    assert reference.pulse_cells(job, other, FULL.law(), *signed) == result
    for mine, theirs in zip(cells, other, strict=True):
        assert torch.equal(mine, theirs)


def test_pulses_energy_and_wear_equal_a_slow_count() -> None:
    law, n = FULL, 400
    pulses, fence = mixed_job(n)
    fence = (fence > 0.3).float()
    start = fresh_cells(law, n, 3)
    _, (count, energy_aj, longest) = run(law, pulses, fence, start=start)
    slow_count = slow_energy = slow_longest = 0
    for i in range(n):
        for _ in range(abs(int(pulses[i]))):
            if fence[i] == 0.0:
                continue
            slow_count += 1
            w = float(start.seen[i])
            g = law.conductance_min_s + (w + 1) / 2 * (
                law.conductance_max_s - law.conductance_min_s
            )
            slow_energy += max(law.pulse_v**2 * g * law.pulse_s * 1e18, 0.0)
        slow_longest = max(slow_longest, abs(int(pulses[i])) * int(fence[i]))
    assert count == slow_count
    assert longest == slow_longest
    assert energy_aj == pytest.approx(slow_energy, rel=1e-6)


def test_any_split_of_the_cells_gives_the_same_bits() -> None:
    pulses, fence = mixed_job()
    whole, (count, energy, _) = run(FULL, pulses, fence)
    split = fresh_cells(FULL, N, 3)
    sums = np.zeros(2, dtype=np.int64)
    for a, b in ((0, 7), (7, 9_999), (9_999, N)):
        part = Cells(*(t[a:b].numpy() for t in split))
        job = PulseJob(pulses[a:b].to(torch.int16).numpy(), fence[a:b].numpy(), a)
        keys = (hash_key(3, "traits", words=8), hash_key(3, "op", 0, words=6))
        sums += kernels.pulse_cells(job, part, FULL.law().numpy(), *keys)[:2]
    assert (int(sums[0]), int(sums[1])) == (count, energy)
    for mine, theirs in zip(whole, split, strict=True):
        assert torch.equal(mine, theirs)


def test_a_shut_fence_keeps_every_bit() -> None:
    pulses, _ = mixed_job()
    start = fresh_cells(FULL, N, 3)
    cells, result = run(FULL, pulses, torch.zeros(N), start=start)
    assert result == (0, 0, 0)
    for mine, theirs in zip(cells, start, strict=True):
        assert torch.equal(mine, theirs)
    opened, _ = run(FULL, pulses, torch.ones(N), start=start)
    assert not torch.equal(opened.hidden, start.hidden)


def test_a_half_open_fence_lets_half_of_the_pulses_through() -> None:
    _, (count, _, _) = run(FULL, torch.ones(N), torch.full((N,), 0.5))
    assert abs(count - N / 2) < 4.5 * (N / 4) ** 0.5


def event_by_event(w: float, n: int, law: SoftBounds, cells: int) -> np.ndarray:
    """One draw per coincidence, library normals: the reference semantics."""
    rng = np.random.default_rng(9)
    out = np.full(cells, w)
    bound, step = (law.bound_max, law.step_up) if n > 0 else (law.bound_min, -law.step_down)
    for _ in range(abs(n)):
        draw = 1 + law.cycle_spread * rng.standard_normal(cells)
        out += step * (1 - out / bound) * draw
    return out


def distances(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Differences of means and of variances, in standard errors."""
    mean = abs(a.mean() - b.mean()) / (a.var() / len(a) + b.var() / len(b)) ** 0.5
    fourth = [((x - x.mean()) ** 4).mean() - x.var() ** 2 for x in (a, b)]
    return mean, abs(a.var() - b.var()) / ((fourth[0] + fourth[1]) / len(a)) ** 0.5


@pytest.mark.parametrize("n", [1, 2, 5, -3, -7])
@pytest.mark.parametrize("w", [-0.4, 0.0, 0.3])
def test_mean_and_variance_equal_one_draw_per_coincidence(n: int, w: float) -> None:
    cells = 60_000
    start = Cells(torch.full((cells,), w), torch.full((cells,), w), torch.zeros(cells).int())
    moved, _ = run(EVEN, torch.full((cells,), n), torch.ones(cells), start=start)
    slow = event_by_event(w, n, EVEN, cells)
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


def test_write_noise_is_drawn_at_each_pulse_and_rests_between() -> None:
    ones, law = torch.ones(N), SoftBounds.of("hfo2_array_optimised", dead=False)
    first, _ = run(law, ones, ones)
    second, _ = run(law, -ones, ones, start=first, op=1)
    noise1, noise2 = first.seen - first.hidden, second.seen - second.hidden
    sigma = 1.4113 * 0.0949
    assert float(noise1.std()) == pytest.approx(sigma, rel=0.02)
    assert abs(float((noise1 * noise2).mean())) < 4.5 * sigma**2 / N**0.5
    rested, _ = run(law, 0 * ones, ones, start=first, op=2)
    assert torch.equal(rested.seen, first.seen)


@pytest.mark.parametrize("draw", [reference.gauss4, reference.gauss8])
def test_hash_normals_are_normal_enough_and_independent(draw: object) -> None:
    n = 400_000
    x = draw(torch.arange(n), 12, 34).double()  # type: ignore[operator]
    y = draw(torch.arange(n), 13, 34).double()  # type: ignore[operator]
    z = draw(torch.arange(n), 12, 35).double()  # type: ignore[operator]
    error = n**-0.5
    assert abs(float(x.mean())) < 4.5 * error
    assert abs(float(x.var()) - 1) < 4.5 * error * 2**0.5
    kurtosis = 3 - (0.3 if draw is reference.gauss4 else 0.15)
    assert float((x**4).mean()) == pytest.approx(kurtosis, abs=0.06)
    for a, b in ((x, y), (x, z), (x[1:], x[:-1]), (x[64:], x[:-64]), (x.square() - 1, y)):
        assert abs(float((a * b).mean())) < 5 * error


def test_fill_gauss_equals_its_twin() -> None:
    a, b, key = torch.empty(5_000), torch.empty(5_000), hash_key(1, "x")
    kernels.fill_gauss(a.numpy(), key, 17)
    reference.fill_gauss(b, torch.from_numpy(key.astype(np.int64)), 17)
    assert torch.equal(a, b)
