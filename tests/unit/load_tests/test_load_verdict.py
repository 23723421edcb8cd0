"""What a load run is judged by: profiles, objectives, and the sums from the answers' headers."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import load_tests
from load_tests.asks import KINDS
from load_tests.judge import Objectives, judge, verdict
from load_tests.own import SANDBOX, keys
from load_tests.profile import read_profile, write_profile
from load_tests.run import command, read_objectives
from load_tests.sandbox.faults import Rule
from load_tests.tally import Ended, Tally
from router.config import parse

HERE = Path(load_tests.__file__).parent
PROFILES = sorted(
    path for path in (HERE / "profiles").glob("*.yaml") if ".config" not in path.suffixes
)
CONFIGS = sorted((HERE / "profiles").glob("*.config.yaml"))
SUMMARY = {
    "calls": 100,
    "errors": 1,
    "late": 2,
    "misshapen": 0,
    "refused": 20,
    "struck": 50,
    "struck answered": 49,
    "criticality": {"critical calls": 40, "critical answered": 40, "sheddable calls": 60, "sheddable refused": 20},
    "entries": {"chat": {"p50": 0.2, "p95": 0.5}},
    "money": {"cost_per_1k_usd": 0.01, "saved_share": 0.4},
    "billed_usd": 0.05,
}  # fmt: skip


def test_objectives_that_hold_and_break_are_named():
    limits = Objectives(times={"chat": {"p50": 0.2, "p95": 0.4}}, error_share=0.02, saved_share=0.5)
    findings = judge(SUMMARY, limits)
    assert [finding.held for finding in findings] == [True, False, True, True, False]
    assert verdict(findings) == "VERDICT: broken (chat p95, saved share)"
    assert verdict(findings[:1]) == "VERDICT: held"


@pytest.mark.parametrize(
    ("field", "holds", "breaks"),
    [
        ("late_share", 0.02, 0.019),
        ("fail_over_share", 0.98, 0.981),
        ("struck_least", 50, 51),
        ("refused_least", {"any": 0.2}, {"any": 0.21}),
        ("refused_least", {"sheddable": 0.3}, {"sheddable": 0.4}),
        ("error_share_of", {"critical": 0.0}, {"sheddable": 0.5}),
        ("billed_usd", 0.05, 0.049),
    ],
)
def test_each_objective_has_its_limit(field, holds, breaks):
    """What is at the limit holds, what is beyond it breaks."""
    assert all(f.held for f in judge(SUMMARY, Objectives(**{field: holds})))
    assert not all(f.held for f in judge(SUMMARY, Objectives(**{field: breaks})))


def test_what_was_not_measured_did_not_hold():
    empty = {**SUMMARY, "calls": 0, "errors": 0, "entries": {}, "struck": 0, "struck answered": 0}
    limits = Objectives(times={"embed": {"p50": 9.0}}, error_share=1.0, fail_over_share=0.0)
    assert not any(finding.held for finding in judge(empty, limits))
    silent = {**SUMMARY, "money": {"cost_per_1k_usd": None, "saved_share": None}}
    del silent["billed_usd"]
    wanted = Objectives(cost_per_1k_usd=1, saved_share=0, billed_usd=1, misshapen=None)
    assert not any(f.held for f in judge(silent, wanted))


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_every_profile_is_readable_and_has_objectives(path, tmp_path):
    """It names known kinds and faults, its configuration is there, and it survives being written."""
    profile = read_profile(path)
    assert profile.rate or profile.users >= sum(1 for weight in profile.mix.values() if weight)
    assert set(profile.mix) <= set(KINDS)
    assert read_objectives(HERE / "objectives.yaml", path.stem).error_share is not None
    msgspec.convert([rule for step in profile.faults for rule in step.rules], list[Rule])
    assert profile.config is None or (path.parent / profile.config).exists()
    assert read_profile(write_profile(profile, tmp_path / "again.yaml")) == profile
    assert command(profile, "http://x", tmp_path)[-1] in {"Lane", *profile.mix}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_every_configuration_is_one_of_the_router_and_stays_in_the_house(path):
    """The router would take it, and each of its backends is the sandbox."""
    config = parse(path.read_text(), source=path.name)
    assert all(spec.base.startswith(SANDBOX) for spec in config.backends.values())


def test_a_shorter_run_moves_its_moments_along():
    """Half as long: the rates and faults begin at half of their moments."""
    profile = read_profile(HERE / "profiles" / "vendor-outage.yaml")
    short = profile.lasting(profile.seconds // 2)
    assert [step.at * 2 for step in short.faults] == [step.at for step in profile.faults]
    assert read_profile(HERE / "profiles" / "spike.yaml").lasting(30).rate == {0: 4, 10: 40, 20: 4}


def test_the_bill_may_grow_by_the_budget_of_the_configuration():
    """The limit that the verdict holds the vendors' bill to is the budget's."""
    text = (HERE / "profiles" / "budget-exhaustion.config.yaml").read_text()
    limit = read_objectives(HERE / "objectives.yaml", "budget-exhaustion").billed_usd
    assert f"usd: {limit}}}" in text


def test_a_run_of_its_own_uses_no_key_of_the_environment():
    """Each variable of the configuration gets a key of the sandbox."""
    text = (HERE / "profiles" / "vendor-outage.config.yaml").read_text()
    assert keys(text)["FIRST_KEY"] == "sk-sandbox-first"
    assert len(keys(text)) == 4


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
    """Over two workers, whose sums the master adds."""
    tally, worker = Tally(), Tally()
    for cost, saved in amounts:
        tally.headers(
            {
                "x-isocost-backend": "local",
                "x-isocost-cost-usd": f"0.{cost:012d}",
                "x-isocost-saved-usd": f"0.{saved:012d}",
            }
        )
        worker.line(b": isocost call-id=1 cost-usd=0.%012d\n" % cost)
        worker.line(b": a comment of another kind\n")
    tally.add(worker.take())
    tally.add(worker.take())
    assert tally.sums["cost"] == 2 * sum(cost for cost, _ in amounts)
    assert tally.sums["saved"] == sum(saved for _, saved in amounts)
    assert tally.sums["priced"] == 2 * len(amounts)


def test_answers_that_say_nothing_are_no_zero_cost():
    tally = Tally()
    tally.ended(Ended(at=0.0, seconds=0.1, status=200, headers={}, answered=True))
    told = tally.told()
    assert told["backends"] == {"not told": 1}
    assert told["cost_usd"] is None
    assert told["cost_per_1k_usd"] is None


@pytest.mark.parametrize(
    ("headers", "answered", "refused", "struck"),
    [
        ({"x-isocost-attempts": "1", "x-isocost-reason": "cheapest"}, True, False, False),
        ({"x-isocost-attempts": "2", "x-isocost-reason": "cheapest; a fault"}, True, False, True),
        ({"x-isocost-attempts": "1", "x-isocost-reason": "cheapest; a left: breaker open"}, True, False, True),
        ({"x-isocost-attempts": "1", "x-isocost-reason": "cheapest; a left: full"}, True, False, False),
        ({}, False, False, True),
        ({"x-isocost-attempts": "0"}, False, True, False),
    ],
)  # fmt: skip
def test_a_call_is_struck_by_who_fails_or_is_out(headers, answered, refused, struck):
    """Nobody can say that fail over works by calls that nothing happened to."""
    tally = Tally()
    call = Ended(
        at=3.2, seconds=0.1, status=200, headers=headers, answered=answered, refused=refused
    )
    tally.ended(call)
    assert tally.sums["struck"] == struck
    assert tally.sums["struck answered"] == (struck and answered)
