"""Selection judges each criterion by what was published and never turns a gap into a verdict."""

import pytest

from clnf.core.errors import ConfigError
from clnf.devices.materials import Material, material, materials, read_catalogue
from clnf.devices.select import Choice, Need, select
from clnf.living.recipe import LearnPart

YEAR_S = 365.25 * 86400


def verdict(row: Material, need: Need) -> str:
    (choice,) = select(need, [row])
    (one,) = choice.judgements
    return one.verdict


def made(limit: str, **values: float) -> Material:
    items = "\n".join(
        f'{key} = {{ value = {value}, unit = "{unit}", source = "my own", limit = "{limit}" }}'
        for (key, value), unit in zip(values.items(), ("1", "s"), strict=False)
    )
    return read_catalogue(f'[mine]\ntitle = "x"\nfamily = "reram"\n{items}')["mine"]


def test_the_whole_catalogue_is_judged_best_first() -> None:
    choices = select(Need(states=32, on_off=10))
    assert sorted(one.material.name for one in choices) == sorted(materials())
    scores = [one.score for one in choices]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


@pytest.mark.parametrize(
    ("limit", "asked", "expected"),
    [
        ("", 99, "meets"), ("", 100, "meets"), ("", 101, "fails"),
        ("at_least", 100, "meets"), ("at_least", 101, "unknown"),
        ("at_most", 100, "unknown"), ("at_most", 101, "fails"),
    ],
)  # fmt: skip
def test_a_bound_decides_on_its_own_side_only(limit: str, asked: float, expected: str) -> None:
    row = made(limit, endurance_cycles=100)
    assert verdict(row, Need(lessons_per_day=1 / 365.25, years=1, pulses_per_lesson=asked)) == (
        expected
    )


@pytest.mark.parametrize(
    ("limit", "asked", "expected"),
    [
        ("", 2, "meets"), ("", 1, "meets"), ("", 0.5, "fails"),
        ("at_most", 2, "meets"), ("at_most", 0.5, "unknown"),
        ("at_least", 2, "unknown"), ("at_least", 0.5, "fails"),
    ],
)  # fmt: skip
def test_costs_are_judged_the_other_way_round(limit: str, asked: float, expected: str) -> None:
    row = made(limit, states=2, write_time_s=1.0)
    assert verdict(row, Need(write_time_s=asked)) == expected


def test_endurance_is_counted_from_lessons() -> None:
    need = Need(lessons_per_day=10, years=2, pulses_per_lesson=50)
    assert need.cycles == pytest.approx(10 * 365.25 * 2 * 50)
    row = material("ecram_wo3")  # 1e7
    assert verdict(row, need) == "meets"
    assert verdict(row, Need(lessons_per_day=10, years=2, pulses_per_lesson=5000)) == "fails"


def test_the_default_count_of_pulses_is_that_of_a_default_lesson() -> None:
    assert Need(states=2).pulses_per_lesson == LearnPart().steps


def test_unknown_is_never_a_verdict_and_names_what_would_settle_it() -> None:
    (choice,) = select(
        Need(states=4, lessons_per_day=1, years=1, retention_s=1.0, temperature_k=300.0),
        [material("taox_cmos")],
    )
    verdicts = {one.criterion: one.verdict for one in choice.judgements}
    assert verdicts == {"states": "meets", "endurance": "unknown", "retention": "unknown"}
    # Endurance of OxRAM is known as "up to": that settles nothing either.
    assert choice.missing == ("endurance_cycles", "retention_s", "retention_temperature_k")


def test_supplying_what_is_missing_settles_it() -> None:
    need = Need(lessons_per_day=1, years=1)
    row = material("hfo2_array_optimised")
    assert verdict(row, need) == "unknown"
    assert verdict(row.supply(endurance_cycles=1e9), need) == "meets"
    assert verdict(row.supply(endurance_cycles=10.0), need) == "fails"


def ranked(need: Need, *rows: Material) -> list[str]:
    return [one.material.title for one in select(need, rows)]


def test_order_fails_last_then_met_then_margin() -> None:
    def row(title: str, **values: float) -> Material:
        return Material(name="x", title=title, values={}, family="reram").supply(**values)

    need = Need(states=10, on_off=10, write_time_s=1.0)
    rows = [
        row("two fail", states=1, on_off=1),
        row("one fails, two met", states=1000, on_off=1000, write_time_s=2.0),
        row("nothing known"),
        row("one met", states=1e6),
        row("two met, narrow", states=10, on_off=20),
        row("two met, wide", states=20, on_off=30),
        row("one fails", states=1),
    ]
    assert ranked(need, *rows) == [
        "two met, wide",
        "two met, narrow",
        "one met",
        "nothing known",
        "one fails, two met",
        "one fails",
        "two fail",
    ]
    # The order is that of the rules, not of the list.
    assert ranked(need, *reversed(rows)) == ranked(need, *rows)


def test_the_reason_says_all_verdicts_with_their_margins() -> None:
    need = Need(states=32, lessons_per_day=1000, years=10, retention_s=10 * YEAR_S)
    by_name: dict[str, Choice] = {one.material.name: one for one in select(need)}
    assert by_name["ecram_wo3"].reason == (
        "meets states (9.4x); fails endurance (0.027x); unknown: retention"
    )
    assert by_name["hzo_wox"].reason == "meets states (6.2x), endurance (27x), retention (1x)"
    assert by_name["hzo_wox"].missing == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "nothing is asked for"),
        ({"pulses_per_lesson": 3.0}, "nothing is asked for"),
        ({"states": 0.0}, "states must be positive, got 0"),
        ({"states": float("nan")}, "states must be positive, got nan"),
        ({"states": "many"}, "states of Need must be a number or None, got 'many'"),
        ({"states": True}, "states of Need must be a number or None, got True"),
        ({"states": float("inf")}, r"states must be 1e-60 to 1e\+60, got inf"),
        ({"states": 2.0, "pulses_per_lesson": -1.0}, "pulses_per_lesson must be positive"),
        ({"years": 3.0}, "got years alone"),
        ({"lessons_per_day": 3.0}, "got lessons_per_day alone"),
        ({"states": 2.0, "temperature_k": 300.0}, "that of the retention"),
    ],
)
def test_a_need_that_asks_nothing_or_nonsense_is_refused(
    values: dict[str, float], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Need(**values)


def test_what_is_no_need_or_no_material_is_refused() -> None:
    need = Need(states=2.0)
    for asked, among, words in (
        (None, None, "need must be of class Need, got None"),
        (need, 3, "among lists materials, got 3"),
        (need, ["gst_pcm"], "a row to judge must be of class Material, got 'gst_pcm'"),
    ):
        with pytest.raises(ConfigError, match=words):
            select(asked, among)  # type: ignore[arg-type]
    assert len(select(need, (material("gst_pcm"),))) == 1
