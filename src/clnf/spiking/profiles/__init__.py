"""Chips with their limits: what fits, training under the limits, and the same in whole numbers."""

from clnf.spiking.profiles.deployed import Deployed, deploy
from clnf.spiking.profiles.profile import (
    ChipProfile,
    memristive,
    profile,
    profiles,
    read_profile,
)
from clnf.spiking.profiles.simulated import Constrained, Counters, Course

__all__ = [
    "ChipProfile",
    "Constrained",
    "Counters",
    "Course",
    "Deployed",
    "deploy",
    "memristive",
    "profile",
    "profiles",
    "read_profile",
]
