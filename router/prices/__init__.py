"""List prices, compiled to integers at load.

Models billed by token are in `genai-prices`; what it lacks is in the files beside this module, each
price with its unit, currency, source and the day it was read. What no list knows is no price: the
caller refuses instead of guessing.
"""

from __future__ import annotations

from collections.abc import Mapping

from router.core.money import Price
from router.prices.files import by_file
from router.prices.genai import by_token

NO_EXCHANGE: Mapping[str, float] = {}


def listed(api: str, model: str, exchange: Mapping[str, float] = NO_EXCHANGE) -> Price | None:
    """The list price of *model* at the vendor of *api*; None when no list has it.

    *exchange* is dollars per unit of other currencies. Raises ValueError when it lacks one.
    """
    return by_file(api, model, exchange) or by_token(api, model)
