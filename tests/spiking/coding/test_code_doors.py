"""What codes, their quality and files of events refuse, in one sentence each."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clnf.core.errors import ClnfError, ConfigError, DataError, ShapeError
from clnf.spiking.coding import (
    Latency,
    Phase,
    Population,
    Rate,
    Recording,
    SendOnDelta,
    quality,
    read_events,
    write_events,
)

NAN, INF = float("nan"), float("inf")
DT = 1e-3


@pytest.mark.parametrize("dt", [0.0, -1e-3, NAN, INF, "1 ms", None])
def test_every_code_takes_a_finite_step(dt: Any) -> None:
    z, x = torch.ones(4, 1), torch.ones(4, 1)
    for work in (
        lambda: Latency().encode([0.5], steps=4, dt_s=dt),
        lambda: Latency(law="log").encode([0.5], steps=4, dt_s=dt),
        lambda: Latency().decode(z, dt_s=dt),
        lambda: Rate().encode([0.5], steps=4, dt_s=dt, seed=0),
        lambda: Rate().decode(z, dt_s=dt),
        lambda: SendOnDelta().encode(x, dt_s=dt),
        lambda: quality(x, x, z, dt_s=dt),
        lambda: Recording.of(z, dt_s=dt),
        lambda: Recording.of(z, dt_s=DT).steps(dt_s=dt),
    ):
        with pytest.raises(ConfigError, match="dt_s must be"):
            work()


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_signals_and_numbers_are_finite(bad: float) -> None:
    x = torch.tensor([0.0, bad, 1.0, 2.0])
    with pytest.raises(DataError, match=r"signals are finite, got .* at \[1\]"):
        SendOnDelta().encode(x, dt_s=DT)
    with pytest.raises(DataError, match="signals are finite"):
        quality(x, torch.zeros(4), torch.zeros(4), dt_s=DT)
    with pytest.raises(DataError, match="numbers are finite"):
        Population().encode(x)


def test_the_quality_of_signals_that_do_not_vary() -> None:
    flat, none = torch.ones(4, 1), torch.zeros(4, 1)
    assert quality(flat, flat, none, dt_s=DT).snr_db == INF
    assert quality(flat, flat + 1, none, dt_s=DT).snr_db == -INF
    assert quality(flat, flat + 1, none, dt_s=DT).error_v == 1.0
    wave = torch.tensor([[1.0], [-1.0]])
    assert quality(wave, wave * 1.1, torch.zeros(2, 1), dt_s=DT).snr_db == pytest.approx(20, 1e-5)


def test_quality_takes_the_events_of_its_signals() -> None:
    x = torch.rand(4, 2)
    assert quality(x, x, torch.ones(4, 2, 2), dt_s=DT).events_hz == pytest.approx(2000.0)
    for events in (torch.ones(3, 2), torch.ones(4), torch.ones(4, 3)):
        with pytest.raises(ShapeError, match="events are those of the signals"):
            quality(x, x, events, dt_s=DT)
    with pytest.raises(ShapeError, match="signals have steps"):
        quality(x[:0], x[:0], x[:0], dt_s=DT)


@pytest.mark.parametrize("more", [{"low": -INF}, {"high": INF}, {"low": NAN}, {"overlap": INF}])
def test_fields_lie_in_a_finite_range(more: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="fields lie"):
        Population(**more)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="time constant"):
        Latency(tau_s=INF)


def test_decoders_take_counts_lists_and_words_of_truth() -> None:
    ones = torch.ones(8, 2, dtype=torch.int64)
    for z in (ones, ones > 0, ones.tolist(), ones.double()):
        assert Rate(highest_hz=500.0).decode(z, dt_s=DT).tolist() == [1.0, 1.0]  # type: ignore[arg-type]
        assert Latency().decode(z, dt_s=DT).tolist() == [1.0, 1.0]  # type: ignore[arg-type]
        assert Phase(bits=8).decode(z).tolist() == [255 / 256] * 2  # type: ignore[arg-type]
        assert Population(cells=2).decode(z).shape == (8,)  # type: ignore[arg-type]
        assert SendOnDelta(step_v=0.5).decode(z)[-1].tolist() == [4.0, 4.0]  # type: ignore[arg-type]
    for empty in (
        lambda: Rate().decode(torch.ones(0, 2), dt_s=DT),
        lambda: Latency().decode(torch.ones(0, 2), dt_s=DT),
        lambda: Phase().decode(torch.ones(0, 2)),
    ):
        with pytest.raises(ShapeError, match="spikes have steps"):
            empty()  # type: ignore[no-untyped-call]
    with pytest.raises(ShapeError, match="levels of 8 fields"):
        Population().decode(torch.ones(2, 7))


@pytest.mark.parametrize("bad", [NAN, INF, -1.0])
def test_decoders_are_given_spikes(bad: float) -> None:
    z = torch.zeros(8, 2)
    z[3, 1] = bad
    for decode in (
        lambda: Rate().decode(z, dt_s=DT),
        lambda: Latency().decode(z, dt_s=DT),
        lambda: Phase().decode(z),
    ):
        with pytest.raises(DataError, match=rf"finite and 0 or more, got {bad:.3g}.* at"):
            decode()  # type: ignore[no-untyped-call]
    if bad != -1.0:
        with pytest.raises(DataError, match="levels are finite"):
            Population().decode(torch.full((2, 8), bad))
        with pytest.raises(DataError, match=r"events are \+1, -1 or 0, got"):
            SendOnDelta().decode(z)
    z[3, 1] = 2.0
    assert Phase().decode(z)[1] > 0


@pytest.mark.parametrize("place", [3, "a", None])
def test_places_are_tuples(place: Any) -> None:
    with pytest.raises(ConfigError, match="place must be of class tuple"):
        Rate().encode([0.5], steps=4, dt_s=DT, seed=0, place=place)


def test_events_are_further_apart_than_a_short_refractory_time() -> None:
    x = torch.linspace(0, 10, 50)[:, None]
    for refractory_s, apart in ((0.0, 1), (0.4 * DT, 1), (1.0 * DT, 2), (3.0 * DT, 4)):
        code = SendOnDelta(step_v=0.01, refractory_s=refractory_s)
        assert int(code.encode(x, dt_s=DT)[:, 0].nonzero().diff(dim=0).min()) == apart


def test_refractory_times_of_too_many_steps_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than 2147483647 steps"):
        SendOnDelta(refractory_s=1.0).encode([0.0, 1.0], dt_s=1e-320)


@pytest.mark.parametrize("dt", [1e-6, 1.5e-6, 2.5e-6, 1e-5, 3.3e-5, 1e-3, 1 / 3])
def test_steps_of_a_microsecond_or_more_come_back(dt: float) -> None:
    events = torch.randint(-1, 2, (200, 3), generator=torch.Generator().manual_seed(1)).float()
    assert torch.equal(Recording.of(events, dt_s=dt).steps(dt_s=dt, steps=200), events)


@pytest.mark.parametrize("dt", [7e-7, 4e-7, 1e-7, 1e-300, 1e12])
def test_steps_that_would_not_come_back_are_refused(dt: float) -> None:
    with pytest.raises(ConfigError, match="do not come back from whole microseconds"):
        Recording.of(torch.ones(200, 3), dt_s=dt)


def test_recordings_are_made_of_events_alone() -> None:
    for bad in (2.5, NAN, INF, -2.0):
        with pytest.raises(DataError, match="events are"):
            Recording.of(torch.tensor([[0.0, bad]]), dt_s=DT)
    with pytest.raises(ShapeError, match="steps"):
        Recording.of(torch.tensor(1.0), dt_s=DT)
    assert Recording.of([[1], [-1]], dt_s=DT).sign.tolist() == [1, -1]  # type: ignore[arg-type]
    assert Recording.of(torch.zeros(0, 3), dt_s=DT).shape == (3,)


def test_recordings_that_would_fill_all_memory_are_refused() -> None:
    found = Recording.of(torch.ones(200, 3), dt_s=DT)
    with pytest.raises(ConfigError, match="more counts than can be held"):
        found.steps(dt_s=1e-15)
    huge = Recording(*found[:3], (2**40, 2**40))
    with pytest.raises(ConfigError, match="more counts than can be held"):
        huge.steps(dt_s=DT)
    late = found._replace(time_us=found.time_us + 2**62)
    with pytest.raises(DataError, match="last time"):
        write_events("late.npz", late)


@pytest.mark.parametrize(
    ("time", "unit"),
    [([5000, 1000], [0, 1]), ([-1, 5], [0, 1]), ([1, 5], [0, 3]), ([1, 5], [-1, 2]), ([1], [0, 1])],
)
def test_steps_of_a_damaged_recording_are_refused(time: list[int], unit: list[int]) -> None:
    for kind in (np.int64, np.uint64):
        if min(time) < 0 and kind is np.uint64:
            continue
        made = Recording(np.array(time, kind), np.array(unit), np.ones(len(unit), np.int8), (3,))
        with pytest.raises(DataError, match="the recording is no recording of events"):
            made.steps(dt_s=DT)
    good = Recording(np.array([1000, 5000]), np.array([0, 1]), np.ones(2, np.int8), (3,))
    assert good.steps(dt_s=DT).shape == (6, 3)


A = np.array
SIGN = np.array([1], np.int8)


@pytest.mark.parametrize(
    "bad",
    [
        Recording(A([1.5]), A([0]), SIGN, (3,)),
        Recording(A([NAN]), A([0]), SIGN, (3,)),
        Recording(A([1]), A([0.7]), SIGN, (3,)),
        Recording(A([1]), A([0]), A([1.0]), (3,)),
        Recording([1], [0], [1], (3,)),  # type: ignore[arg-type]
        Recording(A([1]), A([0]), SIGN, 3),  # type: ignore[arg-type]
        Recording(A([1]), A([0]), SIGN, (3.7,)),  # type: ignore[arg-type]
        Recording(A([2**63], np.uint64), A([0]), SIGN, (3,)),
        "abc",
        None,
    ],
)
def test_what_is_written_is_what_was_given(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(DataError):
        write_events(tmp_path / "a.npz", bad)
    assert not list(tmp_path.iterdir())
    write_events(tmp_path / "a.npz", Recording(A([1]), A([0]), SIGN, (3,)))
    assert read_events(tmp_path / "a.npz").time_us.tolist() == [1]


def test_damaged_archives_are_refused_whatever_is_wrong(tmp_path: Path) -> None:
    events = torch.randint(-1, 2, (50, 12), generator=torch.Generator().manual_seed(1))
    path, draw = tmp_path / "a.npz", random.Random(0)
    write_events(path, Recording.of(events, dt_s=DT))
    whole, kinds = path.read_bytes(), set()
    for n in range(400):
        content = bytearray(whole)
        for _ in range(1 + n % 3):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(content[: draw.randrange(len(content))] if n % 4 == 0 else content))
        try:
            read_events(path)
        except DataError as error:
            kinds.add(str(error).split("(")[1][:12])
    assert len(kinds) > 3


@pytest.mark.parametrize("path", [None, 3, b"a.npz"])
def test_files_have_names(path: Any) -> None:
    with pytest.raises(ClnfError, match="named by its path"):
        read_events(path)
