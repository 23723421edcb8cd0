"""Breaks what the router depends on, one thing at a time, and checks what its callers see."""
