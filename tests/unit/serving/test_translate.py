"""Translation as TorchServe calls it: families of models, engines, languages, lines, refusals."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_handlers import call, context_for
from translate_tiny import FRENCH, PAIRS, WHOLE

from serving.worker.settings import Translation
from serving.worker.translation import Row, direction, take_apart, translate_all
from serving.worker.translation_handler import TranslationHandler
from serving.worker.wire import Refused

pytestmark = pytest.mark.xdist_group("taught")


@pytest.fixture(scope="module", params=sorted(WHOLE))
def family(request, taught):
    return request.param, taught(request.param), WHOLE[request.param][1]


@pytest.fixture(scope="module", params=["torch", "ctranslate2"])
def served(request, family):
    name, folder, settings = family
    handler = TranslationHandler()
    context = context_for(folder, task=["translate"], engine=request.param, translation=settings)
    handler.initialize(context)
    return name, handler, context


def ask(texts, **more):
    return {"task": "translate", "texts": texts, "target": "de", "source": "en", **more}


def texts(answer):
    return [each["text"] for each in json.loads(answer)["translations"]]


def test_every_family_says_what_it_was_taught(served):
    """Requests of unlike lengths in one batch, a bad one among them; each gets its own answer."""
    _, handler, context = served
    bodies = [
        ask(list(PAIRS)),
        ask(["good morning"], formality="more"),
        ask(["good morning", "the cat sleeps"]),
        ask(["good morning"], target="ja"),
        {"task": "translate", "texts": []},
    ]
    first, formal, second, japanese, none = call(handler, context, bodies)
    status = [context.get_response_status(index)[0] for index in range(5)]
    assert status == [200, 400, 200, 400, 400]
    assert texts(first) == list(PAIRS.values())
    assert texts(second) == ["guten Morgen", "die Katze schläft"]
    assert json.loads(first)["usage"] == {"characters": sum(map(len, PAIRS))}
    assert json.loads(first)["model"] == "tiny"
    codes = [json.loads(body)["code"] for body in (formal, japanese, none)]
    assert codes == ["unsupported", "unsupported", "invalid_request"]
    assert "'ja'" in json.loads(japanese)["message"]


def test_targets_share_a_batch(served):
    """Where the model has two, each request gets its own."""
    name, handler, context = served
    if name == "marian":
        (answer,) = call(handler, context, [ask(["good morning"], target="fr")])
        assert json.loads(answer)["code"] == "unsupported"
        return
    german, french = call(
        handler, context, [ask(list(FRENCH)), ask(list(FRENCH), target="fr", source="en-GB")]
    )
    assert texts(german) == [PAIRS[text] for text in FRENCH]
    assert texts(french) == list(FRENCH.values())


def test_the_source_may_be_left_out_where_there_is_one(served):
    """Then the answer says as what the text was read; else the caller has to name it."""
    name, handler, context = served
    (answer,) = call(handler, context, [ask(["good morning"], source=None)])
    if name == "m2m100":
        assert json.loads(answer)["code"] == "unsupported"
        return
    assert json.loads(answer)["translations"] == [{"text": "guten Morgen", "detected_source": "en"}]


def test_lines_and_blanks_come_back_as_they_were(served):
    """Blank texts cost nothing and stay blank."""
    _, handler, context = served
    text = "\n  good morning\r\n\n\tthe cat sleeps \n"
    (answer,) = call(handler, context, [ask([text, "", " \n"])])
    assert texts(answer) == ["\n  guten Morgen\r\n\n\tdie Katze schläft \n", "", " \n"]


def test_a_line_that_is_too_long_is_refused_alone(served):
    """Its neighbour is served; a shorter line breaks the limit no more."""
    _, handler, context = served
    long, fine = call(handler, context, [ask(["the cat sleeps " * 60]), ask(["good morning"])])
    assert json.loads(long)["code"] == "context_length_exceeded"
    assert texts(fine) == ["guten Morgen"]


def test_a_translation_that_does_not_end_is_not_cut(family):
    """With room for three tokens only, the long sentence is refused on both engines."""
    _, folder, settings = family
    for engine in ("torch", "ctranslate2"):
        handler = TranslationHandler()
        context = context_for(folder, task=["translate"], engine=engine, translation=settings)
        handler.initialize(context)
        longest = list(PAIRS)[-1]
        origin, goal = direction(handler.languages, "en", "de")
        rows = handler.steering.rows([longest], origin, goal)
        assert handler.engine.translate(rows, 3) == [None]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_says_the_same(family, dtype):
    """The formats that a GPU would use, by torch on the CPU."""
    _, folder, settings = family
    handler = TranslationHandler()
    context = context_for(
        folder, task=["translate"], engine="torch", dtype=dtype, translation=settings
    )
    handler.initialize(context)
    (answer,) = call(handler, context, [ask(list(PAIRS))])
    assert texts(answer) == list(PAIRS.values())


@pytest.mark.parametrize("engine", ["torch", "ctranslate2"])
def test_int8_says_nearly_the_same(family, engine):
    """Quantised at start; most sentences of so small a model survive the rounding."""
    _, folder, settings = family
    handler = TranslationHandler()
    context = context_for(
        folder, task=["translate"], engine=engine, quantization="int8", translation=settings
    )
    handler.initialize(context)
    (answer,) = call(handler, context, [ask(list(PAIRS))])
    same = [one == other for one, other in zip(texts(answer), PAIRS.values(), strict=True)]
    assert sum(same) >= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": {"de": "German", "fr": "French"}}, "one target only"),
        ({"steering": "prefix", "prefix": "translate: "}, "must hold {target}"),
        ({"steering": "tokens", "targets": {"de": "deu_Latn"}}, "no mark for the language"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(family, settings, message):
    """With the reason, before any request comes."""
    _, folder, _ = family
    said = {"sources": {"en": "en"}, "targets": {"de": "de"}, **settings}
    context = context_for(folder, task=["translate"], engine="torch", translation=said)
    with pytest.raises(ValueError, match=message):
        TranslationHandler().initialize(context)
    context = context_for(folder, task=["translate"], engine="torch")
    with pytest.raises(ValueError, match="translation is missing"):
        TranslationHandler().initialize(context)


@given(st.text())
def test_a_text_taken_apart_is_whole_again(text):
    """Whatever the blanks; and no line is blank or holds a break."""
    layout = take_apart(text)
    assert layout.join(layout.lines) == text
    assert all(line.strip() == line and line for line in layout.lines)
    assert all(len(line.splitlines()) == 1 for line in layout.lines)


TAGS = st.sampled_from(["en", "de", "pt-BR", "zh"])


@given(
    st.sets(TAGS, min_size=1),
    st.sets(TAGS, min_size=1),
    st.sampled_from(["en", "EN-us", "de-AT", "pt", "pt-br", "zh-Hant", None]),
    st.sampled_from(["en-GB", "de", "PT-BR", "pt-PT"]),
)
def test_languages_are_served_or_refused(sources, targets, source, target):
    """A plain tag covers its regions, a region covers itself alone, and nothing becomes itself."""
    said = Translation(sources={t: t for t in sources}, targets={t: t for t in targets})

    def covered(tags, asked):
        return [t for t in tags if asked.lower() == t.lower()] or [
            t for t in tags if asked.lower().split("-")[0] == t.lower()
        ]

    origins = covered(sources, source) if source else list(sources)
    goals = covered(targets, target)
    if len(origins) == 1 and goals and origins != goals:
        assert direction(said, source, target) == (origins[0], goals[0])
        return
    with pytest.raises(Refused) as caught:
        direction(said, source, target)
    assert caught.value.code == "unsupported"


class Echo:
    context = 50

    def __init__(self):
        self.passes = []

    def translate(self, rows, longest):
        self.passes.append(([len(row.source) for row in rows], longest))
        return [list(row.source) for row in rows]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=40), max_size=20), st.integers(1, 7)
)
def test_rows_keep_their_places(rows, most):
    """However they are sorted into passes; no pass is too large or may grow without bound."""
    engine = Echo()
    assert translate_all(engine, [Row(row) for row in rows], most, 3.0) == rows
    for sizes, longest in engine.passes:
        assert len(sizes) <= most
        assert longest == min(50, max(sizes) * 3 + 16)
