"""Each change has its answer, the gravest first, and a caller may have others."""

import pytest

from clnf.core.errors import ConfigError
from clnf.streams.policy import DriftPolicy, Signals, decide

NAN = float("nan")


@pytest.mark.parametrize(
    ("signals", "response", "change"),
    [
        (Signals(), "nothing", None),
        (Signals(probe_drop=0.02, hardware=0.02), "nothing", None),
        (Signals(step="the loss is 9"), "nothing", None),
        (Signals(data=("edges",)), "consolidate", "data"),
        (Signals(probe_drop=0.03), "rollback", "harm"),
        (Signals(probe_drop=NAN), "rollback", "harm"),
        (Signals(probe_drop=0.03, taught=False), "recalibrate", "hardware"),
        (Signals(hardware=0.05), "recalibrate", "hardware"),
        (Signals(hardware=NAN), "recalibrate", "hardware"),
        (Signals(hardware=0.05, probe_drop=0.3), "recalibrate", "hardware"),
        (Signals(data=("edges",), probe_drop=0.3), "rollback", "harm"),
    ],
)
def test_the_gravest_change_is_answered(signals, response, change) -> None:
    decision = decide(signals)
    assert (decision.response, decision.change) == (response, change)


def test_reasons_name_what_was_seen() -> None:
    assert decide(Signals(data=("edges", "colour"))).reason == "the stream changed in edges, colour"
    assert decide(Signals(probe_drop=0.25)).reason == (
        "a probe fell by 25.0% while something was taught"
    )
    assert decide(Signals(step="the loss is 9")).reason == "the loss is 9"
    assert decide(Signals()).reason == "nothing changed"


def test_a_policy_changes_answers_and_tolerances() -> None:
    careful = DriftPolicy(
        probe_tolerance=0.0,
        responses={
            "data": "nothing", "step": "rollback", "hardware": "recalibrate", "harm": "rollback"
        },
    )  # fmt: skip
    assert decide(Signals(data=("edges",)), careful).response == "nothing"
    assert decide(Signals(data=("edges",), step="odd"), careful).response == "rollback"
    assert decide(Signals(probe_drop=0.001), careful).response == "rollback"
    with pytest.raises(ConfigError, match="a policy answers"):
        DriftPolicy(responses={"data": "consolidate"})
    with pytest.raises(ConfigError, match="a policy answers"):
        DriftPolicy(responses=dict(DriftPolicy().responses, data="grow"))
    with pytest.raises(ConfigError, match="tolerances"):
        DriftPolicy(probe_tolerance=NAN)
