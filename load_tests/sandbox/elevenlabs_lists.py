"""What ElevenLabs tells of its models, its voices and the customer's plan."""

from typing import Any

DEFAULT_LIMIT = 1_000_000  # credits that the plan is said to have while no quota is set
MONTH = 30 * 24 * 3600


def model_list(data: dict[str, Any]) -> list[dict[str, Any]]:
    """GET /v1/models."""
    languages = [{"language_id": code, "name": name} for code, name in data["languages"].items()]
    return [
        {
            "model_id": key,
            "name": one["name"],
            "can_be_finetuned": False,
            "can_do_text_to_speech": True,
            "can_do_voice_conversion": False,
            "can_use_style": one["cost"] == 1.0,
            "can_use_speaker_boost": one["cost"] == 1.0,
            "serves_pro_voices": False,
            "token_cost_factor": 1.0,
            "description": f"{one['name']}, as the sandbox speaks it",
            "requires_alpha_access": False,
            "max_characters_request_free_user": 2500,
            "max_characters_request_subscribed_user": one["longest"],
            "maximum_text_length_per_request": one["longest"],
            "languages": languages,
            "model_rates": {"character_cost_multiplier": one["cost"]},
            "concurrency_group": one["group"],
        }
        for key, one in data["models"].items()
    ]


def voice(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """One voice."""
    known = data["voices"][name]
    labels = {"gender": known["gender"], "accent": known["accent"], "use_case": "narration"}
    return {
        "voice_id": name,
        "name": known["name"],
        "category": "premade",
        "labels": labels,
        "description": f"{known['name']}, in tones",
        "available_for_tiers": [],
        "high_quality_base_model_ids": list(data["models"]),
        "is_owner": False,
        "is_legacy": False,
        "is_mixed": False,
    }


def voice_list(data: dict[str, Any], *, paged: bool) -> dict[str, Any]:
    """GET /v1/voices, and /v2/voices with its one page."""
    voices = [voice(name, data) for name in data["voices"]]
    if not paged:
        return {"voices": voices}
    return {
        "voices": voices,
        "has_more": False,
        "total_count": len(voices),
        "next_page_token": None,
    }


def plan(used: int, limit: int | None, seconds: float) -> dict[str, Any]:
    """GET /v1/user/subscription: credits used on the bill, and the quota."""
    return {
        "tier": "creator",
        "character_count": used,
        "character_limit": DEFAULT_LIMIT if limit is None else limit,
        "max_character_limit_extension": None,
        "max_credit_limit_extension": 0,
        "can_extend_character_limit": False,
        "allowed_to_extend_character_limit": False,
        "next_character_count_reset_unix": (int(seconds) // MONTH + 1) * MONTH,
        "voice_slots_used": 0,
        "professional_voice_slots_used": 0,
        "professional_voice_slots_used_in_workspace": 0,
        "voice_limit": 30,
        "voice_add_edit_counter": 0,
        "professional_voice_limit": 1,
        "can_extend_voice_limit": False,
        "can_use_instant_voice_cloning": True,
        "can_use_professional_voice_cloning": True,
        "currency": "usd",
        "current_overage": {"amount": "0", "currency": "usd"},
        "status": "active",
        "billing_period": "monthly_period",
        "character_refresh_period": "monthly_period",
        "open_invoices": [],
        "has_open_invoices": False,
    }
