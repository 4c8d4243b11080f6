"""The same chip without its compiled kernels, and on another device than the CPU."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from clnf.chip import reference
from clnf.chip.hosting import Chip, host
from clnf.chip.program import Verify
from clnf.chip.spec import ChipSpec
from clnf.chip.updates import PulseRule
from clnf.core.rng import torch_rng
from clnf.devices import pulse_reference

CPU = torch.device("cpu")
STOCHASTIC = PulseRule(mode="stochastic")
MIXED = PulseRule()


class Rig(NamedTuple):
    net: nn.Sequential
    chip: Chip
    optimizer: torch.optim.Optimizer


def kinds(name: str, leaf: nn.Module) -> Literal["core", "plastic"] | None:
    return {"0": "core", "2": "plastic", "5": "plastic"}.get(name)  # type: ignore[return-value]


def module() -> nn.Sequential:
    rng = torch.Generator().manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(12, 6, 3, padding=1),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(6 * 36, 5),
    )
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / max(p[0].numel(), 4) ** 0.5)
    return net


def rig(device: torch.device = CPU, rule: PulseRule = MIXED, **spec: Any) -> Rig:
    net = module().to(device)
    kind = ChipSpec(pairs=2, tile_rows=128, tile_columns=16, **spec)
    chip = host(net, assign=kinds, seed=1, spec=kind)
    chip.program_core()
    fence = torch.ones(net[5].weight.shape)
    fence[:, ::3], fence[:, 1::3] = 0.0, 0.5
    chip.set_fence("5", fence)
    chip.ledger.lesson = "first"
    return Rig(net, chip, chip.optimizer(net.parameters(), lr=1e-2, rule=rule))


def train(made: Rig, steps: range) -> list[float]:
    losses = []
    device = made.net[5].weight.device
    for step in steps:
        rng = torch_rng(9, "step", step)
        x, y = torch.randn(6, 3, 6, 6, generator=rng), torch.randn(6, 5, generator=rng)
        made.optimizer.zero_grad()
        loss = (made.net(x.to(device)) - y.to(device)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        made.optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def taught(device: torch.device = CPU, rule: PulseRule = MIXED, **spec: Any) -> tuple[Rig, Any]:
    made = rig(device, rule, **spec)
    return made, train(made, range(3))


def copied(value: Any) -> Any:
    """A tree of dicts with its tensors copied to the CPU."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return value.to("cpu", copy=True) if isinstance(value, Tensor) else value


def apart(mine: Chip, theirs: Chip, *, atol: float = 0.0) -> list[str]:
    """Names of what differs: whole numbers exactly, others by more than a tolerance."""
    found = []
    a, b = mine.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys()
    for key, value in a.items():
        if key == "ledger":
            same = value == b[key] if atol == 0.0 else _alike(value, b[key])
        elif key.endswith("/exponent"):  # from logarithms, whose last bit is the library's
            same = torch.allclose(value, b[key], rtol=1e-4, atol=1e-6)
        elif isinstance(value, Tensor) and value.is_floating_point():
            same = torch.allclose(value, b[key], rtol=0, atol=atol)
        else:
            same = torch.equal(value, b[key]) if isinstance(value, Tensor) else value == b[key]
        if not same:
            found.append(key.split("/")[-1])
    return sorted(set(found))


def _alike(mine: list[Any], theirs: list[Any]) -> bool:
    """Ledgers with the same rows, counts and times, whose energies agree to 1e-6."""
    return len(mine) == len(theirs) and all(
        a[:4] == b[:4] and a[5] == b[5] and a[4] == pytest.approx(b[4], rel=1e-6)
        for a, b in zip(mine, theirs, strict=True)
    )


def test_without_kernels_everything_is_the_same_bits() -> None:
    """Read noise is off: its energies are sums, which torch adds up in another order."""
    (mine, losses), (theirs, others) = (taught(kernels=k, read_noise="off") for k in (True, False))
    assert losses == others
    assert apart(mine.chip, theirs.chip) == []
    assert torch.equal(mine.net[5].weight, theirs.net[5].weight)
    assert mine.chip.ledger.total(lesson="first", op="pulse").count > 100


def _forget_wear(job: Any, cells: Any, *rest: Any) -> Any:
    wear = cells.wear.clone()
    done = PULSE(job, cells, *rest)
    cells.wear.copy_(wear)
    return done


def _no_fence(job: Any, *rest: Any) -> Any:
    return PULSE(job._replace(fence=torch.ones_like(job.fence)), *rest)


def _other_draw(job: Any, cells: Any, law: Any, traits: Any, key: Any) -> Any:
    return PULSE(job, cells, law, traits, key + 1)


def _round_down(x: Tensor, power: Tensor, dac: Tensor, out: Tensor, *rest: Any) -> int:
    peak = DRIVE(x, power, dac, out, *rest)
    out.sub_(1e-3 * float(dac[1]))
    return peak


