"""HTTP/1.1 towards clients, on the loop itself: an ASGI server for one application.

Why our own: a request and its answer cross no thread and no second loop, which is most of what a
call alone costs (`docs/decisions/0006-http-server.md`). Parsing is llhttp's, by `httptools`.

Guarantees: an answer leaves in as few writes as it has pieces, its head with the first. A client's
leaving is told at once. Reading stops while the application does not take what came, writing waits
while the client does not read. An application that breaks in the middle of an answer cuts the
connection: never a normal end. One that outlasts the grace when the server stops is cancelled with
`STOPPED` and has `LAST_WORD_SECONDS` to say so. Requests on one connection are answered in their
order.
Bounded: bytes of a head, seconds of silence, seconds of a request that comes too slowly, seconds of
a client that takes nothing of its answer, seconds of an idle connection, and connections. A
connection that ends between two calls has been quiet for a while, so that no request of a busy
client crosses its end. Beyond the limit of connections `RESERVE` more are heard, for one request
each: *crowded* answers it without its body being read, or the application where the path is
*spared* (whoever watches this process must not think it dead because it is busy). More than these
are cut at once.
Not done: TLS (the ingress's), HTTP/2, websockets.

Source: RFC 9112; ASGI 3.0 (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

from router.server.bounds import HEAD_LIMIT, RESERVE, SILENCE_SECONDS, SLOWEST, STOPPED
from router.server.listener import Server

__all__ = ["HEAD_LIMIT", "RESERVE", "SILENCE_SECONDS", "SLOWEST", "STOPPED", "Server"]
