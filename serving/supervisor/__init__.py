"""Starts TorchServe, keeps it running, and says how it is (docs/decisions/0001)."""
