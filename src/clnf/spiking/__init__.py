"""Spiking networks: cells in seconds and volts, compiled over time, layers that follow events."""

from clnf.spiking.cells import IF, LI, LIF, AdaptiveLIF, CubaLI, CubaLIF
from clnf.spiking.convolution.maps import Convolution
from clnf.spiking.layers import Neurons, Readout, RecurrentNeurons
from clnf.spiking.over_time import leak_over_time, recurrent_over_time, spike_over_time
from clnf.spiking.steps import State, leak_step, spike_step
from clnf.spiking.surrogates import Arctan, Boxcar, FastSigmoid, Triangle, spike
from clnf.spiking.synapses import EventConv2d, EventLinear, SpikingConv2d, SpikingLinear

__all__ = [
    "IF",
    "LI",
    "LIF",
    "AdaptiveLIF",
    "Arctan",
    "Boxcar",
    "Convolution",
    "CubaLI",
    "CubaLIF",
    "EventConv2d",
    "EventLinear",
    "FastSigmoid",
    "Neurons",
    "Readout",
    "RecurrentNeurons",
    "SpikingConv2d",
    "SpikingLinear",
    "State",
    "Triangle",
    "leak_over_time",
    "leak_step",
    "recurrent_over_time",
    "spike",
    "spike_over_time",
    "spike_step",
]
