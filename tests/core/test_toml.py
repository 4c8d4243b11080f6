from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clnf.core.errors import ConfigError
from clnf.core.toml import dump_toml, load_toml, recipe_hash

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6)
leaves = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | words
tables = st.recursive(
    st.dictionaries(words, leaves, max_size=4),
    lambda inner: st.dictionaries(words, inner | st.lists(inner, max_size=2), max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables)
def test_values_round_trip(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(dump_toml(values), encoding="utf-8")
    assert load_toml(path) == values


def test_none_is_left_out_and_tuples_become_lists(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(dump_toml({"a": None, "b": {"c": None, "d": (1, 2)}}))
    assert load_toml(path) == {"b": {"d": [1, 2]}}


@pytest.mark.parametrize("content", [b"a = ", b"a = b", b"a = 1\na = 2"])
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not a text file; give a .toml file"):
        load_toml(path)
    with pytest.raises(ConfigError, match="no recipe at"):
        load_toml(tmp_path)
    with pytest.raises(ConfigError, match="no recipe at"):
        load_toml(tmp_path / "none.toml")


def test_the_hash_sees_values_not_order() -> None:
    one = recipe_hash({"a": 1, "b": {"c": 2.0, "d": "x"}})
    assert one == recipe_hash({"b": {"d": "x", "c": 2.0}, "a": 1})
    assert one != recipe_hash({"b": {"d": "x", "c": 2.5}, "a": 1})
