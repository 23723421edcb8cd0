"""Images on OpenAI's wire: what a chat model can be asked, and what of its answer is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import apis
from router.apis.openai.pictures import FEATURES
from router.core.api import Malformed
from router.core.call import Call
from router.core.task import AnnotateRequest, AnnotateResult
from tests.fakes import a_call

API = apis.load("openai")
PNG = b"\x89PNG\r\n\x1a\n and more"


def looking(*images: bytes, features: Any = (("labels", 2), ("text", 0))) -> Call:
    request = AnnotateRequest(images=images or (PNG,), features=tuple(features))
    return a_call(task="annotate", request=request, wire="google_vision")


def answer(content: Any, **usage: int) -> bytes:
    message = {"role": "assistant", "content": content}
    said = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "model": "m"}
    return json.dumps(said | {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}).encode()


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0 jpeg", "jpeg"),
        (b"GIF89a", "gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
    ],
)
def test_an_image_goes_as_what_it_is(image, kind):
    """Its own first bytes say so."""
    sent = json.loads(API.request(looking(image), "m").body)
    assert sent["messages"][0]["content"][1]["image_url"]["url"].startswith(f"data:image/{kind};")
    assert sent["max_completion_tokens"] == API.units(looking(image), "m").output_tokens


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (looking(features=(("faces", 1),)), "faces"),
        (looking(features=(("labels", 1), ("objects", 1))), "objects"),
        (looking(PNG, PNG), "one image"),
        (looking(b"BM a bitmap"), "PNG"),
        (looking(b"RIFF\x00\x00\x00\x00WAVEfmt "), "PNG"),
    ],
)
def test_what_a_chat_model_cannot_be_asked(call, why):
    """Places in the image, several images, kinds that it does not see: unfit, with the reason."""
    assert why in API.unfit(call, "m")


@given(
    st.lists(st.text(max_size=5), max_size=4),
    st.lists(st.text(max_size=5), max_size=4),
    st.lists(
        st.tuples(st.sampled_from(sorted(FEATURES)), st.integers(0, 3)),
        min_size=1,
        unique_by=lambda pair: pair[0],
    ),
)
def test_findings_are_those_asked_for(labels, text, features):
    """At most as many as were asked for, of those features only; nothing that nobody said."""
    call = looking(features=features)
    result = API.reader(call, "m").whole(answer(json.dumps({"labels": labels, "text": text})))
    assert isinstance(result, AnnotateResult)
    (image,) = result.images
    for feature, most in features:
        said = labels if feature == "labels" else text
        found = [a.text for a in image.annotations if a.feature == feature]
        assert found == said[: most or None]
    assert {a.feature for a in image.annotations} <= {name for name, _ in features}
    assert all(a.score is None and a.box is None for a in image.annotations)


@pytest.mark.parametrize(
    "content", [None, "", "I see a cat.", "[]", '{"labels":["cat"]}', '{"labels":[1],"text":[]}']
)
def test_words_in_another_form_are_malformed(content):
    """A model that did not keep to the schema has found nothing."""
    with pytest.raises(Malformed):
        API.reader(looking(), "m").whole(answer(content))


@given(st.binary(max_size=80))
def test_any_bytes_are_malformed(body):
    """Nothing else is ever raised."""
    with pytest.raises(Malformed):
        API.reader(looking(), "m").whole(body)
