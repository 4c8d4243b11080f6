"""What the texts at the root name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def missing(text: str) -> list[str]:
    """Paths in backticks or links of a text that do not exist."""
    words = re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:py|toml|txt|md))`", text)
    words += re.findall(r"\]\((?!http)([^)#]+)\)", text)
    places = (ROOT, ROOT / "src/clnf", ROOT / "src")
    words = [word for word in words if not word.startswith("runs/")]  # made by using it
    return [word for word in words if not any((place / word).exists() for place in places)]


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_named_exists(name: str) -> None:
    assert missing((ROOT / name).read_text()) == []


def test_a_wrong_path_is_found() -> None:
    text = "see `core/nothing.py`, [this](NOWHERE.md), `tools/house.py` and [that](LICENSE)"
    assert missing(text) == ["core/nothing.py", "NOWHERE.md"]
