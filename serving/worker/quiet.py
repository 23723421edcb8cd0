"""What a worker logs once its model is loaded: warnings, and what our own modules say.

TorchServe's worker writes two lines for each request, which the front end reads and writes again:
2 of the 11 ms of a lone embedding (2 virtual cores, 2026-11-23). The front end's own metrics tell
the same.
"""

import logging


def quiet() -> None:
    """From now on the worker logs warnings, and all that our own modules say."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO)
