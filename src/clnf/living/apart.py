"""What adapters that belong to a concept or to a lesson alone have in common."""

from typing import Any, Protocol

from clnf.chip.groups import Groups
from clnf.chip.hosting import Chip
from clnf.media.flow import FlowModel

__all__ = ["Apart"]


class Apart(Protocol):
    """Adapters of which each lesson opens some and shuts the rest.

    The order is :meth:`gates` once, then for each lesson :meth:`write`, :meth:`begin`, and
    :meth:`keep` where it was committed; where not, :meth:`load_state_dict` goes back.
    """

    def waits(self, layer: str) -> bool:
        """Whether the cells of a layer are left as they come when the generator is hosted."""

    def gates(self, chip: Chip, engine: FlowModel) -> Groups:
        """Gates of the adapters' tiles, once the generator is hosted."""

    def check(self) -> None:
        """Refuse another lesson where no adapter is left.

        Raises:
            RunError: none is.
        """

    def write(self, row: int) -> None:
        """Write what the adapters of the next lesson start from, if they hold nothing yet.

        Call it before what a roll-back returns to is captured.

        Args:
            row: of the lesson's concept in the look-up table.

        Raises:
            ConfigError: the concept can have none.
        """

    def begin(self, row: int) -> None:
        """Open the adapters of a lesson and shut all others.

        Args:
            row: of its concept in the look-up table.

        Raises:
            ConfigError: the concept can have none.
            RunError: none is left.
        """

    def keep(self) -> None:
        """The lesson was committed: what it taught is read from now on."""

    def state_dict(self) -> dict[str, Any]:
        """Which adapters are read, and which one learns, as JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave; load the gates' state first."""
