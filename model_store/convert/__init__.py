"""Turning a model's files, once, into what an engine reads."""

from model_store.convert.converted import converted

__all__ = ["converted"]
