"""A picture of courses: what they reached against what they spent and moved until then."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from clnf.core.files import png_of
from clnf.core.units import quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Moment", "courses_picture"]

# Okabe and Ito's colours, which people with any colour vision tell apart, and other marks as well.
_LINES = (("#555555", "s"), ("#0072B2", "o"), ("#D55E00", "^"), ("#009E73", "v"), ("#CC79A7", "D"))


@final
@dataclass(frozen=True, kw_only=True)
class Moment:
    """How far a course was at some time.

    Attributes:
        accuracy: share of samples named rightly.
        energy_j: spent until then.
        bytes: moved between groups until then.
        pulses: written until then.
    """

    accuracy: float = quantity("1")
    energy_j: float = quantity("J")
    bytes: float = quantity("B")
    pulses: int = quantity("1")


def courses_picture(courses: dict[str, Sequence[Moment]], title: str) -> bytes:
    """Draw accuracy against joules, bytes moved and write pulses, as a PNG.

    Args:
        courses: moments of each, in order, by name.
        title: above all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True)
    _curves(panels[0], courses, lambda one: one.energy_j * 1e6, "energy, uJ")
    _curves(panels[1], courses, lambda one: one.bytes / 1e6, "moved between groups, MB")
    _curves(panels[2], courses, lambda one: one.pulses / 1e6, "write pulses, millions")
    panels[0].set_ylabel("accuracy")
    panels[0].legend(fontsize=8, loc="lower right")
    figure.suptitle(title, fontsize=10)
    return png_of(figure)


def _curves(
    axes: "Axes", courses: dict[str, Sequence[Moment]], of: Callable[[Moment], float], label: str
) -> None:
    for (name, moments), (colour, mark) in zip(courses.items(), _LINES, strict=False):
        x, y = [of(one) for one in moments], [one.accuracy for one in moments]
        axes.plot(x, y, color=colour, marker=mark, markersize=4, linewidth=1.2, label=name)
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
