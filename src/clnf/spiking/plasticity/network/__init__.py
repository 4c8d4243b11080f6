"""A network of competing cells with plastic inputs, compiled and driven by events."""

from clnf.spiking.plasticity.network.diehl_cook import (
    DiehlCook,
    Membrane,
    NetworkState,
    normalise,
    settle,
    started,
)
from clnf.spiking.plasticity.network.inputs import Events, events_of, poisson, trains_of
from clnf.spiking.plasticity.network.running import Spikes, run

__all__ = [
    "DiehlCook",
    "Events",
    "Membrane",
    "NetworkState",
    "Spikes",
    "events_of",
    "normalise",
    "poisson",
    "run",
    "settle",
    "started",
    "trains_of",
]
