"""A Service does the waiting: an async function from a Call to a Reply.

    reply = await service(call)

Returning is final; raising AttemptFailed or Rejected means that another backend may do
better. A Layer wraps a service in a service.

Source: "Your server as a function" (Eriksen, PLOS 2013); tower's Service and Layer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .call import Call
from .reply import Reply

Service = Callable[[Call], Awaitable[Reply]]
Layer = Callable[[Service], Service]


def stack(*layers: Layer, service: Service) -> Service:
    """Wrap *service*; the first layer named is the outermost."""
    for layer in reversed(layers):
        service = layer(service)
    return service
