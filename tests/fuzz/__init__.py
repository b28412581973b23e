"""Fuzzers: one entry for each parser that a stranger's octets reach, and what must hold of every answer.

    python -m tests.fuzz --minutes 60          all of them in turn
    python -m tests.fuzz --minutes 5 --only dkim --engine atheris

`entries` says what is called, `octets` makes what it is called with, `run` looks for a crash or a stall.
"""
