"""Which hosts a destination lets its mail go to: its MTA-STS policy, kept in the database.

Promise: a policy that was once fetched holds until its age is over, whoever forges DNS meanwhile; what
can't be found out stands in nobody's way (RFC 8461 §5.1), but what there was no room to ask for is unknown,
and no mail leaves as if there were no policy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

from sortingoffice import log
from sortingoffice.flows.office import Office
from sortingoffice.mail import mtasts
from sortingoffice.mail.mtasts import Kept, Mode, Policy
from sortingoffice.mail.reply import Reply
from sortingoffice.net import https, policy, tls
from sortingoffice.net.route import Here, Host
from sortingoffice.store import policies
from sortingoffice.store.database import Unavailable

_RENEW = timedelta(days=1)  # RFC 8461 §3.3: a policy in use is looked at daily
_AGAIN_SECONDS = 300.0  # after a fetch that failed
_MOST_FAILED = 1000


class Policies:
    """What this process knows of policies; as long as its config stands.

    contexts  for the HTTPS request; port: of the policy's server
    turns     of those that are asked; None: as many as usual
    """

    def __init__(
        self,
        office: Office,
        contexts: tls.Contexts,
        here: Here,
        *,
        port: int = https.PORT,
        turns: https.Turns | None = None,
    ) -> None:
        self._office = office
        self._contexts = contexts
        self._here = here
        self._port = port
        self._failed: dict[str, float] = {}  # domain → not before
        self._under_way: dict[str, asyncio.Task[Kept | Reply | None]] = {}
        self._turns = turns or https.Turns()

    async def of(self, domain: str) -> Policy | Reply | None:
        """The policy to apply now; None where there is none; a 4xx where it could not even be asked for."""
        if domain.startswith("["):
            return None
        record = await self._office.resolver.run(mtasts.record(domain))
        try:
            kept = await self._office.db.read(policies.of, domain)
        except Unavailable:
            kept = None
        now = self._office.clock()
        if kept is not None and kept.expires <= now:
            kept = None
        if record and self._wanted(record, kept) and self._failed.get(domain, 0.0) <= time.monotonic():
            found = await self._once(domain, record)
            if isinstance(found, Reply) and kept is None:
                return found
            if isinstance(found, Kept):
                kept = found
        return None if kept is None else mtasts.parse(kept.text)

    def _wanted(self, record: str, kept: Kept | None) -> bool:
        return kept is None or kept.record != record or self._office.clock() - kept.fetched > _RENEW

    async def _once(self, domain: str, record: str) -> Kept | Reply | None:
        """Those who want it at the same time wait for one fetch; one who stops waiting stops no other."""
        task = self._under_way.get(domain)
        if task is None:
            task = self._under_way[domain] = asyncio.create_task(self._fetched(domain, record))
            task.add_done_callback(lambda _: self._under_way.pop(domain))
        return await asyncio.shield(task)

    async def _fetched(self, domain: str, record: str) -> Kept | Reply | None:
        resolver, verified = self._office.resolver, self._contexts.verified
        try:
            text = await policy.fetch(
                domain, resolver, verified, self._here, port=self._port, turns=self._turns
            )
        except https.Unasked as problem:
            log.event("mta-sts-unasked", domain=domain, reason=problem)
            return Reply(451, "4.4.5", f"the MTA-STS policy of {domain} could not be asked for yet")
        found = None if text is None else mtasts.parse(text)
        if text is None or found is None:
            if text is not None:
                log.event("mta-sts-unreadable", domain=domain)
            if len(self._failed) >= _MOST_FAILED:
                self._failed.clear()
            self._failed[domain] = time.monotonic() + _AGAIN_SECONDS
            return None
        now = self._office.clock()
        kept = Kept(0, domain, record, text, now, now + timedelta(seconds=found.age))
        try:
            await self._office.db.write(policies.keep, kept)
        except Unavailable as problem:
            log.event("mta-sts-not-kept", domain=domain, reason=problem)
        return kept


def allowed(found: Policy | None, hosts: Sequence[Host], destination: str) -> tuple[Host, ...] | Reply:
    """The hosts that the policy lets mail go to; a 4xx where it leaves none (RFC 8461 §5)."""
    if found is None or found.mode is not Mode.ENFORCE:
        return tuple(hosts)
    fit = tuple(host for host in hosts if found.allows(host.name))
    return fit or Reply(451, "4.7.5", f"no mail host of {destination} is one that its MTA-STS policy names")


def strict(found: Policy | None) -> bool:
    """Whether only verified TLS will do."""
    return found is not None and found.mode is Mode.ENFORCE
