"""Spiking networks: cells in seconds and volts, compiled over time, layers that follow events."""

from clnf.spiking.cells import IF, LI, LIF, AdaptiveLIF, CubaLI, CubaLIF
from clnf.spiking.fused import leak_over_time, spike_over_time
from clnf.spiking.layers import Neurons, Readout, RecurrentNeurons
from clnf.spiking.recurrent import recurrent_over_time
from clnf.spiking.steps import State, leak_step, spike_step
from clnf.spiking.surrogates import Arctan, Boxcar, FastSigmoid, Triangle, spike

__all__ = [
    "IF",
    "LI",
    "LIF",
    "AdaptiveLIF",
    "Arctan",
    "Boxcar",
    "CubaLI",
    "CubaLIF",
    "FastSigmoid",
    "Neurons",
    "Readout",
    "RecurrentNeurons",
    "State",
    "Triangle",
    "leak_over_time",
    "leak_step",
    "recurrent_over_time",
    "spike",
    "spike_over_time",
    "spike_step",
]
