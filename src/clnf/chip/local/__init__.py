"""Teaching without a global way back: errors are made where the weights are, one file a method."""

from clnf.chip.local.backpropagation import Backpropagation
from clnf.chip.local.course import METHODS, Course, Spent, make_method, right, spent, teach
from clnf.chip.local.drive import Drive
from clnf.chip.local.equilibrium import Equilibrium, Relaxation
from clnf.chip.local.events import EventRule, Events
from clnf.chip.local.exposure import Disturb, disturb, exposed
from clnf.chip.local.feedback import DirectFeedback
from clnf.chip.local.forward_forward import ForwardForward
from clnf.chip.local.layerwise import LocalLosses
from clnf.chip.local.method import AbstractMethod
from clnf.chip.local.traffic import Traffic
from clnf.chip.local.volts import ColumnVolts, Limits

__all__ = [
    "METHODS",
    "AbstractMethod",
    "Backpropagation",
    "ColumnVolts",
    "Course",
    "DirectFeedback",
    "Disturb",
    "Drive",
    "Equilibrium",
    "EventRule",
    "Events",
    "ForwardForward",
    "Limits",
    "LocalLosses",
    "Relaxation",
    "Spent",
    "Traffic",
    "disturb",
    "exposed",
    "make_method",
    "right",
    "spent",
    "teach",
]
