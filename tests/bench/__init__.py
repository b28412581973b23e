"""How fast the office is, measured from outside and beside others: `python -m tests.bench`.

    letters     the work: signed messages, made before any clock runs
    load        the senders: a process of its own, pipelined sessions
    sink        the receiver: a thread of this one
    office, postfix, plain     what is measured, each started with directories and ports of its own
    measure     processor time and memory of a tree of processes
    rounds      one case: send, wait, count, look at the clocks
    growth      what more aliases and a longer queue cost
    steps       where a message's time goes
    table       medians and ratios, for a person and as JSON

Everything shares one machine: the figures compare what ran in one run, and nothing else.
"""