PULSE, DRIVE = pulse_reference.pulse_cells, reference.drive
FAULTS: list[tuple[Any, str, Callable[..., Any], str]] = [
    (pulse_reference, "pulse_cells", _forget_wear, "wear"),
    (pulse_reference, "pulse_cells", _no_fence, "ledger"),
    (pulse_reference, "pulse_cells", _other_draw, "hidden"),
    (reference, "drive", _round_down, "hidden"),
]


@pytest.mark.parametrize(("place", "name", "fault", "where"), FAULTS)
def test_a_fault_in_a_twin_would_be_seen(
    place: Any,
    name: str,
    fault: Callable[..., Any],
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, _ = taught(read_noise="off")
    monkeypatch.setattr(place, name, fault)
    theirs, _ = taught(kernels=False, read_noise="off")
    assert where in apart(mine.chip, theirs.chip)
    # The twins are not what the kernels' side runs.
    again, _ = taught(read_noise="off")
    assert apart(mine.chip, again.chip) == []


@pytest.mark.parametrize("noise", ["off", "separable", "exact"])
def test_on_another_device_the_same_lesson_is_learned(noise: str, far: torch.device) -> None:
    (mine, losses), (theirs, others) = (taught(d, read_noise=noise) for d in (CPU, far))
    assert others == pytest.approx(losses, rel=1e-5)
    assert apart(mine.chip, theirs.chip, atol=1e-6) == []
    for layer in theirs.chip.layers.values():
        assert layer.weight.device == far
        for tile in layer.tiles:
            live = [v for v in tile.state().values() if isinstance(v, Tensor)]
            assert {value.device for value in live} == {far}
    other, _ = taught(far, read_noise=noise, verify=Verify(tolerance=0.02))
    assert "hidden" in apart(mine.chip, other.chip, atol=1e-6)


def test_random_trains_fall_alike_on_another_device(far: torch.device) -> None:
    """One step: there powers come from a series on one side, and cells agree to 1e-4."""
    made = [rig(device, STOCHASTIC) for device in (CPU, far)]
    for one in made:
        train(one, range(1))
    assert apart(made[0].chip, made[1].chip, atol=2e-4) == []
    assert made[0].chip.ledger.total(lesson="first", op="pulse").count > 100
    other = rig(CPU, STOCHASTIC)
    train(other, range(1, 2))
    assert {"hidden", "wear", "ledger"} <= set(apart(made[0].chip, other.chip, atol=2e-4))


def test_a_snapshot_lies_on_the_cpu_and_goes_on_anywhere(far: torch.device) -> None:
    made, _ = taught(far)
    memory = copied(made.optimizer.state_dict())
    state = made.chip.state_dict()
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    assert all(type(value) is Tensor and value.device == CPU for value in tensors)
    digital = copied(made.net.state_dict())
    ends = []
    for device in (far, CPU):
        again = rig(device)
        with torch.no_grad():  # load_state_dict refuses torch's meta device, which we pretend on
            for key, value in again.net.state_dict().items():
                value.copy_(digital[key])
        again.chip.load_state_dict(state)
        assert apart(made.chip, again.chip) == []
        again.optimizer.load_state_dict(copied(memory))
        ends.append((train(again, range(3, 5)), again.chip))
    losses = train(made, range(3, 5))
    assert ends[0][0] == losses
    assert apart(made.chip, ends[0][1]) == []
    assert ends[1][0] == pytest.approx(losses, rel=1e-5)
    assert apart(made.chip, ends[1][1], atol=1e-6) == []


def test_cells_move_with_their_module(far: torch.device) -> None:
    made, _ = taught()
    before = made.chip.state_dict()
    made.net.to(far)
    assert {t.wear.device for t in made.chip.tiles.values()} == {far}
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    assert made.net(x.to(far)).device == far
    made.chip.load_state_dict(before)
    made.net.to(CPU)
    assert {t.wear.device for t in made.chip.tiles.values()} == {CPU}
    here, _ = taught()
    here.chip.load_state_dict(before)
    assert torch.equal(made.net(x), here.net(x))


def test_roll_back_drift_and_calibration_work_there_too(far: torch.device) -> None:
    ends = []
    for device in (CPU, far):
        made, _ = taught(device, read_noise="off")
        snapshot = made.chip.state_dict()
        made.chip.advance(3_600.0)
        made.chip.recalibrate()
        train(made, range(3, 5))
        wear = {name: tile.wear.to("cpu", copy=True) for name, tile in made.chip.tiles.items()}
        left = made.chip.restore_plastic(snapshot)
        assert any(not torch.equal(made.chip.tiles[n].wear.cpu(), w) for n, w in wear.items())
        ends.append((left, made.chip.wear(), made.chip))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-3)
    assert ends[0][1] == ends[1][1]
    assert apart(ends[0][2], ends[1][2], atol=1e-5) == []
