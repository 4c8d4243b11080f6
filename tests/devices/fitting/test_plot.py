"""A few wild readings do not shrink the traces to a line."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from clnf.devices.fitting import CellLaw, Schedule, fit_traces, measured
from clnf.devices.fitting.plot import _trace

CELL = CellLaw(
    law="linear", conductance_min_s=100e-6, conductance_max_s=300e-6, step_up=0.1, step_down=0.1,
    cycle_spread=0.2, write_noise=0.3, shape={"slope_up": 0.5, "slope_down": 0.5},
)  # fmt: skip


def test_outliers_do_not_set_the_axis_and_are_still_shown() -> None:
    traces = measured(CELL, Schedule(devices=2, train=30, cycles=2), 6)
    row = 20
    traces.conductance_s[row] = 50e-3  # fifty millisiemens among hundreds of microsiemens
    found = fit_traces(traces)
    assert [one.pulse for one in found.outliers] == [traces.numbers[row]]
    axes = Figure().add_subplot()
    _trace(axes, found, 0, first=False)
    low, high = axes.get_ylim()
    assert 0 <= low < 100 < 300 < high < 400
    arrows = next(line for line in axes.lines if line.get_marker() == "^")
    x, y = (np.asarray(part, dtype=float) for part in arrows.get_data())
    assert x.tolist() == [traces.numbers[row]]
    assert high - 0.05 * (high - low) < y[0] < high
    # The control: without the wild reading no arrow is drawn.
    traces.conductance_s[row] = np.nan
    axes = Figure().add_subplot()
    _trace(axes, fit_traces(traces), 0, first=False)
    arrows = next(line for line in axes.lines if line.get_marker() == "^")
    assert len(np.asarray(arrows.get_xdata())) == 0
    assert axes.get_ylim() == pytest.approx((low, high), rel=0.05)
