"""Which adapters learn now, for guards that hold them apart from earlier ones."""

from torch import nn

from clnf.continual.adapters.low_rank import LowRank
from clnf.continual.adapters.pairs import Held, Lesson, adapted
from clnf.continual.adapters.stacked import StackedLowRank
from clnf.core.errors import ConfigError, RunError

__all__ = ["check_lessons", "check_state", "lessons_of"]


def lessons_of(model: nn.Module) -> dict[str, Lesson]:
    """What each layer learns now and learned before, by the name of the adapter that learns.

    That is the layer's, ``net.0``, or for a stack ``net.0.of.ADAPTER``.
    """
    found = {}
    for layer, part in adapted(model).items():
        lesson = part.lesson()
        if lesson is not None:
            found[f"{layer}.of.{lesson.name}" if lesson.name else layer] = lesson
    return found


def check_lessons(model: nn.Module, guard: str) -> None:
    """Refuse a model without adapters that learn lesson by lesson.

    Raises:
        ConfigError: it has none, or only switched ones.
    """
    parts = adapted(model).values()
    if not any(isinstance(part, LowRank | StackedLowRank) for part in parts):
        why = "switched ones never meet" if parts else "attach some first"
        raise ConfigError(
            f"{guard} holds adapters apart that add up, and the model has none ({why})"
        )


def check_state(model: nn.Module, guard: str, names: set[str]) -> dict[str, Held]:
    """Adapters that learn now, by name, once those of a saved state are among them.

    Raises:
        RunError: they are not.
    """
    known = {name: lesson.learning for name, lesson in lessons_of(model).items()}
    odd = sorted(names - set(known))
    if odd:
        raise RunError(
            f"this {guard} state was saved for other adapters: {odd[0]}; attach the same ones and "
            "let the same one learn"
        )
    return known
