"""What clients of this wire ask beside speech: models, voices, and what their key has used.

Models are the routes that speak, voices those that the configuration names for their backends. A
voice that no backend names is still passed on, to backends that take any, but cannot be listed.
What only the vendor's accounts have (slots, invoices, tiers) is none, or left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from router.core.ability import ANY
from router.core.api import Facts, Question, RouteFacts, Told
from router.core.call import NOTHING
from router.core.errors import BadRequest

NO_LIMIT = 10**12
"""The wire must show a limit of characters; keys here have none, so it is one out of reach."""
MOST = 100
"""Voices on one page at most, as the vendor's."""
_PAGED = {"search", "sort", "sort_direction", "page_size", "next_page_token", "voice_ids"}
_SHOWN = {"include_total_count", "show_legacy"}
_encode = msgspec.json.Encoder().encode


def _speaking(facts: Facts) -> list[RouteFacts]:
    return [route for route in facts.routes if route.task == "speak"]


def _voices(facts: Facts) -> list[dict[str, Any]]:
    """Every voice that has a name here, in the order of the names."""
    names = {
        name
        for route in _speaking(facts)
        for can in route.abilities
        for name in can.voices or ()
        if name != ANY
    }
    return [{"voice_id": name, "name": name, "labels": {}} for name in sorted(names)]


def models(facts: Facts, told: Told) -> bytes:
    """A model for each route."""
    cannot = ("can_be_finetuned", "can_do_voice_conversion", "requires_alpha_access")
    return _encode(
        [
            {"model_id": route.name, "name": route.name, "can_do_text_to_speech": True}
            | dict.fromkeys(cannot, False)
            for route in _speaking(facts)
        ]
    )


def all_voices(facts: Facts, told: Told) -> bytes:
    """Version 1: all at once."""
    return _encode({"voices": _voices(facts)})


def one_voice(facts: Facts, told: Told) -> bytes:
    """One, by its name. Raises BadRequest."""
    wanted = told.params.get("voice_id", "")
    for voice in _voices(facts):
        if voice["voice_id"] == wanted:
            return _encode(voice)
    missing = BadRequest(
        f"No voice {wanted!r} is named in the configuration.",
        param="voice_id",
        code="voice_not_found",
    )
    missing.status = 404
    raise missing


def search(facts: Facts, told: Told) -> bytes:
    """Version 2: page by page. Raises BadRequest."""
    query = told.query
    for name in query.keys() - _PAGED - _SHOWN:
        raise BadRequest(
            f"Voices are not told apart by `{name}` here: leave it out.", param=name, code=name
        )
    found = [v for v in _voices(facts) if query.get("search", "").lower() in v["name"].lower()]
    if "voice_ids" in query:
        found = [v for v in found if v["voice_id"] in query["voice_ids"].split(",")]
    if query.get("sort_direction") == "desc":
        found.reverse()
    size = _number(query.get("page_size", "10"), "page_size", least=1, most=MOST)
    start = _number(query.get("next_page_token", "0"), "next_page_token", least=0, most=10**9)
    more = start + size < len(found)
    return _encode(
        {
            "voices": found[start : start + size],
            "has_more": more,
            "total_count": len(found),
            "next_page_token": str(start + size) if more else None,
        }
    )


def _number(said: str, name: str, *, least: int, most: int) -> int:
    # Not isdigit: that takes digits of other scripts, too.
    value = int(said) if said.isdecimal() and said.isascii() and len(said) < 12 else -1
    if not least <= value <= most:
        raise BadRequest(f"`{name}` is {said!r}; it must be {least} to {most}.", param=name)
    return value


_NONE = (
    "voice_slots_used",
    "professional_voice_slots_used",
    "professional_voice_slots_used_in_workspace",
    "voice_limit",
    "voice_add_edit_counter",
    "professional_voice_limit",
)
_CANNOT = (
    "can_extend_character_limit",
    "allowed_to_extend_character_limit",
    "can_extend_voice_limit",
    "can_use_instant_voice_cloning",
    "can_use_professional_voice_cloning",
)


def _subscription(facts: Facts) -> dict[str, Any]:
    return {
        "tier": facts.key.team,
        "character_count": facts.used.get("speak", NOTHING).characters,
        "character_limit": NO_LIMIT,
        "max_credit_limit_extension": 0,
        "status": "active",
        **dict.fromkeys(_NONE, 0),
        **dict.fromkeys(_CANNOT, False),
    }


def subscription(facts: Facts, told: Told) -> bytes:
    """What the key has used."""
    return _encode(_subscription(facts) | {"open_invoices": [], "has_open_invoices": False})


def user(facts: Facts, told: Told) -> bytes:
    """Whose key it is; never the key itself."""
    return _encode(
        {
            "user_id": facts.key.name,
            "workspace_id": facts.key.team,
            "subscription": _subscription(facts),
            "is_new_user": False,
            "can_use_delayed_payment_methods": False,
            "is_onboarding_completed": True,
            "is_onboarding_checklist_completed": True,
            "is_api_key_hashed": True,
            "seat_type": "workspace_member",
        }
    )


_ANSWERS: dict[str, Callable[[Facts, Told], bytes]] = {
    "/v1/voices": all_voices,
    "/v2/voices": search,
    "/v1/voices/{voice_id}": one_voice,
    "/v1/user": user,
    "/v1/user/subscription": subscription,
}
QUESTIONS = (
    Question("/v1/models", models, header=b"xi-api-key"),
    *(Question(pattern, answer) for pattern, answer in _ANSWERS.items()),
)
