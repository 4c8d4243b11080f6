"""Teaching without a global way back: errors are made where the weights are, one file a method."""

from clnf.chip.local.backpropagation import Backpropagation
from clnf.chip.local.equilibrium import Equilibrium, Relaxation
from clnf.chip.local.events import EventRule, Events
from clnf.chip.local.feedback import DirectFeedback
from clnf.chip.local.forward_forward import ForwardForward
from clnf.chip.local.layerwise import LocalLosses
from clnf.chip.local.method import AbstractMethod
from clnf.chip.local.traffic import Traffic
from clnf.chip.local.volts import ColumnVolts, Disturb, Drive, disturb

__all__ = [
    "AbstractMethod",
    "Backpropagation",
    "ColumnVolts",
    "DirectFeedback",
    "Disturb",
    "Drive",
    "Equilibrium",
    "EventRule",
    "Events",
    "ForwardForward",
    "LocalLosses",
    "Relaxation",
    "Traffic",
    "disturb",
]
