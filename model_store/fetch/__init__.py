"""Getting a model's files from where its catalog entry says, checked, into the cache."""

from model_store.fetch.fetched import fetch, source_key

__all__ = ["fetch", "source_key"]
