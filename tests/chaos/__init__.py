"""Chaos: `make chaos`, or `python -m tests.chaos --kills 2000 --messages 200000`.

    nursery     the office as a process that is forked in a tenth of a second, with failpoints armed
    offices     one office at a time, started, killed and looked after
    senders     vendors and a person who write under load, and remember what was answered 250
    peers       mail servers that refuse, greylist, hang and lie, and remember what they took
    trouble     kills at each failpoint and at random, a full disk, a database that restarts, no DNS
    reckoning   afterwards: each promise against the spool and against what arrived

Promise: what was answered 250 is, per recipient, exactly one of delivered, returned or still queued;
every second copy stands in `trace` as an attempt that was past the dot.
"""
