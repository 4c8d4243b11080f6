"""Synapses that are memristive cells: waves that overlap, pulses for gradients, a gate for both."""

from clnf.spiking.memristive.cells import CellArray, Lay, Read
from clnf.spiking.memristive.gate import Gate, GateRule
from clnf.spiking.memristive.optimizer import PulseSGD, PulseUpdate, laid
from clnf.spiking.memristive.overlap import Overlap, Window, window
from clnf.spiking.memristive.population import Competition, MemristivePopulation
from clnf.spiking.memristive.waves import Wave, action, bipolar, rectangle

__all__ = [
    "CellArray",
    "Competition",
    "Gate",
    "GateRule",
    "Lay",
    "MemristivePopulation",
    "Overlap",
    "PulseSGD",
    "PulseUpdate",
    "Read",
    "Wave",
    "Window",
    "action",
    "bipolar",
    "laid",
    "rectangle",
    "window",
]
