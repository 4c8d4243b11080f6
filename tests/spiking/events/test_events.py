"""Products with events are the products of matrices, and lists of events hold what is not 0."""

import numpy as np
import pytest
import torch
from torch import Tensor

from clnf.spiking.events.kernels import CHUNK
from clnf.spiking.events.lists import (
    density,
    event_outer,
    event_product,
    events_of,
    packed,
    spotted,
    starts,
)

SIZES = [(1, 1, 1), (10, 5, 3), (7, 9, 16), (20, 40, 81), (33, 70, 64), (CHUNK + 9, 65, 130)]


def sparse(rows: int, columns: int, share: float = 0.1) -> Tensor:
    rng = torch.Generator().manual_seed(rows + columns)
    values = torch.randn(rows, columns, generator=rng)
    return values * (torch.rand(rows, columns, generator=rng) < share)


@pytest.mark.parametrize(("rows", "inputs", "columns"), SIZES)
def test_events_are_what_is_not_zero(rows: int, inputs: int, columns: int) -> None:
    x = sparse(rows, inputs)
    events = events_of(x.numpy())
    at = x.nonzero()
    assert int(events.start[-1]) == len(at) == int(starts(x.numpy())[-1])
    assert density(x) == len(at) / x.numel()
    assert events.index[:-1].tolist() == at[:, 1].tolist()
    assert events.value[:-1].tolist() == x[x != 0].tolist()
    assert np.diff(events.start).tolist() == (x != 0).sum(1).tolist()


@pytest.mark.parametrize(("rows", "inputs", "columns"), SIZES)
def test_products_are_those_of_matrices(rows: int, inputs: int, columns: int) -> None:
    x = sparse(rows, inputs, 0.3)
    events = events_of(x.numpy())
    w, g = torch.randn(inputs, columns), torch.randn(rows, columns)
    out = torch.full((rows, columns), float("nan"))
    event_product(events, packed(w), out.numpy())
    torch.testing.assert_close(out.double(), x.double() @ w.double(), atol=1e-5, rtol=1e-5)
    found = event_outer(events, g.numpy(), inputs)
    torch.testing.assert_close(found.double(), g.double().t() @ x.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rows", "inputs", "columns"), SIZES)
def test_one_pass_finds_the_same_events(rows: int, inputs: int, columns: int) -> None:
    x = sparse(rows, inputs, 0.3)
    wanted, found = events_of(x.numpy()), spotted(x.numpy(), 1.0)
    assert found is not None
    size = int(wanted.start[-1])
    assert found.start.tolist() == wanted.start.tolist()
    assert found.index[:size].tolist() == wanted.index[:size].tolist()
    assert found.value[:size].tolist() == wanted.value[:size].tolist()
    share = size / x.numel()
    assert spotted(x.numpy(), share) is not None
    assert size == 0 or spotted(x.numpy(), share - 1 / x.numel()) is None
    assert spotted(x.numpy(), -1.0) is None


def test_ones_need_no_values() -> None:
    x, w, g = (sparse(40, 70) != 0).float(), torch.randn(70, 130), torch.randn(40, 130)
    ones, some = spotted(x.numpy(), 1.0), events_of(x.numpy())
    assert ones is not None
    assert ones.value.size == 0
    out = [torch.empty(40, 130) for _ in range(2)]
    for events, one in zip((ones, some), out, strict=True):
        event_product(events, packed(w), one.numpy())
    assert torch.equal(*out)
    assert torch.equal(*(event_outer(events, g.numpy(), 70) for events in (ones, some)))
    x[3, 5] = 2.0
    twos = spotted(x.numpy(), 1.0)
    assert twos is not None
    assert twos.value.max() == 2.0


@pytest.mark.parametrize("columns", [1, 16, 64, 81])
def test_a_turned_matrix_is_laid_out_the_same(columns: int) -> None:
    w = torch.randn(columns, 37)
    assert np.array_equal(packed(w.t()), packed(w.t().contiguous()))


def test_a_missing_event_is_seen() -> None:
    x, w = sparse(20, 40, 0.3), torch.randn(40, 81)
    events = events_of(x.numpy())
    events.value[3] = 0.0
    out = torch.empty(20, 81)
    event_product(events, packed(w), out.numpy())
    assert not torch.allclose(out, x @ w, atol=1e-4)


def test_what_is_no_number_is_an_event() -> None:
    x = torch.zeros(2, 70)
    x[0, 3], x[1, 69] = float("nan"), float("inf")
    events = events_of(x.numpy())
    assert events.index[:2].tolist() == [3, 69]
    out = torch.empty(2, 4)
    event_product(events, packed(torch.ones(70, 4)), out.numpy())
    assert bool(out[0].isnan().all())
    assert bool(out[1].isinf().all())


def test_nothing_gives_nothing() -> None:
    x = torch.zeros(5, 30)
    events = events_of(x.numpy())
    out = torch.empty(5, 7)
    event_product(events, packed(torch.randn(30, 7)), out.numpy())
    assert not out.any()
    assert not event_outer(events, torch.randn(5, 7).numpy(), 30).any()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    x, w = sparse(300, 90, 0.2), torch.randn(90, 200)
    g, events = torch.randn(300, 200), events_of(x.numpy())

    def run() -> tuple[Tensor, Tensor]:
        out = torch.empty(300, 200)
        event_product(events, packed(w), out.numpy())
        return out, event_outer(events, g.numpy(), 90)

    torch.set_num_threads(1)
    one = run()
    torch.set_num_threads(4)
    assert all(torch.equal(a, b) for a, b in zip(one, run(), strict=True))
