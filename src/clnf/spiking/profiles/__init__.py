"""Chips with their limits: what fits, training under the limits, and the same in whole numbers."""

from clnf.spiking.profiles.check import Fit, check
from clnf.spiking.profiles.deployed import Deployed, deploy
from clnf.spiking.profiles.learning import TraceFormat, trace_format, traced, traced_whole, written
from clnf.spiking.profiles.parts import Counters
from clnf.spiking.profiles.profile import (
    ChipProfile,
    memristive,
    profile,
    profiles,
    read_profile,
)
from clnf.spiking.profiles.simulated import Constrained, Course

__all__ = [
    "ChipProfile",
    "Constrained",
    "Counters",
    "Course",
    "Deployed",
    "Fit",
    "TraceFormat",
    "check",
    "deploy",
    "memristive",
    "profile",
    "profiles",
    "read_profile",
    "trace_format",
    "traced",
    "traced_whole",
    "written",
]
