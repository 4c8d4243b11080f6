"""The spread of soft-bounds cells comes from the seed alone and follows the catalogue."""

import numpy as np
import pytest
import torch

from clnf.core.errors import DeviceLimitError
from clnf.devices import reference
from clnf.devices.soft_bounds import SoftBounds, fresh_cells, hash_key, hash_normals

N = 100_000
LAW = SoftBounds.of("hfo2_array_optimised")


def traits(law: SoftBounds, seed: int = 5) -> tuple[torch.Tensor, ...]:
    key = torch.from_numpy(hash_key(seed, "traits", words=8).astype(np.int64))
    return reference.cell_traits(torch.arange(N), law.law(), key)


def test_steps_spread_as_a_lognormal_that_keeps_its_mean() -> None:
    up, down, _, _ = traits(SoftBounds.of("hfo2_array_optimised", dead=False))
    log = up.double().log()
    assert float(log.std()) == pytest.approx(0.7829, rel=0.01)
    error = 0.0949 * (np.exp(0.7829**2) - 1) ** 0.5 / N**0.5
    assert abs(float(up.double().mean()) - 0.0949) < 4.5 * error
    assert torch.equal(up, down)


def test_bounds_keep_their_sign() -> None:
    _, _, upper, lower = traits(SoftBounds.of("hfo2_array_optimised", dead=False))
    assert float(upper.min()) >= 0.0
    assert float(lower.max()) <= 0.0
    assert float((upper - 1).square().mean().sqrt()) == pytest.approx(0.35, rel=0.02)


def test_dead_cells_are_as_frequent_as_measured_and_stuck_inside_their_bounds() -> None:
    up, _, upper, lower = traits(LAW)
    dead = up == 0
    error = (0.1348 * 0.8652 / N) ** 0.5
    assert abs(float(dead.double().mean()) - 0.1348) < 4.5 * error
    assert torch.equal(upper[dead], lower[dead])


def test_another_seed_gives_other_cells() -> None:
    assert not torch.equal(traits(LAW)[0], traits(LAW, seed=6)[0])
    assert torch.equal(traits(LAW)[0], traits(LAW)[0])


def test_fresh_cells_carry_one_draw_of_write_noise() -> None:
    cells = fresh_cells(SoftBounds.of("hfo2_array_optimised", dead=False), N, 5)
    assert float(cells.hidden.abs().max()) == 0.0
    assert float(cells.seen.std()) == pytest.approx(1.4113 * 0.0949, rel=0.01)
    assert int(cells.wear.sum()) == 0


def test_compiled_and_plain_cells_are_the_same_bits() -> None:
    mine, theirs = (fresh_cells(LAW, 5_000, 5, compiled=c) for c in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    a, b = (hash_normals(1, ("x", 2), (30, 40), compiled=c) for c in (True, False))
    assert torch.equal(a, b)


def test_the_ideal_law_has_steps_only() -> None:
    law = SoftBounds.of("hfo2_array", ideal=True)
    assert (law.step_up, law.cycle_spread, law.write_noise, law.dead_fraction) == (0.4622, 0, 0, 0)


@pytest.mark.parametrize("change", [{"step_up": 0.0}, {"dead_fraction": 1.0}, {"bound_min": 0.5}])
def test_impossible_laws_are_refused(change: dict[str, float]) -> None:
    fields = {name: getattr(LAW, name) for name in LAW.__dataclass_fields__}
    with pytest.raises(DeviceLimitError):
        SoftBounds(**(fields | change))


def test_hash_keys_differ_by_place() -> None:
    keys = {tuple(hash_key(1, "pulse", n, words=6)) for n in range(100)}
    assert len(keys) == 100
    assert hash_key(1, "a").dtype == np.uint32
