"""Tables of materials on the pages: every material with a law is there, with its numbers."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clnf.devices.published import Moments
from clnf.devices.statistics import statistics

SCRIPT = Path(__file__).parents[1] / "docs" / "material_pages.py"


@pytest.fixture(scope="module")
def pages() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_a_page_holds_every_check_and_the_picture(pages: dict[str, Any]) -> None:
    found = statistics("cmo_hfox", cells=500)
    text = pages["page"](found)
    assert "### CMO/HfOx ReRAM array" in text
    assert "Inside the bands: 35 of 35." in text
    assert "response, pulse, retention, endurance" in text
    assert "](materials/cmo_hfox.png)" in text
    assert text.count("| yes |") == len(found.checks)
    assert all(f"| {check.at} |" in text for check in found.checks)


def test_what_is_outside_is_said(pages: dict[str, Any]) -> None:
    (check, *_) = statistics("cmo_hfox", cells=500).checks
    assert "| yes |" in pages["table"]([check])
    wrong = replace(check, simulated=Moments(mean=2 * check.simulated.mean, spread=0.0))
    assert "| **no** |" in pages["table"]([wrong])


def test_numbers_are_in_human_units(pages: dict[str, Any]) -> None:
    assert pages["_said"](1.23456e-5, "S") == "12.35 µS"
    assert pages["_with_band"](2e-9, 1e-11, "S") == "2 nS ± 10 pS"
    assert pages["_said"](-1e-17, "S") == "0"


def test_pages_are_written_with_pictures(
    pages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pages["write"].__globals__
    monkeypatch.setitem(own, "materials", lambda: ("hfo2_1t1r", "hzo_synapse"))
    pages["write"](tmp_path)
    assert [path.name for path in (tmp_path / "materials").iterdir()] == ["hfo2_1t1r.png"]
    text = (tmp_path / "materials.md").read_text(encoding="utf-8")
    assert text.count("### ") == 1  # a row without any law has nothing to show
