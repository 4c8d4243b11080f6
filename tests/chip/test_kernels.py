"""The compiled read path against its torch twin and against plain statistics."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.chip import kernels, plain_reads, reference
from clnf.chip.kernels import Columns, FlawedColumns
from clnf.devices.draws import hash_key

P, C = 500, 37


def data() -> tuple[Tensor, Tensor, Columns]:
    rng = torch.Generator().manual_seed(2)
    y = torch.randn(P, C, generator=rng)
    energy = torch.rand(P, 1, generator=rng)
    columns = Columns(*(torch.rand(C, generator=rng) + 0.5 for _ in range(3)))
    return y, energy, columns


def arrays(*values: Any) -> list[Any]:
    return [type(v)(*(t.numpy() for t in v)) if isinstance(v, tuple) else v.numpy() for v in values]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("top", [0.0, 127.0])
@pytest.mark.parametrize("watch", [0.0, 1.0])
def test_sense_equals_its_twin(exact: bool, top: float, watch: float) -> None:
    y, energy, columns = data()
    energy = energy.expand(P, C).contiguous() if exact else energy
    control = torch.tensor([60.0, 1 / 60.0, top, 1.0, 1.0, 1.0, watch])
    key = hash_key(4, "read", 0)
    mine, theirs = torch.ones(P, C), torch.ones(P, C)
    peak = kernels.sense(*arrays(y, energy, columns, control), key, mine.numpy())
    signed = torch.from_numpy(key.astype(np.int64))
    assert reference.sense(y, energy, columns, control, signed, theirs) == peak
    assert (peak > 127) == bool(watch and top)
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("carry", [0.0, 1.0])
@pytest.mark.parametrize("watch", [0.0, 1.0])
def test_flawed_sense_equals_its_twin(exact: bool, carry: float, watch: float) -> None:
    y, energy, columns = data()
    energy = energy.expand(P, C).contiguous() if exact else energy
    rng = torch.Generator().manual_seed(7)
    wrong = 1.0 + 0.05 * torch.randn(C, generator=rng), torch.randn(C, generator=rng)
    flawed = FlawedColumns(*columns, *wrong)
    control = torch.tensor([60.0, 1 / 60.0, 127.0, 1.0, 1.0, carry, watch, 0.7, 0.9])
    key = hash_key(4, "read", 0)
    mine, theirs = torch.ones(P, C), torch.ones(P, C)
    peak = kernels.sense_flawed(*arrays(y, energy, flawed, control), key, mine.numpy())
    signed = torch.from_numpy(key.astype(np.int64))
    assert reference.sense_flawed(y, energy, flawed, control, signed, theirs) == peak
    assert (peak > 127) == bool(watch)
    assert torch.equal(mine, theirs)
    if not carry:  # in place: what is read is overwritten only afterwards
        kernels.sense_flawed(*arrays(y, energy, flawed, control), key, y.numpy())
        assert torch.equal(y, mine)


@pytest.mark.parametrize("top", [0.0, 127.0])
def test_the_first_sum_may_be_written_over_the_currents(top: float) -> None:
    y, energy, columns = data()
    key, out = hash_key(4, "read", 0), torch.empty(P, C)
    control = torch.tensor([60.0, 1 / 60.0, top, 1.0, 1.0, 0.0, 0.0])
    kernels.sense(*arrays(y, energy, columns, control), key, out.numpy())
    kernels.sense(*arrays(y, energy, columns, control), key, y.numpy())
    assert torch.equal(y, out)


def test_flawed_converters_have_the_flaws_asked_for() -> None:
    """Offset, gain, noise and bow of one column each, seen through an ideal array."""
    rows, top = 60_000, 127.0
    columns = FlawedColumns(
        *(torch.tensor(v) for v in ([0.0] * 4, [1.0] * 4, [0.0] * 4)),
        torch.tensor([1.0, 1.05, 1.0, 1.0]),
        torch.tensor([2.25, 0.0, 0.0, 0.0]),
    )
    ramp = torch.linspace(-0.9, 0.9, rows)[:, None].expand(rows, 4).contiguous()

    def codes(noise: float, bow: float) -> Tensor:
        control = torch.tensor([top, 1 / top, top, 1.0, 0.0, 0.0, 0.0, noise, bow])
        out, energy = torch.empty(rows, 4), torch.ones(rows, 1)
        args = arrays(ramp, energy, columns, control)
        kernels.sense_flawed(*args, hash_key(3, "adc"), out.numpy())
        return (out.double() - ramp) * top

    error = codes(0.0, 0.0)
    assert error.mean(0).tolist() == pytest.approx([2.25, 0.0, 0.0, 0.0], abs=0.01)
    slope = (error * ramp).mean(0) / (ramp.double().square().mean(0) * top)
    assert slope.tolist() == pytest.approx([0.0, 0.05, 0.0, 0.0], abs=1e-3)
    # A converter that is fine still rounds: a variance of 1/12.
    assert float(error[:, 2].var()) == pytest.approx(1 / 12, rel=0.02)
    assert float(codes(1.5, 0.0)[:, 2].var()) == pytest.approx(1 / 12 + 1.5**2, rel=0.03)
    bowed = codes(0.0, 3.0)[:, 2]
    where = torch.tensor([-(3**-0.5), 0.0, 3**-0.5])
    near = [bowed[(ramp[:, 2] - u).abs() < 0.02].mean().item() for u in where.tolist()]
    assert near == pytest.approx([-3.0, 0.0, 3.0], abs=0.1)


def test_read_noise_has_the_variance_asked_for() -> None:
    rows = 40_000
    y, energy = torch.zeros(rows, 2), torch.full((rows, 1), 4.0)
    columns = Columns(torch.tensor([0.5, 1.5]), torch.ones(2), torch.zeros(2))
    control = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    out = torch.empty(rows, 2)
    draws = []
    for step in range(2):
        key = hash_key(4, "read", step)
        kernels.sense(*arrays(y, energy, columns, control), key, out.numpy())
        draws.append(out.double().clone())
    sigma = torch.tensor([1.0, 3.0], dtype=torch.float64)
    error = sigma.square() * (2 / rows) ** 0.5
    assert bool(((draws[0].var(0) - sigma.square()).abs() < 4.5 * error).all())
    # Another read is another draw, and the two columns do not know each other.
    assert abs(float((draws[0] * draws[1]).mean(0)[0])) < 4.5 * rows**-0.5
    assert abs(float((draws[0][:, 0] * draws[0][:, 1]).mean())) < 4.5 * 3 * rows**-0.5


@pytest.mark.parametrize("top", [0.0, 127.0])
@pytest.mark.parametrize("count", [3, 16, 20, 32])
def test_drive_equals_its_twin(top: float, count: int) -> None:
    y, _, columns = data()
    dac = torch.tensor([50.0, 1 / 50.0, top])
    power = columns.sigma[5 : 5 + count]
    results = []
    for module in (kernels, reference):
        out, energy = torch.empty(P, count), torch.empty(P)
        args = (y, power, dac, out, energy)
        peak = module.drive(*(arrays(*args) if module is kernels else args), 5)
        results.append((out, energy, peak))
    (out, energy, peak), (out2, energy2, peak2) = results
    assert torch.equal(out, out2)
    assert torch.allclose(energy, energy2, rtol=1e-5)
    assert peak == peak2
    if top:
        assert float(out.abs().max()) == pytest.approx(127 / 50)
        assert peak > 127
    else:
        assert torch.equal(out, y[:, 5 : 5 + count])


@pytest.mark.parametrize("serial", [1, 2, 3, 7])
@pytest.mark.parametrize("step", [2.0**-6, 0.0371])
def test_planes_of_digits_equal_their_twin_and_add_up(serial: int, step: float) -> None:
    codes = torch.arange(-127, 128).repeat(2)[: 15 * 33].view(15, 33)
    volts = codes * torch.tensor(step)
    power = torch.rand(33, generator=torch.Generator().manual_seed(2))
    whole = torch.zeros(15, 33)
    for low in range(0, 7, serial):
        plane = torch.tensor([step, 2.0**low, 2.0**serial])
        results = []
        for module in (kernels, reference):
            out, energy = torch.empty(15, 33), torch.empty(15)
            args = (volts, power, plane, out, energy)
            module.digits(*(arrays(*args) if module is kernels else args))
            results.append((out, energy))
        (out, energy), (out2, energy2) = results
        assert torch.equal(out, out2)
        assert torch.allclose(energy, energy2, rtol=1e-5)
        assert torch.allclose(energy, (power * out.square()).sum(1), rtol=1e-5)
        slow = [[(abs(int(c)) >> low & 2**serial - 1) << low for c in row] for row in codes]
        assert torch.equal((out / step).round(), torch.tensor(slow).float() * codes.sign())
        whole += out
    assert torch.equal(whole, volts) if step == 2.0**-6 else torch.allclose(whole, volts)


def test_a_vector_drives_alike_wherever_it_lies() -> None:
    y, _, columns = data()
    x, dac = y.numpy(), np.array([50.0, 1 / 50.0, 127.0], np.float32)
    energies = []
    for offset in range(17):
        moved = np.empty(x.size + 17, np.float32)[offset : offset + x.size].reshape(x.shape)
        moved[:] = x
        out, energy = np.empty_like(x), np.empty(P, np.float32)
        kernels.drive(moved, columns.sigma.numpy(), dac, out, energy, 0)
        energies.append(energy)
    assert all(np.array_equal(energy, energies[0]) for energy in energies)
    # Another order rounds otherwise, so equal bits do say something.
    assert not np.array_equal(energies[0], (columns.sigma.numpy() * out * out).sum(1))


@pytest.mark.parametrize("module", [kernels, reference])
def test_an_input_that_is_not_finite_asks_for_no_wider_range(module: Any) -> None:
    x = torch.zeros(4, 3)
    x[0, 0] = 1.0
    peaks = []
    for value in (0.0, torch.inf, -torch.inf, torch.nan, 100.0):
        x[2, 1] = value
        dac = torch.tensor([50.0, 1 / 50.0, 127.0])
        args = (x, torch.ones(3), dac, torch.empty(4, 3), torch.empty(4))
        peaks.append(module.drive(*(arrays(*args) if module is kernels else args), 0))
    assert peaks == [50, 50, 50, 50, 8 * 127]


def broken(x: Tensor) -> Tensor:
    """Some numbers made what no converter can hold."""
    x = x.clone()
    x[1, 2], x[2, 0], x[0, -1] = torch.nan, torch.inf, -torch.inf
    return x


@pytest.mark.parametrize("wide", [1, 16, 37, 64])
@pytest.mark.parametrize("gain", [3.0, 50.0, 400.0])
def test_rows_are_driven_sixteen_at_a_time_to_the_same_bits(wide: int, gain: float) -> None:
    rng = torch.Generator().manual_seed(int(gain) + wide)
    x, power = torch.randn(9, wide + 7, generator=rng), torch.rand(wide, generator=rng)
    dac = torch.tensor([gain, 1 / gain, 127.0])
    for values in (x, broken(x)):
        found = []
        for drive in (kernels.drive, plain_reads.drive_rows):
            out, energy = torch.empty(9, wide), torch.empty(9, 1)
            args = arrays(values, power, dac, out)
            found.append((drive(*args, energy.numpy()[:, 0], 5), out, energy))
        assert found[0][0] == found[1][0]
        for one, other in zip(found[0][1:], found[1][1:], strict=True):
            assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("wide", [3, 16, 37, 64])
@pytest.mark.parametrize("carry", [0.0, 1.0])
@pytest.mark.parametrize("watch", [0.0, 1.0])
def test_rows_are_sensed_sixteen_at_a_time_to_the_same_bits(
    wide: int, carry: float, watch: float
) -> None:
    rng = torch.Generator().manual_seed(wide)
    y, energy = torch.randn(9, wide, generator=rng), torch.rand(9, 1, generator=rng)
    columns = Columns(*(torch.rand(wide, generator=rng) + 0.5 for _ in range(3)))
    control = torch.tensor([60.0, 1 / 60.0, 127.0, 1.0, 1.0, carry, watch])
    for values in (y, broken(y)):
        found = []
        for sense in (kernels.sense, plain_reads.sense_rows):
            for key in (hash_key(4, "read", 0), hash_key(4, "read", 1)):
                out = values.clone()  # also the currents themselves
                args = arrays(out, energy, columns, control)
                found.append((sense(*args, key, out.numpy()), out))
        assert [peak for peak, _ in found[:2]] == [peak for peak, _ in found[2:]]
        for (_, one), (_, other) in zip(found[:2], found[2:], strict=True):
            assert np.array_equal(one, other, equal_nan=True)
        assert not np.array_equal(found[0][1], found[1][1])  # negative control: another key


@pytest.mark.parametrize("wired", [False, True])
def test_plane_sums_equal_their_twin(wired: bool) -> None:
    rng = torch.Generator().manual_seed(1)
    seen, noise = torch.randn(8, 300, generator=rng), torch.tensor([0.7, 0.01, 1.6])
    kept = torch.rand(8, 300, generator=rng) if wired else torch.empty(0, 0)
    results = []
    for module in (kernels, reference):
        weight, variance = torch.empty(300), torch.empty(300)
        args = (seen, kept, noise, weight, variance)
        module.plane_sums(*(arrays(*args) if module is kernels else args))
        results.append((weight, variance))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    read = (seen + 1.6) * kept if wired else seen
    expected = 0.7 / 8 * (read[0::2].sum(0) - read[1::2].sum(0))
    assert torch.allclose(results[0][0], expected, atol=1e-6)
