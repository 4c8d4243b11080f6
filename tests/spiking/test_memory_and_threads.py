"""Room that was let go of is taken again, never while in use; work is cut without gaps."""

import pytest
import torch

from clnf.spiking import memory
from clnf.spiking.memory import room
from clnf.spiking.threads import over

LARGE = torch.Size((2**10, 2**10))


def test_large_room_begins_at_64_bytes_and_is_taken_again() -> None:
    one = room(LARGE)
    assert one.data_ptr() % 64 == 0
    assert one.shape == LARGE
    place = one.data_ptr()
    del one
    again = room(LARGE)
    assert again.data_ptr() == place
    assert room(LARGE).data_ptr() != place  # that one is in use


def test_a_view_keeps_its_room() -> None:
    one = room(LARGE)
    place, row = one.data_ptr(), one[3]
    row.fill_(7.0)
    del one
    other = room(LARGE)
    assert other.data_ptr() != place
    other.fill_(1.0)
    assert bool((row == 7.0).all())


def test_what_autograd_holds_is_not_taken() -> None:
    x = room(LARGE).fill_(2.0).requires_grad_()
    y = x * x
    taken = [room(LARGE).fill_(9.0) for _ in range(3)]
    y.sum().backward()
    assert x.grad is not None
    assert bool((x.grad == 4.0).all())
    assert len(taken) == 3


def test_no_more_is_kept_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", {})
    monkeypatch.setattr(memory, "_KEPT", 2 * LARGE.numel())
    several = [room(LARGE) for _ in range(4)]
    del several
    assert [len(kept) for kept in memory._free.values()] == [2]


@pytest.mark.parametrize(("total", "least"), [(1, 1), (7, 1), (7, 16), (64, 16), (65, 16)])
def test_parts_cover_everything_once(total: int, least: int) -> None:
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        parts: list[tuple[int, int]] = []
        over(total, lambda a, b, to=parts: to.append((a, b)), least=least)  # type: ignore[misc]
        parts.sort()
        assert [n for a, b in parts for n in range(a, b)] == list(range(total))
        assert all(a % least == 0 for a, _ in parts)


def test_an_error_in_a_part_is_told() -> None:
    torch.set_num_threads(2)

    def work(first: int, last: int) -> None:
        raise ValueError(f"{first} to {last}")

    with pytest.raises(ValueError, match="to"):
        over(10, work)
