"""Floods, measured: what honest mail takes while many are slow or large, and what memory that costs.

    python -m tests.flood slow --seconds 60     500 held connections and a flood of new ones
    python -m tests.flood idle                  memory of one idle connection
    python -m tests.flood large --senders 200   25 MB each at once, every other one of empty lines alone

Not part of the suite: the figures mean something on a quiet machine only.
"""
