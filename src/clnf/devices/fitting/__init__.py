"""Fitting a cell to measured pulse trains: the law of its steps, with honest intervals."""

from clnf.devices.fitting.fitting import fit, fit_traces
from clnf.devices.fitting.laws import LAWS, CellLaw
from clnf.devices.fitting.plot import residual_picture
from clnf.devices.fitting.result import Fit
from clnf.devices.fitting.synthetic import Schedule, measured, write_csv
from clnf.devices.fitting.traces import Traces, read_traces

__all__ = [
    "LAWS",
    "CellLaw",
    "Fit",
    "Schedule",
    "Traces",
    "fit",
    "fit_traces",
    "measured",
    "read_traces",
    "residual_picture",
    "write_csv",
]
