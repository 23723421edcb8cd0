"""Go on with a stream that broke: the next backend continues what was already sent.

For texts only, and only where the route says so (`on_broken_stream: continue`): the client sees a
note in the stream, and one text that two models wrote. The first attempt is settled as lost, the
second one is an attempt of its own. Where no backend is left the stream ends as an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from msgspec.structs import replace

from router.core.call import Call
from router.core.errors import BrokenStream
from router.core.reply import Reply
from router.core.task import ChatRequest, CompleteRequest, Delta, Event, Message, Note, Sampling
from router.core.verdict import Verdict

from .walk import Walk

GO_ON = "Your answer was cut off. Go on exactly where it ended; repeat nothing of it."


def resumable(call: Call) -> bool:
    """Whether a broken stream of *call* could be continued."""
    request = call.request
    single = isinstance(request, CompleteRequest) and len(request.prompts) == 1
    texts = isinstance(request, ChatRequest) and all(m.plain for m in request.messages)
    return (
        call.stream
        and not call.extras
        and isinstance(request, Sampling)
        and request.n == 1
        and (single or texts)
    )


def continued(call: Call, said: str) -> Call:
    """The call for what is left of its answer after *said*."""
    if not said:
        return call
    request = call.request
    if isinstance(request, ChatRequest):
        more = (Message(role="assistant", text=said), Message(role="user", text=GO_ON))
        request = replace(request, messages=(*request.messages, *more))
    elif isinstance(request, CompleteRequest):
        request = replace(request, prompts=(request.prompts[0] + said,))
    size = len(said.encode("utf-8", "replace")) + len(GO_ON)
    # Four bytes are about a token; the limit stays a limit of the whole answer.
    return replace(
        call,
        request=request,
        text_bytes=call.text_bytes + size,
        input_tokens=call.input_tokens + size // 4,
        input_bound=call.input_bound + size + 16,
        output_limit=max(1, call.output_limit - len(said) // 4),
    )


def resumed(walk: Walk, reply: Reply) -> Reply:
    """*reply*, whose stream goes on elsewhere when it breaks."""
    joined = Reply(backend=reply.backend, status=reply.status, first=reply.first)
    joined.model, joined.passed, joined.trail = reply.model, reply.passed, reply.trail
    current = reply

    async def events() -> AsyncIterator[bytes | Event]:
        nonlocal current
        said: list[str] = []
        while True:
            stream = current.events
            assert stream is not None
            try:
                async for event in stream:
                    if isinstance(event, Delta):
                        said.append(event.text)
                    yield event
                return
            except BrokenStream as exc:
                await stream.aclose()  # type: ignore[attr-defined]
                current.close(exc.verdict)
                found = await _next(walk, continued(walk.call, "".join(said)))
                if found is None:
                    raise
                yield Note(text=f"{current.backend} broke off; {found.backend} goes on")
                current = found
                joined.backend = found.backend
            finally:
                await stream.aclose()  # type: ignore[attr-defined]
                joined.usage, joined.model = current.usage, current.model

    joined.events = events()

    def closed(verdict: Verdict) -> None:
        current.close(verdict)  # whoever speaks by then

    joined.on_close(closed)
    return joined


async def _next(walk: Walk, call: Call) -> Reply | None:
    while (backend := walk.next()) is not None:
        found = await walk.attempt(backend, "resume", call)
        if found is not None and found.events is not None:
            return found
        if found is not None:
            found.close()
    return None
