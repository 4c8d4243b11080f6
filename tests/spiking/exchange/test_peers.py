"""Files of ours in other tools, spike by spike, and whether what we say of each tool is so.

Each is skipped where the tool is not installed. Their pins cannot be met together; ``pip install
--no-deps snntorch norse sinabs rockpool spikingjelly nirtorch loguru pbr`` leaves them out.
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
TOOLS = ("snntorch", "norse", "sinabs", "rockpool", "spikingjelly")
HERE = [name for name in TOOLS if importlib.util.find_spec(name) is not None]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not HERE, reason="no other spiking tool is installed; none is asked"),
]  # fmt: skip
# What each tool can do: not one spike of these differs once the file is rewritten.
EQUAL = {
    "snntorch": {"LIF", "LIF, recurrent", "LIF, each its own tau", "CubaLIF", "IF",
                 "IF, recurrent"},
    "norse": {"LIF", "LIF, recurrent", "LIF, each its own tau", "LIF, v_leak 0.1, v_reset -0.2",
              "CubaLIF", "IF", "IF, recurrent"},
    "sinabs": {"LIF, threshold subtracted"},
    "rockpool": {"LIF, threshold subtracted", "CubaLIF, threshold subtracted"},
    "spikingjelly": {"LIF", "LIF, recurrent", "CubaLIF", "IF", "IF, recurrent"},
}  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import nir_round_trips

        yield nir_round_trips
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def results(bench: ModuleType) -> list[dict[str, Any]]:
    return [*bench.rows()]


@pytest.mark.parametrize("tool", HERE or TOOLS)
def test_rewritten_files_give_the_same_spikes(tool: str, results: list[dict[str, Any]]) -> None:
    mine = [one for one in results if one["tool"].lower().startswith(tool)]
    fitted = {one["network"]: one for one in mine if one["way"] == "fitted"}
    assert {name for name, one in fitted.items() if one.get("unequal") == 0} == EQUAL[tool]
    assert all(fitted[name]["spikes"] > 100 for name in EQUAL[tool])


@pytest.mark.parametrize("tool", HERE or TOOLS)
def test_what_is_said_is_so(tool: str, results: list[dict[str, Any]]) -> None:
    """Where nothing is said nothing differs; what is refused fails; what differs was said."""
    for one in results:
        if not one["tool"].lower().startswith(tool):
            continue
        levels = {word.partition(":")[0] for word in one["said"]}
        if "refuses" in levels:
            assert "error" in one, one
        elif not levels - {"detail"}:
            assert one["unequal"] == 0, one
        if one.get("unequal", 0) > 0 or "error" in one:
            assert levels & {"refuses", "changes"}, one
