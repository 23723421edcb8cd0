"""Vendors' bills beside our own books: readers of their exports, and what differs.

`openai`, `elevenlabs`, `deepl`, `google` and `sandbox` read; `statement` is what they all make;
`books` is our own side, from the ledger or the journal; `match` compares. docs/bills.md says which
columns are read.
"""
