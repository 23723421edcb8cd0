"""What the router reads of others, fuzzed: bodies of clients and answers of vendors.

`answers` and `wire` hold the laws, `seeds` good and odd inputs to start from. The contract tests
replay the seeds and let hypothesis change them; `make fuzz SECONDS=60` lets atheris search.
"""
