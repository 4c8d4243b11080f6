"""The knee of a curve, a sweep of densities, and the picture of both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clnf.chip.heat.effects import conduction_laws, drawn
from clnf.chip.heat.network import Cooling, ThermalNetwork
from clnf.chip.heat.picture import draw
from clnf.chip.heat.plan import place
from clnf.chip.heat.power import Work, work
from clnf.chip.heat.sweep import density, knee
from clnf.chip.hosting import Chip
from clnf.core.errors import ConfigError, ExportError

PACKAGE = Cooling(package_k_w=400.0, ambient_k=300.0, rows=16, columns=16)


@pytest.fixture
def done(chip: Chip) -> dict[str, Work]:
    return work(chip.ledger.state(), lesson="draw")


def test_the_knee_of_a_bent_line_is_its_bend() -> None:
    for bend in range(1, 6):
        x = np.arange(7.0)
        y = np.where(x <= bend, 10.0 - x * 9.0 / bend, 1.0 - (x - bend) * 0.1)
        line = list(zip(x.tolist(), y.tolist(), strict=True))
        assert knee(line) == bend
        assert knee(line[::-1]) == 6 - bend
    hyperbola = [(100.0 / n, float(n)) for n in range(1, 101)]
    assert knee(hyperbola) == 9  # tiles 10: scaled alike, a hyperbola bends at the root


@pytest.mark.parametrize("curve", [[(1.0, 2.0), (2.0, 1.0)], [(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)]])
def test_two_points_or_one_time_have_no_knee(curve: list[tuple[float, float]]) -> None:
    with pytest.raises(ConfigError, match="at least three points that differ"):
        knee(curve)


def test_denser_and_more_at_once_is_warmer(chip: Chip, done: dict[str, Work]) -> None:
    points = density(chip, done, (28e-9, 80e-9), (1, 2, 4), PACKAGE)
    assert [(p.pitch_m, p.at_once) for p in points] == [
        (pitch, n) for pitch in (28e-9, 80e-9) for n in (1, 2, 4)
    ]
    dense, wide = points[:3], points[3:]
    for a, b in zip(dense, wide, strict=True):
        assert a.state.peak_k > b.state.peak_k
        assert a.area_m2 < b.area_m2
        assert a.state.span_s == b.state.span_s
        assert a.state.energy_j > b.state.energy_j  # warm cells conduct better and draw more
    assert sum(point.knee for point in dense) == 1
    assert sum(point.knee for point in density(chip, done, (28e-9,), (1, 2), PACKAGE)) == 0


def test_cells_of_one_tile_add_up_to_its_mean(chip: Chip, done: dict[str, Work]) -> None:
    network = ThermalNetwork(place(chip), PACKAGE)
    state = network.rest(done, laws=conduction_laws(chip))
    name = state.names[int(state.hottest_k.argmax())]
    shares = drawn(chip.tiles[name], 0.0)
    assert shares.sum() == pytest.approx(1.0)
    even = network.cells(state, name, np.full(shares.shape, 1 / shares.size))
    at = state.names.index(name)
    assert even.mean() == pytest.approx(state.mean_k[at], abs=1e-9)
    assert even.max() == pytest.approx(state.hottest_k[at], abs=1e-9)
    own = network.cells(state, name, shares)
    assert not np.allclose(own, even, atol=1e-6)
    tile = chip.tiles[name]
    first = tile.conductance_s(0.0)[1, 3, 5] / tile.conductance_s(0.0).sum()
    assert shares[5, 3 * tile.planes + 1] == pytest.approx(float(first), rel=1e-5)


def test_the_picture_shows_the_hottest_tile_and_the_sweep(
    chip: Chip, done: dict[str, Work], tmp_path: Path
) -> None:
    points = density(chip, done, (28e-9, 80e-9), (1, 2, 4), PACKAGE)
    network = ThermalNetwork(place(chip), PACKAGE)
    draw(chip, network, points[-1].state, tmp_path / "one.png")
    draw(chip, network, points[-1].state, tmp_path / "two.png", points=points)
    for name, width in (("one.png", 840), ("two.png", 1260)):
        with Image.open(tmp_path / name) as picture:
            assert picture.size == (width, 390)
    with pytest.raises(ExportError, match=r"end the name in \.png"):
        draw(chip, network, points[0].state, tmp_path / "one.pdf")
    with pytest.raises(ExportError, match="cannot be written"):
        draw(chip, network, points[0].state, tmp_path / "no" / "one.png")
