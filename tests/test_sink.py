"""The far end itself: what the sink takes is what was sent."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable

import pytest

from tests.servers import DROP, Certificate, Late, Sink


def test_it_keeps_the_octets_as_they_were_sent(sink: Sink) -> None:
    raw = b"Subject: x\r\n\r\n.one\r\n..two\r\n.\r\r\nend.\r\n"
    with smtplib.SMTP("127.0.0.1", sink.port, "client.example") as client:
        client.ehlo()
        client.mail("a@b.example")
        client.rcpt("c@d.example")
        client.docmd("DATA")
        client.send(raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert client.getreply()[0] == 250
    (message,) = sink.wait(1)
    assert message.octets == raw
    assert (message.sender, message.recipients, message.helo) == (
        "a@b.example",
        ("c@d.example",),
        "client.example",
    )


@pytest.mark.parametrize("raw", [b"", b"\r\n", b".\r\n", b"x\r\n", b"\r\n\r\n", b"a.\r\n.b\r\n"])
def test_short_messages_end_where_they_end(sink: Sink, raw: bytes) -> None:
    stuffed = (b"\r\n" + raw).replace(b"\r\n.", b"\r\n..")[2:]
    with smtplib.SMTP("127.0.0.1", sink.port, "client.example") as client:
        client.ehlo()
        client.mail("")
        client.rcpt("c@d.example")
        client.docmd("DATA")
        client.send(stuffed + b".\r\n")
        assert client.getreply()[0] == 250
    assert sink.wait(1)[0].octets == raw


def test_answers_are_used_up_one_by_one(sink: Sink) -> None:
    sink.answers["RCPT bob@home.example"] = ["451 4.7.1 greylisted"]
    with smtplib.SMTP("127.0.0.1", sink.port, "client.example") as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("a@b.example", ["bob@home.example"], "x")
        client.sendmail("a@b.example", ["bob@home.example"], "x")
    assert len(sink.wait(1)) == 1


def test_a_connection_dropped_at_the_dot_has_taken_the_message(sink: Sink) -> None:
    sink.answers["."] = Late(0.01, DROP)
    client = smtplib.SMTP("127.0.0.1", sink.port, "client.example")
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        client.sendmail("a@b.example", ["bob@home.example"], "x")
    client.close()
    assert len(sink.wait(1)) == 1


def test_it_speaks_tls_and_auth(sinks: Callable[..., Sink], certificate: Certificate) -> None:
    sink = sinks(tls=certificate.server(), users={"anna": "secret"})
    with smtplib.SMTP("localhost", sink.port, "client.example") as client:
        client.starttls(context=ssl.create_default_context(cafile=str(certificate.certificate)))
        client.login("anna", "secret")
        client.sendmail("a@b.example", ["bob@home.example"], "x")
    (message,) = sink.wait(1)
    assert message.username == "anna"
    assert message.tls.startswith("TLSv1.3")
