"""The configuration file: strict, with every fault named by its path, its line and a suggestion.

Secrets are never written here: `key_env` names an environment variable, `key_file` a file.
The meaning of each field is in its description, which `isocost schema` exports for editors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from router.core.call import Criticality
from router.core.task import Task


class ConfigError(ValueError):
    """The file cannot be used; the message lists every fault."""


def _seconds(value: Any) -> Any:
    """Seconds from "20s", "500ms", "2m" or a number."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+\.?\d*)\s*(ms|s|m|h)\s*", value)
        if not found:
            raise ValueError("a duration is written like 500ms, 20s or 2m")
        return float(found[1]) * {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
SomeSeconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Names = Annotated[list[str], BeforeValidator(_listed)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PriceConfig(_Strict):
    """What a backend costs. Without it the price lists are asked; an unknown price refuses."""

    per_hour_usd: float | None = Field(
        default=None, ge=0, description="USD per hour of the machine"
    )
    concurrency: int | None = Field(
        default=None, ge=1, description="calls the machine serves together"
    )
    input_usd_per_mtok: float = Field(default=0, ge=0, description="USD per million input tokens")
    cached_usd_per_mtok: float | None = Field(
        default=None, ge=0, description="USD per million cached ones"
    )
    cache_write_usd_per_mtok: float | None = Field(
        default=None, ge=0, description="USD per million input tokens newly kept in its cache"
    )
    output_usd_per_mtok: float = Field(default=0, ge=0, description="USD per million output tokens")
    audio_input_usd_per_mtok: float = Field(
        default=0, ge=0, description="USD per million input tokens of audio"
    )
    audio_output_usd_per_mtok: float = Field(
        default=0, ge=0, description="USD per million output tokens of audio"
    )
    per_million_characters_usd: float = Field(
        default=0, ge=0, description="USD per million characters (code points)"
    )
    per_thousand_credits_usd: float = Field(
        default=0, ge=0, description="USD per thousand credits of the vendor"
    )
    per_minute_usd: float = Field(default=0, ge=0, description="USD per minute of audio")
    per_thousand_images_usd: dict[str, float] = Field(
        default={}, description="USD per thousand images, by feature"
    )
    per_call_usd: float = Field(default=0, ge=0, description="USD per call")


class LimitsConfig(_Strict):
    """What a backend may be asked at once."""

    in_flight: int = Field(
        default=256, ge=1, description="calls in flight at most; more are refused"
    )
    connect: Seconds = Field(default=5.0, description="longest wait for a connection")
    first_event: Seconds | None = Field(
        default=None, description="longest silence before a first event"
    )
    idle: Seconds | None = Field(
        default=30.0, description="longest silence between two pieces of a stream"
    )
    adaptive: bool | None = Field(
        default=None,
        description="fewer while it becomes slower; if unset, on when priced by the hour",
    )


class BreakerConfig(_Strict):
    """When to stop calling a backend, see docs/routing.md."""

    in_a_row: int = Field(default=5, ge=1)
    window: Seconds = 20.0
    least: int = Field(default=20, ge=1)
    share: float = Field(default=0.5, gt=0, le=1)
    slow: Seconds | None = Field(
        default=None, description="a slower answer, or first event, counts as bad"
    )
    cooldown: Seconds = 5.0
    cooldown_max: Seconds = 60.0
    probe_every: Seconds = Field(
        default=20.0, description="while it is open, one call alone may try so often"
    )
    probes: int = Field(default=3, ge=1, le=100, description="good calls that close it again")


class LanguagesConfig(_Strict):
    """BCP 47 tags; `en` stands for all regions of English. Left out: not limited."""

    source: list[str] | None = None
    target: list[str] | None = None


class SandboxConfig(_Strict):
    """A stand-in of the vendor. Used only when `--sandbox` is given and the key is not set."""

    base: str


class BackendConfig(_Strict):
    """One place that can serve: api + base + model + price."""

    api: str = Field(
        description="wire format: openai, torchserve, elevenlabs, deepl, google_vision, "
        "google_speech"
    )
    model: str = Field(description="the model's name at the backend")
    base: str | None = Field(default=None, description="base URL; the vendor's own when left out")
    key_env: str | None = Field(default=None, description="environment variable that holds the key")
    key_file: str | None = Field(default=None, description="file that holds the key; may change")
    credentials_file: str | None = Field(
        default=None, description="service account of Google; its tokens are renewed in time"
    )
    price: PriceConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    breaker: BreakerConfig = BreakerConfig()
    tasks: list[Task] | None = Field(
        default=None, description="tasks it serves; all of its api's if unset"
    )
    tags: Names = Field(default_factory=list)
    local: bool | None = Field(
        None, description="data stays in house; true for torchserve, else false unless said"
    )
    context: int = Field(default=0, ge=0, description="tokens in and out together; 0: not limited")
    voices: dict[str, str] | None = Field(
        default=None,
        description="voice as clients name it: the backend's own; `*` for all others",
    )
    languages: LanguagesConfig = LanguagesConfig()
    features: list[str] | None = Field(
        default=None, description="features of images that it knows; not limited if unset"
    )
    status: str | None = Field(
        default=None, description="URL of the status page of `python -m serving`"
    )
    sandbox: SandboxConfig | None = None
    trace: bool | None = Field(
        default=None, description="its requests carry the trace; true for local ones unless said"
    )


class QuantileConfig(_Strict):
    """Seconds at one quantile, such as {p95: 1s}."""

    p50: Seconds | None = None
    p90: Seconds | None = None
    p95: Seconds | None = None
    p99: Seconds | None = None


class PromiseConfig(_Strict):
    """What a route owes its callers."""

    deadline: Seconds = Field(
        default=60.0, description="seconds per call when the caller does not say"
    )
    first_event: QuantileConfig | None = Field(default=None, description="until a stream begins")
    answer: QuantileConfig | None = Field(default=None, description="until a whole answer is there")
    max_cost_usd: float | None = Field(default=None, gt=0, description="USD per call at most")


class RuleConfig(_Strict):
    """A condition in CEL, and what holds then; names are backends or tags."""

    when: str
    prefer: Names = Field(default_factory=list)
    exclude: Names = Field(default_factory=list)
    require: Names | None = None


class BudgetConfig(_Strict):
    """At most so much in each window; for one team, key, route or backend, or for all calls."""

    team: str | None = Field(default=None, description="`*`: each team for itself")
    key: str | None = None
    route: str | None = None
    backend: str | None = None
    window: str = Field(description="day, week, month, total, or a rolling one such as 24h")
    usd: Annotated[float, Field(ge=0)]
    at_limit: Literal["refuse", "local_only", "warn"] = "refuse"
    alerts: list[float] = Field(
        default=[50.0, 80.0, 100.0], description="percent of the limit at which the log is told"
    )
    zone: str = Field(default="UTC", description="time zone of day, week and month")


class LedgerConfig(_Strict):
    """Where money is kept, see docs/ledger.md."""

    url: str | None = Field(
        default=None, description="sqlite:///FILE or postgresql://...; a file of the state folder"
    )
    url_env: str | None = Field(default=None, description="environment variable that holds it")
    unreachable: Literal["refuse", "local_only"] = "refuse"
    timeout: Seconds = 1.0
    allowance_usd: float = Field(
        default=0, ge=0, description="USD that a process may spend while it is away"
    )
    durable: bool = Field(default=False, description="SQLite: survive a loss of power, too")


class CacheConfig(_Strict):
    """Where answers are kept, for routes that say `cache`, see docs/caching.md."""

    max_mb: float = Field(
        default=64, gt=0, description="MiB of answers in each process; the oldest unused go first"
    )
    url: str | None = Field(
        default=None, description="redis://... of a Redis or Valkey that replicas share"
    )
    url_env: str | None = Field(default=None, description="environment variable that holds it")
    timeout: Seconds = Field(default=0.05, description="longest wait for it")


class JournalConfig(_Strict):
    """How long the records of calls stay, see docs/journal.md."""

    keep_days: float = Field(default=30, gt=0, description="days after which records are removed")
    keep_mb: float = Field(
        default=1024, ge=1, description="MiB of all files; the oldest are removed"
    )
    prompt_hash: bool = Field(
        default=False, description="keep the SHA-256 of the texts of each call, never the texts"
    )


_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def _after(value: Any) -> Any:
    if isinstance(value, str) and value in _QUANTILES:
        return value
    try:
        return _seconds(value)
    except ValueError:
        raise ValueError(
            f"write one of {', '.join(_QUANTILES)}, or a duration such as 800ms"
        ) from None


class HedgeConfig(_Strict):
    """A second attempt beside a slow one, see docs/failures.md."""

    after: Annotated[
        Literal["p50", "p90", "p95", "p99"] | Annotated[float, Field(gt=0)],
        BeforeValidator(_after),
    ] = Field(default="p95", description="quantile of the backend's own times, or a duration")
    percent: float = Field(default=5.0, gt=0, le=50, description="of the route's calls at most")
    paid_twice: bool = Field(default=False, description="beside a paid attempt, another paid one")

    @property
    def quantile(self) -> float | None:
        """The share that `after` names; None when it is a duration."""
        return _QUANTILES[self.after] if isinstance(self.after, str) else None


class FailureConfig(_Strict):
    """What to do when a backend fails, see docs/failures.md."""

    attempts: int = Field(default=3, ge=1, le=10, description="attempts per call at most")
    retries: int = Field(
        default=1, ge=0, le=5, description="times one that failed is asked again, after all others"
    )
    hedge: HedgeConfig | None = None
    on_broken_stream: Literal["error", "continue"] = Field(
        default="error", description="what follows a stream of text that breaks off"
    )


class RouteCacheConfig(_Strict):
    """Equal calls get the same answer again, where the request determines it."""

    ttl: Seconds = Field(description="seconds for which an answer is given again")
    scope: Literal["key", "shared"] = Field(
        default="key", description="each key has answers of its own, or all share them"
    )
    stale: Seconds | None = Field(
        default=None, description="seconds after that, in which it is given if no backend answers"
    )


class RouteConfig(_Strict):
    """One client-facing model name."""

    task: Task
    backends: list[str] = Field(min_length=1)
    objective: str = Field(
        default="cheapest", description="cheapest, fastest or balanced(USD per second)"
    )
    promise: PromiseConfig = PromiseConfig()
    rules: list[RuleConfig] = Field(default_factory=list)
    failure: FailureConfig = FailureConfig()
    max_output_tokens: int = Field(
        default=512, ge=1, description="sent when the caller gives no maximum"
    )
    baseline: str | None = Field(
        default=None, description="paid backend that savings are stated against"
    )
    mixed_vectors: bool = Field(
        default=False, description="embeddings of different models may answer this route"
    )
    cache: RouteCacheConfig | None = Field(
        default=None, description="keep answers, and give them again; off when not set"
    )


class RatesConfig(_Strict):
    """At most so many in any minute; not limited when left out."""

    requests: int | None = Field(default=None, ge=1, description="requests a minute")
    units: int | None = Field(
        default=None, ge=1, description="tokens, characters, seconds or images a minute"
    )


class KeyConfig(_Strict):
    """A caller. Exactly one of key_env, key_file and sha256 says what its secret is."""

    name: str
    team: str = "default"
    tags: Names = Field(default_factory=list)
    routes: list[str] | None = None
    tasks: list[Task] | None = Field(default=None, description="tasks it may ask for; all if unset")
    rates: RatesConfig = RatesConfig()
    criticality: Criticality | None = Field(
        default=None, description="the highest that its calls may have; any if unset"
    )
    expires: datetime | None = Field(
        default=None, description="refused from then on; UTC when it names no zone"
    )
    key_env: str | None = None
    key_file: str | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


class AdminConfig(_Strict):
    """The admin API, on a port of its own, see docs/admin.md."""

    host: str = "127.0.0.1"
    port: int = Field(default=8079, ge=0, le=65535)
    key_env: str | None = Field(default=None, description="environment variable with its key")
    key_file: str | None = Field(default=None, description="file with its key; may change")


class AdmissionConfig(_Strict):
    """How many calls one process serves at once, see docs/admission.md."""

    in_flight: int = Field(default=2048, ge=1, description="calls in progress at most")
    adaptive: bool = Field(default=True, description="fewer while the process is too busy")
    lag: Seconds = Field(
        default=0.05, description="wait for the process's turn from which on it is too busy"
    )


class ServerConfig(_Strict):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    body_limit_mb: float = Field(default=16, gt=0)
    media_limit_mb: float = Field(
        default=40, gt=0, description="the same for calls that carry audio or images"
    )
    grace: SomeSeconds = Field(
        default=30.0, description="seconds for calls under way once it is told to stop"
    )
    drain_delay: SomeSeconds = Field(
        default=0.0,
        description="seconds that it serves on before, not ready, for load balancers to notice",
    )
    decisions: int = Field(default=1000, ge=0, description="decision records kept in memory")
    admission: AdmissionConfig = AdmissionConfig()
    connections: int = Field(
        default=4096, ge=1, description="open at most; requests on more are refused"
    )
    bodies_mb: float = Field(
        default=512, gt=0, description="MiB of all bodies under way; more are refused"
    )
    log: Literal["text", "json"] = Field(default="text", description="form of the log's lines")
    log_calls: bool = Field(default=False, description="one line of the log for each call")
    admin: AdminConfig | None = Field(default=None, description="the admin API is served if set")


class TracingConfig(_Strict):
    """Where traces go, see docs/observability.md; what is left out is told by OTEL_* variables."""

    endpoint: str | None = Field(
        default=None,
        pattern="^https?://",
        description="OTLP over HTTP, such as http://collector:4318/v1/traces",
    )
    service: str | None = Field(
        default=None, min_length=1, description="name of this service; isocost if nobody says"
    )
    sample: float | None = Field(
        default=None, ge=0, le=1, description="share of the calls that bring no trace of their own"
    )
    callers: Literal["follow", "ignore"] = Field(
        default="follow", description="whether a caller's traceparent is taken"
    )


class Config(_Strict):
    """The whole file."""

    server: ServerConfig = ServerConfig()
    keys: list[KeyConfig] = Field(default_factory=list)
    exchange: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="USD per unit of other currencies, for lists in them"
    )
    ledger: LedgerConfig | None = Field(
        default=None, description="kept when it is here, or when there are budgets"
    )
    budgets: list[BudgetConfig] = Field(default_factory=list)
    journal: JournalConfig = JournalConfig()
    cache: CacheConfig = CacheConfig()
    tracing: TracingConfig | None = Field(default=None, description="calls are traced if set")
    doors: dict[str, dict[Task, str]] = Field(
        default_factory=dict,
        description="wire: task: the route of calls whose body has no place for one",
    )
    backends: dict[str, BackendConfig] = Field(min_length=1)
    routes: dict[str, RouteConfig] = Field(min_length=1)


def parse(text: str, *, source: str = "isocost.yaml") -> Config:
    """The configuration in *text*. Raises ConfigError with every fault."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{source}: not YAML: {_unread(exc)}") from None
    faults = list(_doubled(node, (), set()))
    try:
        config = Config.model_validate(data if data is not None else {})
    except ValidationError as exc:
        faults += [_fault(error, node) for error in exc.errors()]
    if faults:
        raise ConfigError(f"{source}:\n" + "\n".join(f"  {fault}" for fault in faults)) from None
    return config


def _unread(exc: Exception) -> str:
    """What is wrong and where, without the line itself: there may be a password in it."""
    mark = getattr(exc, "problem_mark", None)
    if mark is None:
        return type(exc).__name__
    wrong = getattr(exc, "problem", None) or "cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {wrong}"


def read(path: Path) -> Config:
    """The configuration in file *path*. Raises ConfigError."""
    try:
        text = path.read_text()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: is not text in UTF-8: {exc}") from exc
    return parse(text, source=str(path))


def _doubled(node: Any, where: tuple[str, ...], walked: set[int]) -> Iterator[str]:
    """Keys that stand twice in one mapping: YAML would silently keep the last."""
    if not isinstance(node, yaml.MappingNode) or id(node) in walked:
        return
    walked.add(id(node))
    seen: set[str] = set()
    for key, value in node.value:
        path = (*where, str(key.value))
        if key.value in seen and isinstance(key, yaml.ScalarNode):
            yield f"{'.'.join(path)} (line {key.start_mark.line + 1}): stands there twice"
        elif isinstance(key, yaml.ScalarNode):
            seen.add(key.value)
        yield from _doubled(value, path, walked)


def _fault(error: Any, node: yaml.Node | None) -> str:
    where = [str(part) for part in error["loc"]]
    path, line = ".".join(where) or "(top)", _line(node, where)
    at = f"{path} (line {line})" if line else path
    if error["type"] == "extra_forbidden":
        known = _known(where[:-1])
        near = get_close_matches(where[-1], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
        return f"{at}: unknown key{hint}"
    if error["type"] == "missing":
        return f"{at}: is missing"
    return f"{at}: {error['msg'].removeprefix('Value error, ')}"


def _line(node: yaml.Node | None, where: list[str]) -> int:
    line = 0
    for part in where:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _known(where: list[str]) -> list[str]:
    """The keys that the schema knows at a path."""
    schema = Config.model_json_schema()
    node: Any = schema
    for part in where:
        node = _resolve(schema, node)
        if "properties" in node and part in node["properties"]:
            node = node["properties"][part]
        elif "additionalProperties" in node:
            node = node["additionalProperties"]
        elif "items" in node:
            node = node["items"]
    return list(_resolve(schema, node).get("properties", ()))


def _resolve(schema: Any, node: Any) -> Any:
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            node = option
    if "$ref" in node:
        return schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


Objective = Literal["cheapest", "fastest", "balanced"]


def seconds_worth(objective: str) -> float | None:
    """USD that a second is worth; None when only seconds count. Raises ConfigError."""
    if objective == "cheapest":
        return 0.0
    if objective == "fastest":
        return None
    found = re.fullmatch(r"balanced\(\s*(\d+\.?\d*(?:[eE][+-]?\d{1,2})?)\s*\)", objective)
    if not found:
        raise ConfigError(
            f"objective {objective!r} is not known; write cheapest, fastest or balanced(0.01), "
            "the figure being what a second is worth in USD"
        )
    return float(found[1])
