"""Every error clnf raises on purpose.

    ClnfError
    |-- ConfigError        a recipe, option or argument is wrong
    |-- ShapeError         a tensor has the wrong shape or type
    |-- DataError          an image, folder or batch cannot be used
    |-- DeviceLimitError   a device value is unknown or out of its physical range
    |-- RunError           a run folder is missing, locked, damaged or full
    |-- MissingExtraError  an optional package is not installed
    `-- ExportError        a file could not be written in the asked format

A message says what was wrong, the value seen, and what to do.
"""

import importlib
from types import ModuleType

__all__ = [
    "ClnfError",
    "ConfigError",
    "DataError",
    "DeviceLimitError",
    "ExportError",
    "MissingExtraError",
    "RunError",
    "ShapeError",
    "need",
]


class ClnfError(Exception):
    """Base of all deliberate errors; the command line prints it as one sentence."""


class ConfigError(ClnfError):
    """A recipe, option or argument is wrong."""


class ShapeError(ClnfError):
    """A tensor has the wrong shape or type."""


class DataError(ClnfError):
    """An image, folder or batch cannot be used."""


class DeviceLimitError(ClnfError):
    """A device value is unknown or outside its physical range."""


class RunError(ClnfError):
    """A run folder is missing, locked, damaged or full."""


class MissingExtraError(ClnfError):
    """An optional package is not installed."""


class ExportError(ClnfError):
    """A file could not be written in the asked format."""


def need(package: str, *, extra: str) -> ModuleType:
    """Import an optional package or say which extra brings it.

    Args:
        package: importable name, for example ``"gdstk"``.
        extra: the extra of clnf that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{package} is not installed; run: pip install 'clnf[{extra}]'"
        ) from error
