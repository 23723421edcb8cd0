"""Every error that the router raises, and the status that the client sees.

* RouterError
  + BadRequest         400  the client's mistake, found before any backend was asked
    + Unauthorized     401
    + Forbidden        403
    + UnknownRoute     404
    + TooLarge         413
  + RateLimited        429  the key's own requests or units of a minute are used up
  + TooExpensive       402  every fit backend would cost more than the call or its route allows
    + BudgetSpent      402  a budget has no room for it
  + AttemptFailed      502  one backend failed; another may do better
  + NoBackend          503  nothing is left to try
    + BooksClosed      503  the store of money is away, and paid calls need it
  + DeadlineExceeded   504  the caller's time is over
  + Stopped            503  this process ends, and the grace for calls under way is over
  + Rejected           503  a gate said no; nothing was sent
    + BreakerOpen, Overloaded, Shed, Paused, Down, RetriesSpent
"""

from __future__ import annotations

from .verdict import CANCELLED, FAULT, INVALID, LOST, REJECTED, Verdict


class RouterError(Exception):
    """An ending that is not an answer. `code` and `param` are OpenAI's words, kept by all doors."""

    status = 500
    code = "internal_error"
    verdict: Verdict = FAULT
    param: str | None = None
    retry_after: float | None = None
    """Seconds after which trying again makes sense; None when unknown or pointless."""
    cost: int = 0
    """Pico-dollars that this ending may have cost."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """What the caller's own wire says of it in headers."""
    trail: object = None
    """The plan and its attempts, set by dispatch."""


class BadRequest(RouterError):
    status = 400
    code = "invalid_request"
    verdict = INVALID

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class Unauthorized(BadRequest):
    status = 401
    code = "invalid_api_key"


class Forbidden(BadRequest):
    status = 403
    code = "forbidden"


class UnknownRoute(BadRequest):
    status = 404
    code = "model_not_found"


class TooLarge(BadRequest):
    status = 413
    code = "request_too_large"


class TooExpensive(RouterError):
    status = 402
    code = "max_cost_exceeded"
    verdict = REJECTED


class BudgetSpent(TooExpensive):
    """A budget has no room; *retry_after* is when its window ends."""

    code = "budget_exceeded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(RouterError):
    """A key has used up its minute; *headers* say it as the caller's vendor does."""

    status = 429
    code = "rate_limit_exceeded"
    verdict = REJECTED

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.retry_after, self.headers = retry_after, headers


class AttemptFailed(RouterError):
    """One backend failed with *verdict*; *detail* says how, without any secret."""

    status = 502
    code = "backend_failed"

    def __init__(
        self, backend: str, verdict: Verdict, detail: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{backend}: {verdict.name}: {detail}")
        self.backend, self.verdict, self.detail = backend, verdict, detail
        self.retry_after = retry_after


class NoBackend(RouterError):
    status = 503
    code = "no_backend_available"
    verdict = REJECTED

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BooksClosed(NoBackend):
    """The store of money cannot be reached, and paid calls are refused until it can."""

    code = "ledger_unreachable"


class DeadlineExceeded(RouterError):
    status = 504
    code = "deadline_exceeded"
    verdict = LOST


class Stopped(RouterError):
    """The process ends before the call has; another one may do better."""

    status = 503
    code = "shutting_down"
    verdict = CANCELLED
    retry_after = 1.0

    def __init__(
        self, message: str = "This router was stopped before the answer was whole. Ask again."
    ) -> None:
        super().__init__(message)


class BrokenStream(RouterError):
    """The backend's stream ended before its end: an error, never a normal end."""

    status = 502
    code = "stream_broken"
    verdict = LOST


class Rejected(RouterError):
    """A gate said no; the class name is the reason in metrics and decisions."""

    status = 503
    code = "overloaded"
    verdict = REJECTED


class BreakerOpen(Rejected):
    """The backend failed too often lately."""


class Overloaded(Rejected):
    """Every slot of the backend is taken."""


class Shed(Rejected):
    """More calls are in progress than are served well; *retry_after*: when there may be room."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Paused(Rejected):
    """The backend asked to be left alone until a moment that has not come."""


class Down(Rejected):
    """The backend's own status page says that it cannot serve."""


class RetriesSpent(Rejected):
    """Extra attempts have used up their share of the traffic."""
