"""The file and what it is compiled into: faults that say where and what, rules, secrets, reloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cli.check import load
from router.config import ConfigError, parse, read, seconds_worth
from router.core.api import Endpoint
from router.core.call import Key, Outcome
from router.core.service import Service
from router.core.task import ChatRequest, EmbedRequest, Message
from router.core.verdict import FAULT
from router.pipeline import Pipeline, World, build
from router.rules import FACTS, VARIABLES, RuleError, compile_rule
from router.secrets import LOOK, SecretError, secret
from tests.fakes import FakeClock, Recorder, a_call, answering, play

SOUND = """
backends:
  own:
    api: torchserve
    model: small
    base: http://127.0.0.1:8085/
    price: {per_hour_usd: 0.36, concurrency: 4}
    limits: {in_flight: 8}
    tags: [fast]
  paid:
    api: openai
    model: gpt-4o-mini
    key_env: OPENAI_API_KEY
routes:
  chat:
    task: chat
    backends: [own, paid]
"""
ENV = {"OPENAI_API_KEY": "sk-vendor"}


class Sent:
    """Makes leaf services that answer, and notes the endpoints."""

    def __init__(self) -> None:
        self.endpoints: dict[str, Endpoint] = {}

    def __call__(self, endpoint: Endpoint) -> Service:
        self.endpoints[endpoint.name] = endpoint
        return answering(name=endpoint.name)


def a_world(folder: Path = Path("/nowhere"), **changes: Any) -> World:
    given = {
        "folder": folder,
        "env": ENV,
        "now": FakeClock(),
        "send": Sent(),
        "record": Recorder(),
    }
    return World(**(given | changes))


def built(text: str = SOUND, world: World | None = None, old: Pipeline | None = None) -> Pipeline:
    return build(parse(text), world or a_world(), old)


def faults(text: str, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        built(text, a_world(**changes))
    return str(caught.value)


def with_(old: str, new: str, text: str = SOUND) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


# The file.


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    model: small", "    modle: small", "backends.own.modle (line 5): unknown key; did you mean 'model'?"),
        ("    model: small\n", "", "backends.own.model (line 3): is missing"),
        ("    task: chat", "    task: chatt", "routes.chat.task (line 16): Input should be 'chat'"),
        ("limits: {in_flight: 8}", "limits: {in_flight: 0}", "backends.own.limits.in_flight (line 8): "),
        ("limits: {in_flight: 8}", "limits: {zzz: 1}", "unknown key; known here: in_flight, connect, first_event, idle"),
        ("[own, paid]", "[]", "routes.chat.backends (line 17): "),
        ("tags: [fast]", "tags: [fast, {a: 1}]", "backends.own.tags.1 (line 9): "),
        ("routes:", "server: {prot: 1}\nroutes:", "server.prot (line 14): unknown key; did you mean 'port'?"),
    ],
)  # fmt: skip
def test_a_fault_says_where_and_what(old, new, said):
    """A fault names its path and line, and for a misspelled key the one that was meant."""
    with pytest.raises(ConfigError) as caught:
        parse(with_(old, new), source="my.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("my.yaml:")


def test_all_faults_at_once():
    """Every fault of the file is told in one message."""
    text = SOUND.replace("model:", "modle:").replace("task: chat", "task: x")
    with pytest.raises(ConfigError) as caught:
        parse(text)
    # Two unknown keys, two missing ones, one wrong task.
    assert len(str(caught.value).splitlines()) == 6


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", "a: [", "\t", "backends: 1\nroutes: 1", "a: 2001-99-99", "&a {x: *a}", "x: !!python/object:os.x 1"],
)  # fmt: skip
def test_no_configuration_is_no_crash(text):
    """What is no configuration at all is a ConfigError too, never another error."""
    with pytest.raises(ConfigError):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text):
    """Whatever the text, parsing it raises ConfigError or nothing."""
    try:
        parse(text)
    except ConfigError as exc:
        assert str(exc)  # noqa: PT017


def test_a_key_may_not_stand_twice():
    """YAML would keep the last of two keys: here the second is a fault with its line."""
    said = faults(with_("  paid:\n", "  own:\n    api: openai\n    model: x\n  paid:\n"))
    assert "backends.own (line 10): stands there twice" in said


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a: \xff"])
def test_a_broken_file_is_named(tmp_path, raw):
    """A file that is missing or is no text is refused by its name."""
    file = tmp_path / "isocost.yaml"
    with pytest.raises(ConfigError, match=r"isocost.yaml: cannot be read: No such file"):
        read(file)
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match=r"isocost.yaml: is not text"):
        read(file)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("20s", 20.0), ("2m", 120.0), ("1h", 3600.0), ("1.5s", 1.5), ("7", 7.0)],
)
def test_a_duration_is_written_with_its_unit(text, seconds):
    """Milliseconds to hours are understood, a bare number is seconds."""
    config = parse(with_("task: chat", f"task: chat\n    promise: {{deadline: {text}}}"))
    assert config.routes["chat"].promise.deadline == seconds


@pytest.mark.parametrize(
    "text", ["20x", "-1s", "0", "soon", "1.2.3s", ".s", ".inf", ".nan", "1 2s"]
)
def test_no_duration(text):
    """What is no positive, finite duration is refused at its path."""
    with pytest.raises(ConfigError, match=r"routes.chat.promise.deadline \(line 17\)"):
        parse(with_("task: chat", f"task: chat\n    promise: {{deadline: {text}}}"))


@pytest.mark.parametrize(
    ("text", "worth"),
    [("cheapest", 0.0), ("fastest", None), ("balanced(0.01)", 0.01), ("balanced( 1e-3 )", 0.001)],
)
def test_an_objective_is_what_a_second_is_worth(text, worth):
    """Cheapest is nothing, fastest is all, balanced says the figure."""
    assert seconds_worth(text) == worth


@pytest.mark.parametrize(
    "text", ["cheap", "balanced", "balanced()", "balanced(-1)", "balanced(1e)", "balanced(nan)", "balanced(1)x"]
)  # fmt: skip
def test_no_objective(text):
    """Anything else is refused with what may be written: a negative worth would prefer the slow."""
    with pytest.raises(ConfigError, match=r"balanced\(0.01\)"):
        seconds_worth(text)
    assert "routes.chat: objective" in faults(
        with_("task: chat", f"task: chat\n    objective: {text}")
    )


# What it is compiled into.


def test_a_sound_file_is_ready_to_serve():
    """Prices are integers, local and remote are tagged, the base loses its slash, gates are sized."""
    world = a_world()
    pipeline = built(SOUND, world)
    own, paid = pipeline.routes["chat"].backends
    assert (own.name, own.local, own.price.machine_second) == ("own", True, 100_000_000)
    assert own.tags == {"fast", "local", "local_only"}
    assert own.gates.in_flight.limit == 8
    assert own.gates.meter.concurrency == 4
    assert (paid.local, paid.price.input_token, paid.price.output_token) == (
        False,
        150_000,
        600_000,
    )
    assert pipeline.routes["chat"].baseline is paid
    assert world.send.endpoints["own"].base == "http://127.0.0.1:8085"
    assert world.send.endpoints["paid"].secret() == "sk-vendor"
    assert "everybody" in pipeline.warnings[0]


def test_the_whole_stack_serves():
    """A call through the built pipeline is answered by the cheapest, recorded, and leaves no permit."""
    clock = FakeClock()
    world = a_world(now=clock)
    pipeline = built(SOUND, world)

    async def ask() -> Any:
        reply = await pipeline.service(a_call())
        reply.close()
        return reply

    reply = play(ask(), clock)
    assert reply.backend == "own"
    assert len(world.record.seen) == 1
    for backend in pipeline.backends.values():
        assert backend.gates.in_flight.count == backend.gates.meter.in_flight == 0
    assert pipeline.routes["chat"].forecast.output == 10.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[own, paid]", "[own, nope]", "routes.chat: backends: 'nope' does not exist; known: own, paid"),
        ("api: openai", "api: opnai", "backends.paid: unknown api 'opnai'; known: deepl, elevenlabs, google_speech, google_vision, openai, torchserve"),
        ("gpt-4o-mini", "gpt-99", "backends.paid: price: no list has a price for model 'gpt-99'"),
        ("OPENAI_API_KEY", "NO_KEY", "backends.paid: key_env: environment variable NO_KEY is not set"),
        ("    base: http://127.0.0.1:8085/\n", "", "backends.own: base: is missing"),
        ("task: chat", "task: classify", "routes.chat: backends: paid cannot do classify"),
        ("gpt-4o-mini", "gpt-4o-mini\n    tasks: [translate]", "backends.paid: tasks: api openai cannot do translate"),
        ("task: chat", "task: chat\n    promise: {answer: {p50: 1s, p95: 2s}}", "exactly one quantile"),
        ("task: chat", "task: chat\n    promise: {first_event: {}}", "exactly one quantile"),
        ("task: chat", "task: chat\n    rules: [{when: 'true', prefer: nope}]", "rules.0: 'nope' is no backend of this route and no tag"),
        ("task: chat", "task: chat\n    rules: [{when: 'true'}]", "rules.0: says nothing"),
        ("task: chat", "task: chat\n    rules: [{when: 'tru', prefer: own}]", "routes.chat: rules.0.when: "),
        ("task: chat", "task: chat\n    baseline: nope", "'nope' does not exist"),
        ("key_env: OPENAI_API_KEY", "key_env: OPENAI_API_KEY\n    key_file: f", "not both"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(old, new, said):
    """A fault that only building shows names its part and what to do."""
    assert said in faults(with_(old, new))


def test_all_faults_of_building_at_once():
    """Each part with a fault is told, and no fault is told that only follows from another."""
    text = with_("api: openai", "api: nope", with_("    base: http://127.0.0.1:8085/\n", ""))
    text = with_("task: chat", "task: chat\n    rules: [{when: 'true', prefer: [own, paid]}]", text)
    told = faults(text).splitlines()
    assert [line.split(":")[0].strip() for line in told] == ["backends.own", "backends.paid"]


def test_an_unknown_price_refuses_unless_it_is_written():
    """No price means no backend; a written price needs no list, per million tokens and per call."""
    price = "gpt-99\n    price: {input_usd_per_mtok: 0.0375, output_usd_per_mtok: 1, per_call_usd: 0.001}"
    found = built(with_("gpt-4o-mini", price)).backends["paid"].price
    assert (found.input_token, found.cached_token, found.output_token) == (37_500, 37_500, 10**6)
    assert found.call == 10**9
    cached = price.replace(
        "per_call_usd: 0.001", "cached_usd_per_mtok: 0.01, cache_write_usd_per_mtok: 0.05"
    )
    found = built(with_("gpt-4o-mini", cached)).backends["paid"].price
    assert (found.cached_token, found.written_token) == (10_000, 50_000)


SANDBOX = with_(
    "key_env: OPENAI_API_KEY",
    "key_env: OPENAI_API_KEY\n    sandbox: {base: 'http://127.0.0.1:8090/v1/'}",
)


@pytest.mark.parametrize("env", [{}, {"OPENAI_API_KEY": ""}])
def test_a_sandbox_is_used_only_with_the_flag(env):
    """Without its key a backend is a fault, unless the flag allows its sandbox, which its name shows."""
    assert "OPENAI_API_KEY is not set" in faults(SANDBOX, env=env)
    world = a_world(env=env, sandbox=True)
    paid = built(SANDBOX, world).backends["paid"]
    assert paid.name == "paid-sandbox"
    endpoint = world.send.endpoints["paid-sandbox"]
    assert endpoint.base == "http://127.0.0.1:8090/v1"
    assert endpoint.secret().startswith("sk-sandbox")


def test_a_real_key_is_never_sent_to_a_sandbox():
    """With its key set a backend is the vendor's, flag or not."""
    world = a_world(sandbox=True)
    assert built(SANDBOX, world).backends["paid"].name == "paid"
    assert world.send.endpoints["paid"].base == "https://api.openai.com/v1"


