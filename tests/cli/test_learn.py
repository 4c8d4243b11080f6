"""``clnf chip learn`` at the door: tables, JSON, the picture, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clnf.chip.local import METHODS
from clnf.cli import learn
from clnf.cli.show import COLUMNS

Clnf = Callable[..., tuple[int, str, str]]
FEW = ("chip", "learn", "--epochs", "0.03")  # four batches


def courses(clnf: Clnf, *words: str) -> list[dict[str, Any]]:
    code, out, err = clnf(*FEW, "--json", *words)
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)["courses"]
    return found


def test_a_table_fits_and_a_picture_is_drawn(clnf: Clnf, tmp_path: Path) -> None:
    picture = tmp_path / "learn.png"
    code, out, err = clnf(*FEW, "--picture", picture)
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= COLUMNS
    rows = [line.split() for line in lines if line.startswith((" backprop", " layerwise"))]
    assert [row[0] for row in rows] == ["backpropagation", "layerwise"]
    assert [row[-2:] for row in rows] == [["334", "100%"], ["271", "81%"]]
    assert "Borrowed, as nothing was published: conductance_max_s" in out
    assert f"picture: {picture}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "layerwise: 4 steps" in err


@pytest.mark.parametrize("net", ["mlp", "conv"])
@pytest.mark.parametrize("rule", METHODS)
def test_every_rule_teaches_both_nets(clnf: Clnf, net: str, rule: str) -> None:
    *first, last = courses(clnf, "--rule", rule, "--net", net)
    assert last["rule"] == rule
    assert len(first) == (rule != "backpropagation")
    assert last["pulses"] > 0
    assert last["energy_j"] > last["route_j"] > 0
    assert 0 <= last["accuracy"] == last["course"][-1]["accuracy"] <= 1
    assert last["course"][-1]["energy_j"] == last["energy_j"]
    assert last["course"][0]["energy_j"] == 0.0
    spent = [moment["bytes"] for moment in last["course"]]
    assert spent == sorted(spent)
    for one in first:  # fewer bytes than backpropagation where nothing relaxes or is read thrice
        fewer = rule in ("feedback", "layerwise") or (rule, net) == ("forward-forward", "mlp")
        assert (last["bytes"] < one["bytes"]) == fewer


def test_it_learns_and_a_seed_says_everything() -> None:
    from clnf.chip.spec import ChipSpec
    from clnf.cli.learn import _taught, _Wish
    from clnf.cli.show import Bars

    wish = _Wish("mlp", ChipSpec(plastic="ecram_li", pairs=1), 3.0, 60, 1, None, 1.0)
    with Bars(quiet=True) as bars:
        one, same = (_taught("layerwise", wish, None, bars) for _ in range(2))
        other = _taught("layerwise", wish._replace(seed=2), None, bars)
    assert one.moments[-1].accuracy > 0.7
    assert one.moments[0].accuracy < 0.3
    assert one.moments == same.moments
    assert one.moments != other.moments


def test_a_budget_is_kept(clnf: Clnf) -> None:
    free = courses(clnf, "--rule", "backpropagation")[0]["pulses"]
    plain, kept = courses(clnf, "--write-budget", str(free // 4), "--owed", "1", "--lr", "1")
    assert plain["pulses"] == free
    assert (plain["lr"], kept["lr"]) == (1.0, 1.0)
    assert courses(clnf)[-1]["lr"] == 3.0  # tuned, where nothing is said
    assert plain["threshold"] is None
    assert 0 < kept["pulses"] < free / 2  # one step's overspending at most
    none = courses(clnf, "--write-budget", "0")[-1]
    assert none["pulses"] == 0


def test_volts_are_a_rate_with_limits(clnf: Clnf) -> None:
    words = ("--rule", "backpropagation", "--law", "sinh:0.2", "--volts", "0.9:1.8:6")
    plain, high = courses(clnf, *words, "--amplitude", "1.8")
    _, low = courses(clnf, *words, "--amplitude", "0.9")
    assert not plain["limits"]
    (one,) = {limit["high"] for limit in high["limits"].values()}
    assert one == pytest.approx(4.48, abs=0.01)
    # As many batches in volts, but lower ones step less and cost less.
    assert high["write_j"] > low["write_j"] > 0
    for course in (high, low):
        for limit in course["limits"].values():
            # Of a low first rate the last ones are below what the source can give.
            assert (limit["beyond"] > 0) == (course is low)
            for disturb in limit["disturb"].values():
                assert disturb["pulses"] > 0 < disturb["drift_bound"]
    wide = courses(clnf, *words, "--amplitude", "0.9", "--width-ns", "20")[-1]
    assert wide["limits"]["1"]["high"] == pytest.approx(2 * one)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--rule", "osmosis"), "a way of teaching is one of backpropagation, feedback"),
        (("--net", "cnn"), "what learns is mlp or conv, got 'cnn'"),
        (("--epochs", "0"), "above 0 and at most 1000 times"),
        (("--lr", "nan"), "--lr must be 1e-09 to 1e+09, got nan"),
        (("--lr", "0"), "--lr must be"),
        (("--write-budget", "-3"), "a write budget is a number of pulses"),
        (("--owed", "0.5"), "--owed must be 1 to 1e+06 pulses, got 0.5"),
        (("--material", "nix"), "no material 'nix'"),
        (("--material", "cmo_hfox"), "no published value of 'slope_up' is known for cmo_hfox"),
        (("--supply", "hfo2_array"), "is not NAME.KEY=VALUE"),
        (("--amplitude", "1.4"), "need a law of steps in volts, which no source gives; add --law"),
        (("--law", "sinh:0.2", "--amplitude", "nan"), "--amplitude must be 0 to 100 V, got nan"),
        (("--law", "sinh:0.2", "--amplitude", "90"), "no cell is so steep"),
        (("--supply", "gst_pcm.step_up=0.03"), "but the cells are those of hfo2_array_optimised"),
        (("--law", "sinh"), "got 'sinh'; write for example sinh:0.2"),
        (("--law", "sinh:x"), "got 'sinh:x'"),
        (("--law", "threshold:9:2"), "moves nothing by this law"),
        (("--law", "sinh:0.2", "--volts", "1"), "is not LOW:HIGH"),
        (("--law", "sinh:0.2", "--width-ns", "0"), "--width-ns must be 0.001 to 1e+09 ns, got 0"),
        (("--picture", "a.jpg"), "pictures are PNG files, got 'a.jpg'"),
    ],
)
def test_what_cannot_be_is_one_sentence(clnf: Clnf, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = clnf(*FEW, "--json", *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_what_cannot_be_is_refused_before_anything_is_taught(
    clnf: Clnf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "_taught", lambda *_: pytest.fail("was taught"))
    volts = ("--law", "sinh:0.2", "--amplitude")
    for words in (("--lr", "0"), ("--owed", "0"), (*volts, "90"), ("--law", "x")):
        assert clnf("chip", "learn", *words)[0] == 2


def test_cells_of_ones_own_can_learn(clnf: Clnf) -> None:
    steps = {"step_up": 0.04, "step_down": 0.03, "slope_up": 1.0, "slope_down": 1.0}
    own = [word for k, v in steps.items() for word in ("--supply", f"cmo_hfox.{k}={v}")]
    last = courses(clnf, "--material", "cmo_hfox", *own)[-1]
    assert last["pulses"] > 0
