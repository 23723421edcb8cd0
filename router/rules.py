"""Rules in CEL, proved at load: a misspelled name or a wrong type never reaches a request.

    when: request.input_tokens > 1500 && key.team != "batch"

A rule whose evaluation fails at run time (a division by zero, say) yields what the caller of
`compile_rule` says is safe: true where the rule may protect data, false where it only prefers.

Source: cel.dev language definition; `cel-expr-python` is Google's binding of cel-cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cel_expr_python import cel

from router.core.call import Call
from router.core.task import ChatRequest, ClassifyRequest, EmbedRequest, TranslateRequest

Facts = dict[str, Any]
Predicate = Callable[[Facts], bool]

_T = cel.Type
VARIABLES: dict[str, Any] = {
    "request.task": _T.STRING,
    "request.route": _T.STRING,
    "request.input_tokens": _T.INT,
    "request.output_limit": _T.INT,
    "request.stream": _T.BOOL,
    "request.tools": _T.BOOL,
    "request.plain_text": _T.BOOL,
    "request.items": _T.INT,
    "request.tags": _T.List(_T.STRING),
    "request.fields": _T.List(_T.STRING),
    "key.name": _T.STRING,
    "key.team": _T.STRING,
    "key.tags": _T.List(_T.STRING),
}
"""Every name that a rule may use. `request.fields` are those of the body beyond the common ones."""


class RuleError(ValueError):
    """A rule does not compile; the message holds the rule with a caret under the fault."""


def compile_rule(text: str, *, on_failure: bool) -> Predicate:
    """The predicate that *text* means. Raises RuleError."""
    try:
        expression = cel.NewEnv(variables=VARIABLES).compile(text)
    except (RuntimeError, ValueError) as exc:
        message = str(exc).replace("INVALID_ARGUMENT: ERROR: <input>:", "").strip()
        message = message.removesuffix("[INVALID_ARGUMENT]").strip()
        known = ", ".join(sorted(VARIABLES))
        raise RuleError(f"line {message}\nA rule may use: {known}.") from None
    kind = expression.return_type().name()
    if kind.lower() != "bool":
        raise RuleError(f"a rule must be true or false, this one is of type {kind}: {text}")

    def holds(facts: Facts) -> bool:
        try:
            value = expression.eval(data=facts).value()
        except (RuntimeError, ValueError):
            return on_failure
        return value if isinstance(value, bool) else on_failure

    return holds


def facts(call: Call) -> Facts:
    """What rules may read of *call*."""
    request, key = call.request, call.key
    chat = request.messages if isinstance(request, ChatRequest) else ()
    many = isinstance(request, (EmbedRequest, ClassifyRequest, TranslateRequest))
    return {
        "request.task": call.task,
        "request.route": call.route,
        "request.input_tokens": call.input_tokens,
        "request.output_limit": call.output_limit,
        "request.stream": call.stream,
        "request.tools": "tools" in call.fields,
        "request.plain_text": all(m.plain for m in chat),
        "request.items": len(request.texts) if many else max(1, len(chat)),  # type: ignore[union-attr]
        "request.tags": sorted(call.tags),
        "request.fields": sorted(call.extras),
        "key.name": key.name if key else "",
        "key.team": key.team if key else "",
        "key.tags": sorted(key.tags) if key else [],
    }