EMBED = """
backends:
  a: {api: torchserve, model: minilm, base: 'http://a', price: {per_hour_usd: 1}}
  b: {api: torchserve, model: minilm, base: 'http://b', price: {per_hour_usd: 1}}
  c: {api: openai, model: text-embedding-3-small, key_env: OPENAI_API_KEY}
routes:
  embed: {task: embed, backends: [a, b, c]}
"""


def test_vectors_of_different_models_are_not_mixed():
    """A route of embeddings has one model, unless it says that mixing them is meant."""
    assert "minilm and text-embedding-3-small make vectors that cannot be compared" in faults(EMBED)
    assert len(built(with_("[a, b, c]", "[a, b]", EMBED)).routes["embed"].backends) == 2
    mixed = with_("[a, b, c]}", "[a, b, c], mixed_vectors: true}", EMBED)
    assert len(built(mixed).routes["embed"].backends) == 3


RULES = with_(
    "task: chat",
    """task: chat
    rules:
      - {when: 'key.team == "batch"', prefer: fast}
      - {when: '"pii" in request.tags', require: local_only}
      - {when: request.stream, exclude: [paid, fast]}""",
)


def test_rules_name_backends_or_tags():
    """A rule's names are resolved at load: a backend by its name, several by a tag."""
    rules = built(RULES).routes["chat"].rules
    assert rules(a_call()) == ()
    (liked,) = rules(a_call(key=Key("k", team="batch")))
    assert (liked.prefer, liked.require) == ({"own"}, None)
    (bound,) = rules(a_call(tags=frozenset({"pii"})))
    assert bound.require == {"own"}
    (without,) = rules(a_call(stream=True))
    assert without.exclude == {"own", "paid"}
    assert without.rule == "request.stream"


