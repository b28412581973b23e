"""The office with a difference: `python -m tests.bench.variant steps|unsealed --config … serve`.

    unsealed   no ARC seal, which the others don't make either
    steps      a clock around each step of a message's way; $BENCH_STEPS is the file where the
               processor time of each is written at the end, and SIGUSR1 sets all clocks to nothing

A step's time is its own: what it calls and is a step itself is counted there.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from importlib import import_module
from pathlib import Path
from typing import Any

# step → the functions whose time it is: "module:name" or "module:Class.name"
STEPS: dict[str, tuple[str, ...]] = {
    "in: session, commands": ("edge.session:Session._handle_client", "edge.session:Session.data_received"),
    "in: content": ("edge.content:Content.feed", "edge.content:Content.octets"),
    "in: RCPT": ("flows.rcpt:answer",),
    "in: RCPT, look-up": ("flows.rcpt:judge",),
    "in: parse": ("mail.message:Message.parse",),
    "in: DATA": ("flows.receive:data", "net.authenticate:authenticate"),
    "in: SPF": ("mail.spf:check",),
    "in: DKIM verify": ("mail.dkim:verify",),
    "in: DMARC": ("mail.dmarc:evaluate",),
    "in: ARC validate": ("mail.arc:validate",),
    "in: DNS": ("net.resolver:Resolver.ask", "net.resolver:Resolver._fetch"),
    "accept: look-up": ("flows.target:find",),
    "accept: judge": ("flows.receive:_judge",),
    "accept: rewrite": ("core.inward:rewrite",),
    "accept: people, references": ("flows.inward:_rewritten",),
    "accept: spool": ("store.spool:put",),
    "accept: events": ("store.events:add",),
    "accept: the rest": ("flows.receive:accept",),
    "commit": ("store.writer:Writer._transaction",),
    "out: claim": ("flows.claiming:claim",),
    "out: settle": ("flows.deliver:settle",),
    "out: DKIM sign": ("mail.dkim:sign",),
    "out: ARC seal": ("mail.arc:seal",),
    "out: trace, put together": ("flows.signing:signed",),
    "out: relay": (
        "net.relay:Relay.attempt",
        "net.conversation:Conversation.deliver",
        "net.conversation:Conversation.data_received",
    ),
    "out: the rest": ("flows.deliver:_Out._one", "flows.deliver:_Out.work"),
    "log": ("log:event",),
}


class Clocks:
    """Processor time by step; nested steps stop the outer one's clock."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._threads = threading.local()
        self._begun = time.process_time()

    def reset(self, *_: object) -> None:
        self.spent.clear()
        self.calls.clear()
        self._begun = time.process_time()

    def enter(self, step: str) -> None:
        running: list[list[Any]] = self._threads.__dict__.setdefault("running", [])
        now = time.thread_time()
        if running:
            self._add(running[-1], now)
        running.append([step, now])

    def leave(self) -> None:
        running: list[list[Any]] = self._threads.running
        now = time.thread_time()
        self._add(running.pop(), now)
        if running:
            running[-1][1] = now

    def _add(self, clock: list[Any], now: float) -> None:
        self.spent[clock[0]] = self.spent.get(clock[0], 0.0) + now - clock[1]

    def write(self, path: Path) -> None:
        total = time.process_time() - self._begun
        path.write_text(json.dumps({"total": total, "spent": self.spent, "calls": self.calls}))


def around(clocks: Clocks, step: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with a clock around it: a function, a generator or a coroutine, each between its waits."""

    def driven(inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        given: Any = None
        send: Callable[[Any], Any] = inner.send
        while True:
            clocks.enter(step)
            try:
                found = send(given)
            except StopIteration as end:
                return end.value
            finally:
                clocks.leave()
            try:
                given, send = (yield found), inner.send
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:
                given, send = error, inner.throw

    class Waiting:
        def __init__(self, coroutine: Any) -> None:
            self._coroutine = coroutine

        def __await__(self) -> Generator[Any, Any, Any]:
            return driven(self._coroutine)

    def counted() -> None:
        clocks.calls[step] = clocks.calls.get(step, 0) + 1

    @functools.wraps(fn)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        counted()
        return await Waiting(fn(*args, **kwargs))

    @functools.wraps(fn)
    def generator(*args: Any, **kwargs: Any) -> Any:
        counted()
        return driven(fn(*args, **kwargs))

    @functools.wraps(fn)
    def function(*args: Any, **kwargs: Any) -> Any:
        counted()
        clocks.enter(step)
        try:
            return fn(*args, **kwargs)
        finally:
            clocks.leave()

    if inspect.iscoroutinefunction(fn):
        return coroutine
    return generator if inspect.isgeneratorfunction(fn) else function


def clocked() -> None:
    """Put the clocks round every step, and write them down at the end."""
    clocks = Clocks()
    for step, names in STEPS.items():
        for name in names:
            module_name, _, path = name.partition(":")
            home: Any = import_module(f"sortingoffice.{module_name}")
            *classes, attribute = path.split(".")
            for each in classes:
                home = getattr(home, each)
            found = inspect.getattr_static(home, attribute)
            if isinstance(found, classmethod):
                setattr(home, attribute, classmethod(around(clocks, step, found.__func__)))
            else:
                timed = around(clocks, step, found)
                setattr(home, attribute, timed)
                _rebind(found, timed)
    signal.signal(signal.SIGUSR1, clocks.reset)
    atexit.register(clocks.write, Path(os.environ["BENCH_STEPS"]))


def _rebind(found: Any, timed: Any) -> None:
    """Who imported the function by its name gets the timed one, too."""
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("sortingoffice"):
            for name, value in list(vars(module).items()):
                if value is found:
                    setattr(module, name, timed)


def unsealed() -> None:
    from sortingoffice.mail import arc

    arc.seal = lambda *_, **__: ()


def main() -> None:
    variant = sys.argv.pop(1)
    import_module("sortingoffice.daemon")
    for each in variant.split("+"):
        {"steps": clocked, "unsealed": unsealed}[each]()
    from sortingoffice.cli.main import main as office

    office()


if __name__ == "__main__":
    main()
