"""The rules of a route: words of the file become sets of backends, conditions become functions."""

from __future__ import annotations

from collections.abc import Callable

from router.config import ConfigError, RouteConfig
from router.core.call import Call
from router.route import Backend, Effect
from router.rules import RuleError, compile_rule


def rules(
    spec: RouteConfig, mine: list[Backend], named: dict[str, Backend]
) -> Callable[[Call], tuple[Effect, ...]]:
    """What the rules that hold for a call ask for. *named*: by their names in the file.

    Raises ConfigError.
    """
    compiled = []
    for index, rule in enumerate(spec.rules):

        def resolve(wanted: list[str], at: int = index) -> frozenset[str]:
            out: set[str] = set()
            for word in wanted:
                by_tag = {b.name for b in mine if word in b.tags}
                known = word in spec.backends or by_tag or word in {"local_only", "local"}
                if not known:
                    raise ConfigError(
                        f"rules.{at}: {word!r} is no backend of this route and no tag of one"
                    )
                out |= by_tag | ({named[word].name} if word in named else set())
            return frozenset(out)

        effect = Effect(
            rule.when,
            resolve(rule.prefer),
            resolve(rule.exclude),
            resolve(rule.require) if rule.require is not None else None,
        )
        if not (rule.prefer or rule.exclude or rule.require):
            raise ConfigError(f"rules.{index}: says nothing; give prefer, exclude or require")
        binding = bool(rule.exclude or rule.require)
        try:
            compiled.append((compile_rule(rule.when, on_failure=binding), effect))
        except RuleError as exc:
            raise ConfigError(f"rules.{index}.when: {exc}") from None

    if not compiled:
        return lambda call: ()

    def effects(call: Call) -> tuple[Effect, ...]:
        return tuple([effect for holds, effect in compiled if holds(call)])

    return effects
