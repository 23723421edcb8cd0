"""What a load run is judged by: profiles, objectives, and the sums from the answers' headers."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import load_tests
from load_tests.judge import Objectives, judge, verdict
from load_tests.profile import read_profile
from load_tests.run import read_objectives
from load_tests.tally import Tally

HERE = Path(load_tests.__file__).parent
SUMMARY = {
    "calls": 100,
    "errors": 1,
    "entries": {"chat": {"p50": 0.2, "p95": 0.5}},
    "money": {"cost_per_1k_usd": 0.01, "saved_share": 0.4},
}


def test_objectives_that_hold_and_break_are_named():
    limits = Objectives(times={"chat": {"p50": 0.2, "p95": 0.4}}, error_share=0.02, saved_share=0.5)
    findings = judge(SUMMARY, limits)
    assert [finding.held for finding in findings] == [True, False, True, False]
    assert verdict(findings) == "VERDICT: broken (chat p95, saved share)"
    assert verdict(findings[:1]) == "VERDICT: held"


def test_what_was_not_measured_did_not_hold():
    empty = {**SUMMARY, "calls": 0, "errors": 0, "entries": {}}
    limits = Objectives(times={"embed": {"p50": 9.0}}, error_share=1.0)
    assert [finding.held for finding in judge(empty, limits)] == [False, False]
    silent = {**SUMMARY, "money": {"cost_per_1k_usd": None, "saved_share": None}}
    assert not any(f.held for f in judge(silent, Objectives(cost_per_1k_usd=1, saved_share=0)))


@pytest.mark.parametrize("path", sorted((HERE / "profiles").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_profile_is_readable_and_has_objectives(path):
    profile = read_profile(path)
    assert profile.users >= sum(1 for weight in profile.weights.values() if weight)
    assert profile.seconds <= 600
    assert read_objectives(HERE / "objectives.yaml", path.stem).error_share is not None


def test_an_unknown_field_of_a_profile_is_refused(tmp_path):
    text = (HERE / "profiles" / "smoke.yaml").read_text() + "\nuser: 3\n"
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(msgspec.ValidationError, match="user"):
        read_profile(tmp_path / "bad.yaml")


def test_the_environment_renames_a_route():
    profile = read_profile(HERE / "profiles" / "direct.yaml")
    assert profile.route("assistant", {}) == "gpt-4o-mini"
    assert profile.route("assistant", {"ISOCOST_ROUTE_ASSISTANT": "other"}) == "other"
    assert profile.route("classifier", {}) == "classifier"


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9))))
def test_costs_of_headers_and_streams_add_up_exactly(amounts):
    tally = Tally()
    for cost, saved in amounts:
        tally.headers(
            {
                "x-isocost-backend": "local",
                "x-isocost-cost-usd": f"0.{cost:012d}",
                "x-isocost-saved-usd": f"0.{saved:012d}",
            }
        )
        tally.line(b": isocost call-id=1 cost-usd=0.%012d\n" % cost)
        tally.line(b": a comment of another kind\n")
    assert tally.cost == 2 * sum(cost for cost, _ in amounts)
    assert tally.saved == sum(saved for _, saved in amounts)
    assert tally.priced == 2 * len(amounts)


def test_answers_that_say_nothing_are_no_zero_cost():
    tally = Tally()
    tally.headers({})
    told = tally.told()
    assert told["backends"] == {"not told": 1}
    assert told["cost_usd"] is None
    assert told["cost_per_1k_usd"] is None
