"""clnf: living models that keep learning on simulated nano-hardware.

The main names load when first used, so ``import clnf`` stays quick and free of torch:

>>> from clnf import Ledger
>>> Ledger().total().count
0
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Name -> module that defines it. One line a name; a test resolves them all.
_MAIN_NAMES = {
    "Batch": "clnf.core.records",
    "ChipSpec": "clnf.chip.spec",
    "ClnfError": "clnf.core.errors",
    "Experience": "clnf.core.records",
    "Journal": "clnf.living.journal",
    "Learner": "clnf.continual.learner",
    "Ledger": "clnf.core.ledger",
    "LivingModel": "clnf.living.model",
    "Quality": "clnf.core.records",
    "Run": "clnf.living.run",
    "SpikingLinear": "clnf.spiking.synapses",
    "Verdict": "clnf.core.records",
    "attach": "clnf.continual.adapters",
    "host": "clnf.chip.hosting",
}

__all__ = [
    "Batch",
    "ChipSpec",
    "ClnfError",
    "Experience",
    "Journal",
    "Learner",
    "Ledger",
    "LivingModel",
    "Quality",
    "Run",
    "SpikingLinear",
    "Verdict",
    "__version__",
    "attach",
    "host",
]


def __getattr__(name: str) -> Any:
    """Load a main name from its room (PEP 562)."""
    if name in _MAIN_NAMES:
        return getattr(importlib.import_module(_MAIN_NAMES[name]), name)
    raise AttributeError(f"module 'clnf' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the main names without loading them."""
    return [*__all__]
