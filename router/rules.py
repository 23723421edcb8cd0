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

Predicate = Callable[[Call], bool]

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
    "request.criticality": _T.STRING,
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
    joined = "".join(text.split())  # CEL allows spaces around the dot of a name
    used = [(name, FACTS[name]) for name in VARIABLES if name in joined]

    def holds(call: Call) -> bool:
        try:
            value = expression.eval(data={name: fact(call) for name, fact in used}).value()
        except (RuntimeError, ValueError):
            return on_failure
        return value if isinstance(value, bool) else on_failure

    return holds


def _plain(call: Call) -> bool:
    request = call.request
    return not isinstance(request, ChatRequest) or all(m.plain for m in request.messages)


def _items(call: Call) -> int:
    request = call.request
    if isinstance(request, ChatRequest):
        return len(request.messages)
    if isinstance(request, (EmbedRequest, ClassifyRequest, TranslateRequest)):
        return len(request.texts)
    return 1


FACTS: dict[str, Callable[[Call], Any]] = {
    "request.task": lambda call: call.task,
    "request.route": lambda call: call.route,
    "request.input_tokens": lambda call: call.input_tokens,
    "request.output_limit": lambda call: call.output_limit,
    "request.stream": lambda call: call.stream,
    "request.tools": lambda call: "tools" in call.fields,
    "request.plain_text": _plain,
    "request.items": _items,
    "request.criticality": lambda call: call.criticality,
    "request.tags": lambda call: list(call.tags),
    "request.fields": lambda call: list(call.extras),
    "key.name": lambda call: call.key.name if call.key else "",
    "key.team": lambda call: call.key.team if call.key else "",
    "key.tags": lambda call: list(call.key.tags) if call.key else [],
}
"""How each name is read from a call; only those that a rule uses are."""
