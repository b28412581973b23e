"""What the fuzzers begin with: messages, pages, reports, cards and invitations that are as they should be."""

from __future__ import annotations


def _octets(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


PLAIN = _octets("""\
From: Lamp Shop <orders@lampshop.example>
To: lunar.otter4821@sort.example, =?utf-8?q?J=C3=B6?= <j@x.example>
Subject: =?utf-8?b?SMOpbGxv?= and more
Date: Sun, 1 Mar 2026 12:00:00 +0100
Message-ID: <1@lampshop.example>
References: <a@b> <c@d>
Received: from x by y; Sun, 1 Mar 2026
Authentication-Results: mx.sort.example; dkim=pass (c\\)o) header.d=x.example; spf=none
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

#card shipping
> quoted
hello
""")
MULTI = _octets("""\
From: a@x.example
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

pre
--b1
Content-Type: multipart/alternative; boundary=b2

--b2
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

caf=E9 =
#card shipping
--b2
Content-Type: text/html
Content-Transfer-Encoding: base64

PHA+aGVsbG8gPGI+eW91PC9iPjwvcD4=
--b2--
--b1
Content-Type: message/rfc822

From: b@y

inner
--b1
Content-Type: application/octet-stream; name*0*=utf-8''%e2%82; name*1*=%ac.pdf
Content-Disposition: attachment; filename="=?utf-8?q?x?=.pdf"

data
--b1--
after
""")
FLOWED = _octets("""\
From: a@x.example
Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes

A line that goes on and on, as\x20
it does.
#card shipping\x20
city
> quoted, and this\x20
> goes on
--\x20
Anna
""")
PAGE = _octets("""\
<!DOCTYPE html><html><head><style>.x{display:none}</style></head>
<body><p class=x style='color:red'>one
<br>two <a href="mailto:a@x.example?subject=%41">link</a></p>
<blockquote>&gt; old &#64; &amp;</blockquote>
<img src='https://t.example/p.gif' width=1 height=1><!-- c -->
<table><tr><td>#card shipping</td></tr></table>
""")
REPORT = _octets("""\
From: MAILER-DAEMON@x.example
Auto-Submitted: auto-replied
Content-Type: multipart/report; report-type=delivery-status; boundary=r

--r

Failed.
--r
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.x.example

Final-Recipient: rfc822; a@x.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no

--r
Content-Type: text/rfc822-headers

Message-ID: <1@x>
--r--
""")
CARD = _octets("""\
BEGIN:VCARD
VERSION:4.0
N:Doe;Anna;;;
FN:Anna Doe
TEL;TYPE="cell,home":+41 44 668 18 00
ADR;TYPE=home:;;Road 1;Zurich;;8000;CH
NOTE:a\\nb\\,c
 d
BDAY:19800102
END:VCARD
BEGIN:VCARD
VERSION:3.0
N;CHARSET=utf-8;ENCODING=QUOTED-PRINTABLE:=C3=A4;
END:VCARD
""")
INVITATION = _octets("""\
BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VEVENT
ORGANIZER;CN="Shop":mailto:orders@lampshop.example
ATTENDEE;ROLE=REQ-PARTICIPANT:mailto:lunar.otter4821@so
 rt.example
END:VEVENT
END:VCALENDAR
""")
ABUSE = REPORT.replace(b"delivery-status", b"feedback-report").replace(
    b"Reporting-MTA: dns; mx.x.example", b"Feedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1"
)
