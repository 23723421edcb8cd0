"""The store's schema, step by step. `HEAD` is the newest step."""

HEAD = "0002"
