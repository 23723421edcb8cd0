"""How much a client may send, keep open and hold up."""

HEAD_LIMIT = 64 * 1024
BODY_BUFFER = 256 * 1024
"""Bytes of a body that are kept for an application that does not read."""
QUEUE = 64
"""Requests that one connection may send before their turn."""
AHEAD = 4
"""Of those, as many as are taken in while another is served: a client's leaving is seen only while
its connection is read."""
RESERVE = 64
"""Connections beyond the limit that are told so."""
SILENCE_SECONDS = 30.0
"""For a request that stops coming, or an answer that is not taken."""
SLOWEST = 8 * 1024
"""Bytes a second that a request must come with, once it has taken longer than that."""
QUIET_SECONDS = 0.5
"""Without a request, until a connection ends when the server stops."""
IDLE_SECONDS = 75.0
SWEEP_SECONDS = 5.0
LINGER_SECONDS = 1.0
LAST_WORD_SECONDS = 1.0
STOPPED = "the server stops"
"""What a call is cancelled with when the server cannot wait for it any longer."""
