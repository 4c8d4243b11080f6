"""Hash normals: normal enough, independent, and the same bits in the kernel and its twin."""

import numpy as np
import pytest
import torch

from clnf.devices import kernels, reference
from clnf.devices.draws import hash_key, hash_normals, normals_at


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


def test_some_cells_draw_what_they_draw_among_all() -> None:
    all_of_them = hash_normals(1, ("x",), (5_000,))
    some = torch.tensor([0, 17, 4_999, 300])
    assert torch.equal(normals_at(1, ("x",), some), all_of_them[some])
    assert torch.equal(normals_at(1, ("x",), some, compiled=False), all_of_them[some])