def test_a_rule_for_a_sandbox_follows_its_name():
    """A rule names the backend as the file does, also when its sandbox stands in."""
    text = with_("task: chat", "task: chat\n    rules: [{when: 'true', prefer: paid}]", SANDBOX)
    pipeline = built(text, a_world(env={}, sandbox=True))
    assert pipeline.routes["chat"].rules(a_call())[0].prefer == {"paid-sandbox"}


KEYS = "keys:\n  - {name: ann, team: red, tags: vip, routes: [chat], key_env: ANN}\n  - {name: bob, key_file: bob.key}\n"


def test_keys_are_known_by_their_secret(tmp_path):
    """A caller is found by his secret alone, with team, tags and routes; others are not."""
    (tmp_path / "bob.key").write_text("hush\n")
    world = a_world(tmp_path, env=ENV | {"ANN": "pst"})
    pipeline = built(KEYS + SOUND, world)
    assert pipeline.keys.who("pst") == Key("ann", "red", frozenset({"vip"}), frozenset({"chat"}))
    assert pipeline.keys.who("hush").name == "bob"
    assert pipeline.keys.who("nope") is None
    assert pipeline.keys.who("") is None
    assert pipeline.warnings == ()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("{name: ann}", "ann: give exactly one of key_env, key_file and sha256"),
        ("{name: ann, key_env: ANN, key_file: f}", "ann: give exactly one"),
        ("{name: ann, key_env: NONE}", "environment variable NONE is not set"),
        ("{name: ann, key_file: none.key}", "ann: its secret is empty"),
        ("{name: ann, key_env: ANN, routes: [nope]}", "ann: route 'nope' does not exist"),
        ("{name: ann, key_env: ANN}, {name: bob, key_env: ANN}", "bob: same secret as ann"),
    ],
)
def test_a_key_without_one_secret_is_refused(keys, said):
    """Keys that nobody or two could use are faults; no message holds a secret."""
    told = faults(f"keys: [{keys}]\n{SOUND}", env=ENV | {"ANN": "pst-secret"})
    assert said in told
    assert "pst-secret" not in told


