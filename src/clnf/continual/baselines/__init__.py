"""Baselines that a method must beat to be worth its memory: learners of their own, no guards.

Import from the modules: ``clnf.continual.baselines.gdumb``, ``clnf.continual.baselines.slda``.
"""
