"""Verdicts follow from measurements, and cells that answer otherwise are seen."""

import math

import pytest
import torch
from torch import nn

from clnf.chip.hosting import Chip, host
from clnf.chip.spec import ChipSpec
from clnf.core.records import Quality
from clnf.devices.materials import material
from clnf.living.monitor import HardwareProbe, KeepKnowledge, MonitorParams, worst_fall

ORIGIN = Quality({"match": {"faces": 0.9, "flags": 1.0}})
MONITOR = KeepKnowledge(
    core=("faces", "flags"),
    origin=ORIGIN,
    params=MonitorParams(tolerance=0.2, mean_tolerance=0.1, learned_tolerance=0.4),
)


def after(**match: float) -> Quality:
    return Quality({"match": match})


def test_a_lesson_that_hurts_nothing_is_committed() -> None:
    verdict = MONITOR.judge(ORIGIN, after(faces=0.85, flags=1.0, hands=0.5))
    assert verdict.action == "commit"
    assert "faces" in verdict.reason


@pytest.mark.parametrize(
    ("match", "word"),
    [
        ({"faces": 0.6, "flags": 1.0}, "faces"),
        ({"faces": 0.78, "flags": 0.88}, "mean"),
        ({"faces": math.nan, "flags": 1.0}, "faces"),
    ],
)
def test_a_core_loss_is_rolled_back_and_named(match: dict[str, float], word: str) -> None:
    verdict = MONITOR.judge(ORIGIN, after(**match))
    assert verdict.action == "rollback"
    assert word in verdict.reason


def test_small_losses_cannot_add_up_as_the_core_is_held_against_its_first_measurement() -> None:
    once = after(faces=0.82, flags=0.95)
    assert MONITOR.judge(ORIGIN, once).action == "commit"
    twice = after(faces=0.74, flags=0.9)
    assert MONITOR.judge(once, twice).action == "rollback"


def test_a_concept_learned_earlier_is_held_against_the_lesson_before() -> None:
    before = after(faces=0.9, flags=1.0, hands=0.8)
    assert MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.5)).action == "commit"
    verdict = MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.3))
    assert verdict.action == "rollback"
    assert "hands" in verdict.reason


def test_what_a_commit_allowed_to_be_lost_is_named() -> None:
    before = after(faces=0.9, flags=1.0, hands=0.8, people=0.6)
    verdict = MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.5, people=0.6))
    assert verdict.reason == (
        "core held; later lessons within tolerance (largest fall: hands, 30% of at most 40%)"
    )
    assert MONITOR.judge(ORIGIN, ORIGIN).reason == "core held"


def test_a_concept_that_still_matches_but_looks_strange_is_rolled_back() -> None:
    origin = Quality({"match": {"faces": 1.0, "flags": 1.0}, "kid": {"faces": 0.02, "flags": 0.0}})
    monitor = KeepKnowledge(core=("faces", "flags"), origin=origin)
    near = Quality({"match": {"faces": 1.0, "flags": 1.0}, "kid": {"faces": 0.2, "flags": 0.1}})
    assert monitor.judge(origin, near).action == "commit"
    far = Quality({"match": {"faces": 0.9, "flags": 1.0}, "kid": {"faces": 0.8, "flags": 0.1}})
    verdict = monitor.judge(origin, far)
    assert verdict.action == "rollback"
    assert "KID" in verdict.reason


def test_the_worst_fall_is_against_the_origin_and_the_lesson_before() -> None:
    before = Quality({"match": {"faces": 0.5, "flags": 1.0, "hands": 0.9}})
    verdict = MONITOR.judge(before, after(faces=0.6, flags=1.0, hands=0.8))
    assert worst_fall(verdict, ORIGIN, ("faces", "flags")) == pytest.approx(0.3)
    verdict = MONITOR.judge(before, after(faces=0.9, flags=1.0, hands=0.4))
    assert worst_fall(verdict, ORIGIN, ("faces", "flags")) == pytest.approx(0.5)
    verdict = MONITOR.judge(before, after(faces=1.0, flags=1.0, hands=1.0))
    assert worst_fall(verdict, ORIGIN, ("faces", "flags")) <= 0.0


def learned(spec: ChipSpec) -> tuple[nn.Module, Chip]:
    """A small net whose weights are stored cells, programmed."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(96, 40), nn.ReLU(), nn.Linear(40, 24))
    chip = host(net, assign=lambda name, leaf: "core", seed=1, spec=spec)
    chip.program_core()
    return net, chip


def test_cells_that_drifted_are_seen_and_calibrated() -> None:
    _, chip = learned(ChipSpec())
    probe = HardwareProbe(chip)
    assert probe.off().keys() == chip.tiles.keys()
    # Negative control: nothing drifted yet, and read noise does not look like drift.
    assert max(probe.off().values()) < 0.01
    for seconds in (60.0, 86400.0, 30 * 86400.0):
        chip.advance(seconds)
        seen = probe.off()
        spent = chip.ledger.total(lesson="calibration").energy_aj
        done = probe.recalibrate(reads=1)
        assert min(seen.values()) > 0.05
        assert max(probe.off().values()) < 0.02
        assert done.off_after < done.off_before
        assert chip.ledger.total(lesson="calibration").energy_aj > spent


def test_looking_costs_less_than_calibrating_and_nothing_where_nothing_can_change() -> None:
    _, chip = learned(ChipSpec())
    chip.advance(3600.0)
    costs = []
    for act in (HardwareProbe(chip).off, chip.recalibrate):
        before = chip.ledger.total().energy_aj
        act()
        costs.append(chip.ledger.total().energy_aj - before)
    assert 0 < costs[0] < 0.4 * costs[1]  # larger tiles have more cells a column
    _, still = learned(ChipSpec(core="hfo2_1t1r"))
    before = still.ledger.total()
    assert HardwareProbe(still).off() == {}
    assert still.ledger.total() == before


def test_warmth_is_seen_as_drift_of_its_own_size() -> None:
    material_k = {"conductance_temperature_coefficient": 0.002}
    _, chip = learned(ChipSpec(core=material("gst_pcm").supply(**material_k)))
    chip.set_temperature(300.0)
    probe = HardwareProbe(chip)
    assert max(probe.off().values()) < 0.01
    chip.set_temperature(325.0)
    assert probe.off() == pytest.approx(dict.fromkeys(chip.tiles, 1 - 1 / 1.05), abs=0.02)


def test_what_cells_that_learn_answered_survives_a_restart() -> None:
    torch.manual_seed(0)
    spec = ChipSpec(plastic=material("hfo2_array_optimised").supply(retention_s=1e8))
    net = nn.Sequential(nn.Linear(16, 8))
    chip = host(net, assign=lambda name, leaf: "plastic", seed=1, spec=spec)
    probe, again = HardwareProbe(chip), HardwareProbe(chip)
    assert probe.off() == {}  # nothing was noted yet
    for tile in chip.tiles.values():
        tile.pulse(torch.randint(-40, 40, tile.shape))
    probe.note()
    again.load_state_dict(probe.state_dict())
    assert all(torch.equal(value, again.wanted()[name]) for name, value in probe.wanted().items())
    assert max(again.off().values()) < 0.01
    for tile in chip.tiles.values():
        tile.relax(0.8)
    assert min(again.off().values()) > 0.1
