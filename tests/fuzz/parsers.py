"""The parsers that strangers reach, and what must hold of what they make of any octets.

An entry returns for whatever it is given; it may raise what its own documentation names, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import dns.exception
import dns.message
import dns.rdataclass
import dns.resolver

from sortingoffice.core import (
    body,
    calendar,
    directive,
    evidence,
    exchange,
    guard,
    inward,
    naming,
    remote,
    report,
    secrets,
    word,
    writers,
)
from sortingoffice.core.model import Peer, RemoteImages
from sortingoffice.edge import proxy
from sortingoffice.edge.content import Content
from sortingoffice.edge.reader import Hangup, Reader
from sortingoffice.errors import OfficeError
from sortingoffice.flows import importing
from sortingoffice.mail import (
    address,
    arc,
    arf,
    asking,
    charset,
    classify,
    css,
    dkim,
    dmarc,
    dsn,
    headers,
    html,
    keys,
    macros,
    mime,
    mtasts,
    parameters,
    quoting,
    readings,
    seven,
    spf,
    tags,
    token,
    trace,
    transfer,
    vcard,
)
from sortingoffice.mail.asking import Answer, Outcome, Question
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.net import resolver
from tests.fuzz.seeds import PLAIN

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEM, PUBLIC = keys.generate_ed25519()
KEY = keys.SigningKey.from_pem("lampshop.example", "mail", PEM)
RECORD = f"v=DKIM1; k=ed25519; p={PUBLIC}".encode()
ALIAS = address.parse("lunar.otter4821@sort.example")


def found(record: bytes) -> Callable[[Question], Answer]:
    """A DNS that answers each TXT with the same record, and the rest with what there is."""
    others: dict[str, tuple[object, ...]] = {
        "A": ("192.0.2.9",),
        "AAAA": ("2001:db8::9",),
        "MX": ((10, "mx.x.example"),),
        "PTR": ("mx.x.example",),
    }
    return lambda question: Answer(Outcome.FOUND, others.get(question.type, (record,)))


# ---- the envelope ----------------------------------------------------------------------------------------


def a_path(octets: bytes) -> None:
    read = address.parse_path(octets, hostname="mx.sort.example")
    if read is not None and read.address is not None:
        again = address.parse(str(read.address))
        assert again is not None, str(read.address)
        assert again.normal == read.address.normal
        naming.canonical(read.address.normal)
        shown = str(read.address)
        assert not any(each in shown for each in "\r\n\0"), shown


def a_local_part(octets: bytes) -> None:
    text = octets.decode("latin-1")
    token.delivery_of(b"k" * 32, text)
    token.account_of(b"k" * 32, text)
    address.domain(text)
    evidence.bits(text + "@sort.example")


def the_content(octets: bytes) -> None:
    whole, pieces = Content(most=50_000, most_line=1000), Content(most=50_000, most_line=1000)
    rest = whole.feed(octets)
    left: bytes | None = None
    for at in range(0, len(octets), 7):
        left = pieces.feed(octets[at : at + 7])
        if left is not None:
            left += octets[at + 7 :]
            break
    assert rest == left, "the end is where it is, however the octets come"
    if rest is not None:
        assert whole.refusal == pieces.refusal
        if whole.refusal is None:
            assert whole.octets() == pieces.octets()
    whole.close()
    pieces.close()


class _Fed:
    """A connection on which everything has come, and nothing more will."""

    def __init__(self, octets: bytes) -> None:
        self.reader = Reader(asyncio.get_running_loop())
        self.reader.feed(octets)

    async def more(self, seconds: float) -> None:
        raise Hangup(None)


def a_proxy_header(octets: bytes) -> None:
    """In a session, and before TLS, where it is read from the socket itself."""

    async def read(found: Awaitable[str]) -> str:
        try:
            return str(ipaddress.ip_address(await found))
        except Hangup:
            return ""

    async def both() -> None:
        said = await read(proxy.proxied(_Fed(octets), "127.0.0.1"))
        near, far = socket.socketpair()
        near.setblocking(False)
        with near, far:
            far.sendall(octets[:4096])  # more than a header takes, less than the system keeps
            far.close()
            assert await read(proxy.client(proxy.Bare(near), "127.0.0.1")) == said

    asyncio.run(both())


def an_xclient(octets: bytes) -> None:
    peer = proxy.xclient(Peer("127.0.0.1"), octets)
    if peer is not None:
        ipaddress.ip_address(peer.ip)
        assert peer.helo.isprintable()


# ---- the message -----------------------------------------------------------------------------------------


def a_message(octets: bytes) -> None:
    message = Message.parse(octets)
    assert bytes(message) == octets
    classify.bulk(message)
    classify.automatic(message)
    trace.hops(message)
    trace.carries(message, "mx.sort.example", "mark")
    inward.author(message)
    inward.people(message, frozenset())
    inward.ids(message)
    seven.downgraded(message)
    dmarc.author_domain(message)


def a_field(octets: bytes) -> None:
    for mention in headers.addresses(octets):
        assert 0 <= mention.start <= mention.end <= len(octets)
        if mention.address is not None:
            headers.mailbox(mention.display, mention.address)
    assert headers.edited(octets, ()) == octets
    headers.encode_words(headers.decode(octets))
    headers.encode_phrase(headers.decode(octets))
    headers.message_ids(octets)
    headers.unfold(octets)
    headers.date(octets)
    writers.list_id(octets)
    parameters.parse(octets)


def mime_parts(octets: bytes) -> None:
    with contextlib.suppress(mime.TooComplex):
        root = mime.parse(Message.parse(octets))
        vocabulary = directive.Vocabulary("card", frozenset({"shipping"}))
        body.read(root, vocabulary)
        tuple(body.written(root))
        word.said(root)
        word.first_line(root)


def markup(octets: bytes) -> None:
    source = octets.decode("utf-8", "replace")
    assert "".join(source[each.start : each.end] for each in html.tokens(source)) == source
    lines = html.visual_lines(source)
    quoting.of_html(lines)
    html.without_tags(source)
    html.only_tags(source)
    html.unescape(source)
    css.hidden_by(source)
    css.declarations(source)


def text(octets: bytes) -> None:
    source = octets.decode("utf-8", "replace")
    quoting.of_text(source)
    for _ in readings.of_text(source, readings.Budget(10**6)):
        pass
    vocabulary = directive.Vocabulary("card", frozenset({"shipping"}))
    for line in source.splitlines()[:500]:
        directive.read(line, vocabulary)
    tuple(directive.said(source, vocabulary))


def an_encoding(octets: bytes) -> None:
    label, _, content = octets.partition(b"\n")
    name = label.decode("latin-1")
    transfer.decode(content, name)
    for each in ("base64", "quoted-printable", "x-uuencode"):
        transfer.decode(content, each)
    charset.encode(charset.decode(content, name), name)


def a_guarded_message(octets: bytes) -> None:
    with contextlib.suppress(mime.TooComplex):
        guard.as_written(Message.parse(octets), tuple(secrets.addresses(["anna@home.example"])))


def remote_pictures(octets: bytes) -> None:
    for wish in RemoteImages:
        remote.without(Message.parse(octets), wish)


# ---- authentication --------------------------------------------------------------------------------------


def signatures(octets: bytes) -> None:
    for record in (RECORD, b"v=DKIM1; p=", octets[:500]):
        for each in asking.run(dkim.verify(octets, NOW), found(record)):
            for name in ("From", "To", "Date"):
                dkim.covered(Message.parse(octets), each, name)
            Authentication(dkim=(each,)).text("mx.sort.example").encode("ascii")


def a_tag_list(octets: bytes) -> None:
    for value in (tags.parse(octets) or {}).values():
        tags.octets(value)
        tags.number(value)
    for algorithm in ("rsa-sha256", "ed25519-sha256"):
        with contextlib.suppress(keys.Unusable):
            keys.public_key(octets, algorithm)


def an_spf_policy(octets: bytes) -> None:
    sender = address.parse("a@x.example")
    for ip in ("192.0.2.1", "2001:db8::1"):
        answer = asking.run(spf.check(ip, "mx.x.example", sender, now=NOW), found(octets))
        Authentication(spf=answer).text("mx.sort.example").encode("ascii")
    made = macros.compiled(octets.decode("latin-1"))
    assert made is None or made


def a_dmarc_policy(octets: bytes) -> None:
    dmarc.policy(octets)
    author = address.domain(octets.decode("latin-1"))
    for discovery in dmarc.Discovery:
        asking.run(
            dmarc.evaluate(author, replace(Authentication()).spf, (), discovery=discovery), found(octets)
        )


def a_chain(octets: bytes) -> None:
    answer = asking.run(arc.validate(octets), found(RECORD))
    Authentication(arc=answer).text("mx.sort.example").encode("ascii")
    arc.vouched(answer, {"x.example"}, "x.example")


def results(octets: bytes) -> None:
    for _ in trace.results(octets.decode("latin-1")):
        pass
    message = Message.parse(b"Authentication-Results: " + octets)
    trace.without_forged(message, "mx.sort.example")


def a_transport_policy(octets: bytes) -> None:
    mtasts.parse(octets)
    asking.run(mtasts.record("x.example"), found(octets))


def a_dns_answer(octets: bytes) -> None:
    with contextlib.suppress(dns.exception.DNSException):
        response = dns.message.from_wire(octets)
        resolver._negative_ttl(response)
        if not isinstance(response, dns.message.QueryMessage):
            return
        for question in response.question:
            if question.rdclass != dns.rdataclass.IN:
                return  # not what the resolver asked for: the library drops it (Message.is_response)
            # As the library takes what it asked for out of what came.
            found = dns.resolver.Answer(question.name, question.rdtype, dns.rdataclass.IN, response)
            for record in found.rrset or ():
                resolver._size(resolver._plain(record))


# ---- reports, cards, files -------------------------------------------------------------------------------


def a_report(octets: bytes) -> None:
    message = Message.parse(octets)
    for null in (True, False):
        dsn.read(message, null_sender=null)
    arf.read(message)


def a_card(octets: bytes) -> None:
    with contextlib.suppress(ValueError):
        for properties in vcard.parse(octets):
            exchange.read(properties)


def an_invitation(octets: bytes) -> None:
    source = octets.decode("utf-8", "replace")
    calendar.organizers(source)
    calendar.rewrite(source, lambda name, of: ALIAS)
    assert calendar.rewrite(source, lambda name, of: None) == source


def an_import(octets: bytes) -> None:
    with contextlib.suppress(OfficeError):
        importing.read(octets)


def a_leak_report(octets: bytes) -> None:
    with contextlib.suppress(report.Unreadable):
        report.verify({report.DATA: octets, "messages/1.eml": PLAIN})
