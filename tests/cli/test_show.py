import json

import pytest
import torch

from clnf.cli.options import place
from clnf.cli.show import COLUMNS, Bars, emit, show_table
from clnf.core.errors import ConfigError
from clnf.devices import reference


def test_tables_fit_and_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a long sentence about hands " * 12
    show_table(("name", "value"), [(text, 3), ("[b]not markup[/b]", 12)], title="T" * 150)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= COLUMNS
    assert out.count("sentence") == out.count("hands") == 12
    assert "[b]not markup[/b]" in out


def test_a_table_without_rows_still_has_its_heads(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("family", "match"), [])
    assert "family" in capsys.readouterr().out


def test_json_is_all_a_program_gets(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"match": 0.5, "name": "é"}
    emit(value, True, lambda: print("for people"))
    assert json.loads(capsys.readouterr().out) == value
    emit(value, False, lambda: print("for people"))
    assert capsys.readouterr().out == "for people\n"


def test_progress_without_a_terminal_is_plain_lines_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Bars() as bars:
        for done in range(4):
            bars.at("hands", done, 3)
        bars.say("[x] committed")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["hands: 3 steps", "hands: done", "[x] committed"]
    with Bars(quiet=True) as bars:
        bars.at("hands", 1, 1)
    assert capsys.readouterr() == ("", "")


def test_a_device_is_tried_before_it_is_used() -> None:
    assert place("cpu", 0) == torch.device("cpu")
    place("cpu", 1)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("name", ["abacus", "", "cuda:99", "meta", "hpu", "vulkan"])
def test_a_device_that_torch_cannot_use_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^device '{name}' cannot be used here; .*: cpu"):
        place(name, 0)


def test_any_device_that_draws_like_the_cpu_is_taken(
    far: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place(str(far), 0) == far
    word = reference.word
    monkeypatch.setattr(reference, "word", lambda *of: word(*of) >> 1)
    with pytest.raises(ConfigError, match="cannot be used here"):
        place(str(far), 0)
