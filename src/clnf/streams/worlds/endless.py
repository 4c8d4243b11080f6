"""Scenarios of any length out of sprites, in constant memory."""

import torch

from clnf.core.errors import ConfigError
from clnf.core.records import Experience, Source
from clnf.core.rng import fold, numpy_rng
from clnf.streams.scenario import LazyScenario, Protocol, RelabelSource, Task
from clnf.streams.sources import JoinSource
from clnf.streams.worlds.sprites import COLOURS, SHAPES, TEXTURES, Sprites

__all__ = ["LOOKS", "sprite_scenario"]

LOOKS = len(SHAPES) * len(COLOURS) * len(TEXTURES)


def sprite_scenario(
    tasks: int = 100,
    *,
    seed: int,
    ways: int = 2,
    samples: int = 256,
    protocol: Protocol = "domain",
) -> LazyScenario:
    """Tasks that tell ``ways`` looks apart, a look being a shape, colour and texture.

    Looks come in shuffled passes through all of :data:`LOOKS`, so none comes twice before all
    came once. A task is made when it is asked for and holds no samples: a hundred take no more
    memory than one. Place, scale and rotation vary freely in every look.

    Args:
        tasks: >= 1.
        seed: of looks and samples.
        ways: looks of a task, >= 2.
        samples: of each look to teach; a quarter as many test.
        protocol: under "domain" a look's label is its place in its task, and tasks may go on for
            ever; else it is its own output, and there are no more tasks than looks.

    Raises:
        ConfigError: numbers out of range, or more looks than there are.
    """
    if ways < 2 or samples < 4:
        raise ConfigError(f"a task needs 2 looks and 4 samples of each, got {ways} and {samples}")
    if protocol != "domain" and tasks * ways > LOOKS:
        raise ConfigError(
            f"{tasks} tasks of {ways} looks need {tasks * ways} outputs and there are {LOOKS} "
            'looks; take fewer, or the protocol "domain", where tasks share outputs'
        )

    def build(task: int) -> Task:
        looks = [_look(seed, task * ways + place) for place in range(ways)]
        labels = tuple(range(ways)) if protocol == "domain" else tuple(looks)
        name = "sprites " + " or ".join(_called(look) for look in looks)
        learn, check = (
            JoinSource(
                [
                    _sprites(look, label, count, fold(seed, "sprites", task, place, part))
                    for place, (look, label) in enumerate(zip(looks, labels, strict=True))
                ]
            )
            for part, count in (("train", samples), ("test", samples // 4))
        )
        experience = Experience(
            name=name, concept=name, data=learn, provenance=f"sprites, seed {seed}, task {task}"
        )
        return Task(experience=experience, test=check, outputs=labels)

    outputs = ways if protocol == "domain" else LOOKS
    return LazyScenario(tasks, build, protocol=protocol, outputs=outputs)


def _look(seed: int, number: int) -> int:
    """The look at one place of the endless row of shuffled passes."""
    turn, place = divmod(number, LOOKS)
    return int(numpy_rng(seed, "sprites", "looks", turn).permutation(LOOKS)[place])


def _parts(look: int) -> tuple[int, int, int]:
    rest, texture = divmod(look, len(TEXTURES))
    return *divmod(rest, len(COLOURS)), texture


def _called(look: int) -> str:
    shape, colour, texture = _parts(look)
    return f"{list(COLOURS)[colour]} {TEXTURES[texture]} {SHAPES[shape]}"


def _sprites(look: int, label: int, count: int, seed: int) -> Source:
    shape, colour, texture = _parts(look)
    limits = {
        "shape": [SHAPES[shape]],
        "colour": [list(COLOURS)[colour]],
        "texture": [TEXTURES[texture]],
    }
    world = Sprites(count, seed=seed, label="shape", limits=limits)
    return RelabelSource(world, torch.full((len(SHAPES),), label))