# Reloads.


def test_gates_outlive_a_reload():
    """Gates are carried over by the backend's name, with new limits; forecasts by the route's."""
    world = a_world()
    old = built(SOUND, world)
    gates = old.backends["own"].gates
    gates.breaker.acquire(a_call())(Outcome(FAULT, 0.1))
    permit = gates.in_flight.acquire(a_call())
    new = built(with_("{in_flight: 8}", "{in_flight: 3}"), world, old)
    assert new.backends["own"].gates is gates
    assert (gates.in_flight.limit, gates.in_flight.count) == (3, 1)
    permit(Outcome(FAULT, 0.1))
    assert gates.in_flight.count == 0
    assert new.routes["chat"].forecast is old.routes["chat"].forecast
    renamed = SOUND.replace("own", "mine")
    assert built(renamed, world, old).backends["mine"].gates is not gates


def test_limits_that_adapt_are_those_of_machines():
    """Priced by the hour: adaptive, above its concurrency; others, and where it is switched off: not."""
    found = built().backends
    admission = found["own"].gates.admission
    assert admission is not None
    assert admission.limit == 8
    assert found["paid"].gates.admission is None
    off = built(with_("{in_flight: 8}", "{in_flight: 8, adaptive: false}")).backends
    assert off["own"].gates.admission is None
    on = with_("key_env: OPENAI_API_KEY", "key_env: OPENAI_API_KEY\n    limits: {adaptive: true}")
    assert built(on).backends["paid"].gates.admission is not None


