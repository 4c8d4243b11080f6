"""Worlds made by rule: sprites, sounds and voxels whose every cause is known.

A sample is a function of (seed, number): nothing is stored or downloaded, any number of samples
costs the memory of one batch, and the factors that made a sample are handed out beside it. Import
from the modules (``factors``, ``sprites``, ``sounds``, ``voxels``, ``endless``).
"""
