"""Concept names and rows."""

import pytest

from clnf.core.errors import ConfigError
from clnf.living.concepts import Concepts


def test_an_unknown_concept_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="faces, flags"):
        Concepts(["faces", "flags"], rows=8).row("dragons")


def test_a_full_table_is_refused_and_a_known_name_keeps_its_row() -> None:
    concepts = Concepts(["faces"], rows=3)
    assert concepts.add("hands") == 2
    assert concepts.add("hands") == 2
    with pytest.raises(ConfigError, match="no room for 'people': this run takes 2 concepts"):
        concepts.add("people")


def test_state_round_trip() -> None:
    concepts = Concepts(["faces"], rows=5)
    concepts.add("hands")
    other = Concepts([], rows=1)
    other.load_state_dict(concepts.state_dict())
    assert other.row("hands") == 2
