"""HTTP/1.1 towards backends, on the loop itself: a pool of connections, one call at a time on each.

Why not a client library: the fastest one does not close its connection when a call is cancelled,
the others cost at least three times the CPU (`docs/decisions/0003-http-client.md`). Parsing is
llhttp's, by `httptools`; TLS and name look-up are the loop's.

Guarantees: cancelling a wait closes the connection at once. A connection goes back to the pool
only after a whole answer that allows it. A body shorter than it said is Broken, never an end; what
comes after the end, or unasked, ends the connection: it is no part of any answer.
Bounded: bytes of headers, of trailers and of framing between two pieces of a body, body bytes of a
whole answer, bytes buffered of a stream (reading pauses).
Not done: HTTP/2, proxies, compression (none is asked for), redirects (an API has none to follow).

Source: RFC 9112.
"""