def test_admission_outlives_a_reload():
    """What is in flight stays counted, with new bounds; switched off and on it starts anew."""
    world = a_world()
    old = built(SOUND, world)
    gate, process = old.backends["own"].gates.admission, old.admission
    permit = gate.acquire(a_call())
    smaller = "server: {admission: {in_flight: 100}}\n"
    new = built(smaller + with_("{in_flight: 8}", "{in_flight: 5}"), world, old)
    assert new.backends["own"].gates.admission is gate
    assert (gate.limit, gate.count, process.limit) == (5, 1, 100)
    assert new.admission is process
    off = built(with_("{in_flight: 8}", "{in_flight: 8, adaptive: false}"), world, new)
    assert off.backends["own"].gates.admission is None
    again = built(SOUND, world, off).backends["own"].gates
    assert again.admission is not gate
    assert again.in_flight is old.backends["own"].gates.in_flight
    permit(Outcome(FAULT, 0.1))
    assert gate.count == 0


def test_a_changed_breaker_takes_effect():
    """New settings make a new breaker; slots and measurements are kept."""
    world = a_world()
    old = built(SOUND, world)
    new = built(with_("tags: [fast]", "breaker: {in_a_row: 1}"), world, old)
    before, after = old.backends["own"].gates, new.backends["own"].gates
    assert after.breaker is not before.breaker
    assert after.in_flight is before.in_flight
    assert after.meter is before.meter
    after.breaker.acquire(a_call())(Outcome(FAULT, 0.1))
    assert not after.breaker.ready()


def test_a_refused_reload_changes_nothing():
    """A file with any fault leaves what runs untouched, limits of kept gates included."""
    world = a_world()
    old = built(SOUND, world)
    bad = with_("gpt-4o-mini", "gpt-99", with_("{in_flight: 8}", "{in_flight: 3}"))
    with pytest.raises(ConfigError):
        built(bad, world, old)
    assert old.backends["own"].gates.in_flight.limit == 8
    assert old.backends["own"].gates.meter.concurrency == 4


# Rules.


def rule(text: str, *, on_failure: bool = False, **changes: Any) -> bool:
    return compile_rule(text, on_failure=on_failure)(a_call(**changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request.input_token > 5", "input_token"),
        ("key.teem == 'x'", "teem"),
        ("request.input_tokens > 'x'", "no matching overload"),
        ("1 +", "Syntax error"),
    ],
)
def test_a_fault_of_a_rule_is_shown(text, said):
    """A rule that does not compile is shown with a caret under the fault and the names it may use."""
    with pytest.raises(RuleError) as caught:
        compile_rule(text, on_failure=False)
    assert said in str(caught.value)
    assert "^" in str(caught.value)
    assert "A rule may use: key.name, key.tags" in str(caught.value)


def test_the_caret_stands_under_the_misspelled_name():
    """The caret points at the column of the fault."""
    with pytest.raises(RuleError) as caught:
        compile_rule("request.stream && nope", on_failure=False)
    lines = str(caught.value).splitlines()
    caret = next(i for i, line in enumerate(lines) if "^" in line)
    assert lines[caret - 1][lines[caret].index("^") :].startswith("nope")


@pytest.mark.parametrize("text", ["request.input_tokens", "'x'", "[true]", "key.tags"])
def test_a_rule_is_true_or_false(text):
    """A rule of another type is refused with the type it has."""
    with pytest.raises(RuleError, match="must be true or false"):
        compile_rule(text, on_failure=False)


HELD = {
    "request.task": "== 'chat'",
    "request.route": "== 'chat'",
    "request.input_tokens": "== 100",
    "request.output_limit": "== 50",
    "request.stream": "== true",
    "request.tools": "== true",
    "request.plain_text": "== false",
    "request.items": "== 2",
    "request.criticality": "== 'critical'",
    "request.tags": "== ['t']",
    "request.fields": "== ['tools']",
    "key.name": "== 'ann'",
    "key.team": "== 'red'",
    "key.tags": "== ['vip']",
}


def test_every_variable_is_described():
    """Each name has a type and a way to read it, and this file tries it."""
    assert VARIABLES.keys() == FACTS.keys() == HELD.keys()


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("style", ["{0} {1}", "({0}{1})", "!!({0} {1}) && true"])
def test_every_variable_can_be_used(name, style):
    """Each name has its fact of the call as value."""
    messages = (
        Message(role="user", text="hi"),
        Message(role="user", text="", plain=False),
    )
    call = {
        "request": ChatRequest(messages=messages),
        "key": Key("ann", "red", frozenset({"vip"})),
        "stream": True,
        "tags": frozenset({"t"}),
        "extras": frozenset({"tools"}),
        "fields": {"tools": b"[1]"},
    }
    text = style.format(name, HELD[name])
    assert rule(text, **call)
    assert not rule(f"!({text})", **call)


