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
    "ClnfError": "clnf.core.errors",
    "Experience": "clnf.core.records",
    "Journal": "clnf.living.journal",
    "Ledger": "clnf.core.ledger",
    "Quality": "clnf.core.records",
    "Verdict": "clnf.core.records",
}

__all__ = [
    "Batch",
    "ClnfError",
    "Experience",
    "Journal",
    "Ledger",
    "Quality",
    "Verdict",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Load a main name from its room (PEP 562)."""
    if name in _MAIN_NAMES:
        return getattr(importlib.import_module(_MAIN_NAMES[name]), name)
    raise AttributeError(f"module 'clnf' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the main names without loading them."""
    return [*__all__]
