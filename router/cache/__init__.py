"""Answers that are kept to be given again: what names one, what is in it, where it is kept.

    key       which calls may be answered again, and the name of the answer
    entry     one kept answer, as bytes
    memory    the store of this process: bounded in bytes and in time
    redis     the store that replicas share; may be away at any time

`router.layers.cache` uses them (docs/caching.md).
"""