def test_spaces_in_a_name_are_no_failure():
    """CEL allows spaces around the dot of a name: the fact is there all the same."""
    assert rule("request . stream", stream=True)
    assert not rule("request\n.stream", stream=False, on_failure=True)


def test_a_call_without_a_key_has_empty_facts():
    """Where nobody said who he is, key facts are empty, not missing."""
    assert rule("key.name == '' && key.team == '' && size(key.tags) == 0", key=None)


def test_items_are_counted_by_task():
    """Items are messages, or texts."""
    assert rule("request.items == 3", request=EmbedRequest(texts=("a", "b", "c")), task="embed")


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("text", ["1 / (request.input_tokens - 100) > 0", "key.tags[5] == 'x'"])
def test_a_rule_that_fails_is_safe(text, safe):
    """A failure while a rule runs yields what its kind calls safe, and raises nothing."""
    assert rule(text, on_failure=safe) is safe


def test_a_failing_rule_protects_but_does_not_prefer():
    """Where it excludes or requires, a rule that fails holds; where it only prefers, it does not."""
    failing = "1 / (request.input_tokens - 100) > 0"
    text = with_(
        "task: chat",
        f"task: chat\n    rules:\n      - {{when: '{failing}', prefer: paid}}\n"
        f"      - {{when: '{failing}', require: local_only}}",
    )
    (effect,) = built(text).routes["chat"].rules(a_call())
    assert effect.require == {"own"}


# Secrets.


def test_a_secret_of_the_environment():
    """It is read once, without the blanks around it; a missing one is named, not guessed."""
    read_it = secret("K", None, folder=Path(), env={"K": " s3cret\n"})
    assert read_it() == "s3cret"
    with pytest.raises(SecretError, match="NONE is not set"):
        secret("NONE", None, folder=Path(), env={"K": "s3cret"})
    with pytest.raises(SecretError, match="not both"):
        secret("K", "f", folder=Path(), env={"K": "s3cret"})
    assert secret(None, None, folder=Path(), env={})() == ""


def test_a_secret_file_may_come_late_and_change(tmp_path):
    """It is looked at again a moment after a change, at once while there is none, and may vanish."""
    clock, file = FakeClock(), tmp_path / "inference.key"
    read_it = secret(None, "inference.key", folder=tmp_path, env={}, now=clock)
    assert read_it() == ""
    file.write_text("one\n")
    assert read_it() == "one"
    file.write_text("two\n")
    os.utime(file, ns=(1, 1))
    assert read_it() == "one", "a look at each call would cost more than the plan"
    clock.pass_(LOOK)
    assert read_it() == "two"
    file.unlink()
    clock.pass_(LOOK)
    assert read_it() == ""
    file.write_bytes(b"\xff")
    assert read_it() == "", "what is no text is no secret, and no crash"


GOOD = """
backends: {own: {api: openai, base: "http://127.0.0.1:1/v1", model: m, price: {per_hour_usd: 1}}}
routes: {chat: {task: chat, backends: [own]}}
"""


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("{admin: {port: 8179}}", "needs a key of its own"),
        ("{admin: {port: 8179, key_env: ISOCOST_UNSET_KEY}}", "ISOCOST_UNSET_KEY"),
        ("{port: 8179, admin: {port: 8179, key_file: key}}", "one of its own"),
    ],
)
def test_a_check_refuses_what_would_not_be_served(server, said, tmp_path):
    """The admin API's key and port are looked at as `serve` does."""
    (tmp_path / "key").write_text("secret")
    file = tmp_path / "isocost.yaml"
    file.write_text(f"server: {server}\n" + GOOD)
    with pytest.raises(ConfigError, match=said):
        load(file, sandbox=True)


def test_two_keys_may_not_share_a_name(tmp_path):
    """Budgets and the journal go by the name of a key."""
    file = tmp_path / "isocost.yaml"
    twice = [{"name": "alice", "sha256": c * 64} for c in "ab"]
    file.write_text(f"keys: {twice}\n" + GOOD)
    with pytest.raises(ConfigError, match="alice: two keys have this name"):
        load(file, sandbox=True)
