"""Learning one thing after another: the learner, its guards, memories and adapters.

Import from the modules: ``clnf.continual.learner``, ``clnf.continual.guards`` ...
"""
