"""The leak battery's third part: what a sceptic planted who had read neither of the others.

Like `tests.leaks`: each disguise writes an address so that a reader still gets it, each place is a message.
"""

from __future__ import annotations

import base64
import codecs
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from urllib.parse import quote

from tests.leaks import HELLO, attached, mixed, zipped

Disguise = Callable[[str], str]

# "anna <at> home <dot> example", as it is said.
LANGUAGES = {
    "Arabic": ("آت", "نقطة"),
    "Basque": ("a bildua", "puntu"),
    "Belarusian": ("сабака", "кропка"),
    "Bulgarian": ("кльомба", "точка"),
    "Catalan": ("arrova", "punt"),
    "Chinese": ("在", "点"),
    "Croatian": ("et", "točka"),
    "English": ("at sign", "period"),
    "English, at length": ("at symbol", "full stop"),
    "Esperanto": ("ĉe", "punkto"),
    "Estonian": ("ätt", "punkt"),
    "French": ("chez", "point"),
    "Hebrew": ("שטרודל", "נקודה"),
    "Hindi": ("ऐट", "डॉट"),
    "Icelandic": ("hjá", "punktur"),
    "Indonesian": ("et", "titik"),
    "Irish": ("ag", "ponc"),
    "Japanese": ("あっと", "どっと"),
    "Korean": ("앳", "닷"),
    "Latvian": ("et", "punkts"),
    "Lithuanian": ("eta", "taškas"),
    "Norwegian": ("krøllalfa", "punktum"),
    "Persian": ("ات", "نقطه"),
    "Romanian": ("arond", "punct"),
    "Russian": ("эт", "дот"),
    "Serbian": ("мајмун", "тачка"),
    "Slovene": ("afna", "pika"),
    "Thai": ("แอท", "จุด"),
    "Turkish": ("kuyruklu a", "nokta"),
    "Ukrainian": ("равлик", "крапка"),
    "Vietnamese": ("a còng", "chấm"),
}


def _spoken(address: str, at: str, dot: str) -> str:
    return address.replace(".", dot).replace("@", at)


def _deflated(text: str) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(text.encode()) + engine.flush()


def _veiled(address: str, key: int = 0x5A) -> str:
    return f"{key:02x}" + "".join(f"{ord(c) ^ key:02x}" for c in address)


_MORSE = {
    "a": ".-",
    "n": "-.",
    "@": ".--.-.",
    "h": "....",
    "o": "---",
    "m": "--",
    "e": ".",
    ".": ".-.-.-",
    "x": "-..-",
    "p": ".--.",
    "l": ".-..",
}
_RADIO = {
    "a": "Alfa",
    "n": "November",
    "@": "at",
    "h": "Hotel",
    "o": "Oscar",
    "m": "Mike",
    "e": "Echo",
    ".": "dot",
    "x": "X-ray",
    "p": "Papa",
    "l": "Lima",
}
_OVER = str.maketrans("anhomexpl.", "ɐuɥoɯǝxdʃ˙")


DISGUISES: dict[str, Disguise] = {
    **{
        f"in {name}": (lambda a, at=at, dot=dot: _spoken(a, f" {at} ", f" {dot} "))  # type: ignore[misc]
        for name, (at, dot) in LANGUAGES.items()
    },
    "asides in a language that nobody knows": lambda a: _spoken(a, " (xim) ", " [qor] "),
    "asides without blanks": lambda a: _spoken(a, "(xim)", "(qor)"),
    "two ats": lambda a: a.replace("@", "@@"),
    "a decoy in the local part": lambda a: a.replace("@", "NOSPAM@"),
    "a decoy of its own label": lambda a: a.replace("@", "@NOSPAM."),
    "a decoy in the domain": lambda a: a.replace("home", "homeREMOVETHIS"),
    "a gateway's link": lambda a: (
        "https://gate.example/v2/url?u=https-3A__x.example_-3Fm-3D"
        + a.replace("@", "-40").replace(".", "-2E")
    ),
    "a gateway's link, of what was encoded": lambda a: (
        "https-3A__x.example_-3Fm-3D" + a.replace("@", "-2540")
    ),
    "a gateway's link, after a slash": lambda a: (
        "https://urldefense.example/v2/url?u=https-3A__x.example_" + a.replace("@", "-40").replace(".", "-2E")
    ),
    "an underscore for the percent": lambda a: a.replace("@", "_40"),
    "ROT13": lambda a: codecs.encode(a, "rot13"),
    "a host's home folder": lambda a: "https://{1}/~{0}".format(*a.split("@")),
    "code points": lambda a: " ".join(f"U+{ord(c):04X}" for c in a),
    "a name in XML": lambda a: a.replace("@", "_x0040_").replace(".", "_x002e_"),
    "Perl's braces": lambda a: a.replace("@", "\\x{40}"),
    "eight digits": lambda a: "".join(f"\\U{ord(c):08x}" for c in a),
    "RTF's Unicode": lambda a: "".join(f"\\u{ord(c)}?" for c in a),
    "LDAP, before a letter": lambda a: a.replace(".e", "\\2ee"),
    "four digits before others": lambda a: a.replace("@home.example", "%u0040home%u002eexample"),
    "hexadecimal with dashes": lambda a: "-".join(f"{ord(c):02x}" for c in a),
    "hexadecimal with bars": lambda a: "|".join(f"{ord(c):02x}" for c in a),
    "numbers with semicolons": lambda a: ";".join(str(ord(c)) for c in a),
    "numbers with dashes": lambda a: "-".join(str(ord(c)) for c in a),
    "numbers in lines": lambda a: ",\n  ".join(str(ord(c)) for c in a),
    "a login page's link": lambda a: (
        "https://idp.example/sso?SAMLRequest="
        + quote(base64.b64encode(_deflated(f"<AuthnRequest><NameID>{a}</NameID></AuthnRequest>")), safe="")
    ),
    "small capitals": lambda a: a.translate(
        str.maketrans("abcdefghijklmnoprtuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ")
    ),
    "Coptic": lambda a: a.translate(str.maketrans("aeonm", "ⲁⲉⲟⲛⲙ")),
    "a squared A": lambda a: a.replace("@", " 🅰 ").replace(".", " dot "),
    "Morse": lambda a: " ".join(_MORSE[each] for each in a),
    "spelled by words": lambda a: ", ".join(_RADIO[each] for each in a),
    "as bits": lambda a: "".join(f"{ord(each):08b}" for each in a),
    "three digits each": lambda a: "".join(f"{ord(each):03}" for each in a),
    "calls of a program": lambda a: "+".join(f"char({ord(each)})" for each in a),
    "another program's": lambda a: " . ".join(f"chr({ord(each)})" for each in a),
    "base32 by other letters": lambda a: base64.b32hexencode(a.encode()).decode(),
    "upside down": lambda a: a[::-1].translate(_OVER),
    "letters turned where they stand": lambda a: a.translate(_OVER),
    "digits for letters": lambda a: a.translate(str.maketrans("aoe", "403")),
    "digits for letters, in words": lambda a: a.translate(str.maketrans("aoe", "403")).replace("@", " (at) "),
    "the next letter": lambda a: "".join(chr(ord(each) + 1) if each.isalpha() else each for each in a),
    "the alphabet backwards": lambda a: "".join(chr(219 - ord(c)) if c.isalpha() else c for c in a),
    "a page behind a password": lambda a: f"https://{a.replace('@', ':s3cret@')}/x",
    "a folder in a network": lambda a: "\\\\{1}\\{0}\\x".format(*a.split("@")),
    "a directory's name": lambda a: f"uid={a.replace('.', ',dc=').replace('@', ',ou=people,dc=')}",
    "one word, by capitals": lambda a: "annaAtHomeDotExample",
    "partly from right to left": lambda a: a.replace("home@", "x").replace("home", "\u202eemoh\u202c"),
}
MARKUP: dict[str, Disguise] = {
    "veiled by Cloudflare": lambda a: f'<a class="__cf_email__" data-cfemail="{_veiled(a)}">[email]</a>',
    "tags in a comment for Outlook": lambda a: (
        f"<!--[if mso]><td>{a.replace('@', '<b>@</b>')}</td><![endif]--><p>x</p>"
    ),
    "tags in a frame's document": lambda a: (
        f"<iframe srcdoc='{a.replace('@', '&lt;b&gt;@&lt;/b&gt;')}'></iframe>"
    ),
    "tags in a data: URI": lambda a: (
        f"<img src='data:image/svg+xml,{quote(a.replace('@', '<tspan>@</tspan>'))}'>"
    ),
    "a veiled link": lambda a: f'<a href="/cdn-cgi/l/email-protection#{_veiled(a, 7)}">mail</a>',
}


# ---- whole messages ------------------------------------------------------------------------------


def _pdf(stream: bytes, more: bytes = b"") -> bytes:
    packed = zlib.compress(stream)
    return b"%PDF-1.4\n" + more + b"1 0 obj<</Filter/FlateDecode>>stream\n" + packed + b"\nendstream\n%%EOF"


def _differences(address: str) -> bytes:
    """A font without a ToUnicode table: its codes are numbers, whose glyphs have names."""
    letters = sorted(set(address))
    names = b"".join(b"/" + {"@": b"at", ".": b"period"}.get(c, c.encode()) for c in letters)
    shown = bytes(128 + letters.index(c) for c in address)
    return _pdf(b"BT (" + shown + b") Tj ET", b"5 0 obj<</Differences[128" + names + b"]>>endobj\n")


def _pages(address: str) -> bytes:
    """iWork: the local part is copied from where it stood before."""
    local, domain = address.split("@")
    first = f"{local} and @{domain} ".encode()
    packed = bytes((60,)) + bytes(((len(first) - 1) << 2,)) + first
    packed += bytes((((len(local) - 4) << 2) | 1, len(first)))  # copy the local part
    packed += bytes((((len(domain)) << 2) | 2, len(domain) + 2 + len(local), 0))  # and "@domain"
    chunk = b"\0" + len(packed).to_bytes(3, "little") + packed
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("Index/Document.iwa", chunk)
    return target.getvalue()


def _tar(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _stored(name: str, content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, content)
    return target.getvalue()


def _unpacked(address: str, wrapped: bool) -> bytes:
    """As fpdf writes it, its table in clear; or as ReportLab does, all in ASCII85."""
    letters = sorted(set(address))
    table = "".join(f"<{n:04x}> <{ord(each):04x}>\n" for n, each in enumerate(letters, 65)).encode()
    table = f"{len(letters)} beginbfchar\n".encode() + table + b"endbfchar"
    shown = b"".join(bytes((0, letters.index(each) + 65)) for each in address)
    page = b"BT 1 0 0 1 9 9 Tm (" + shown + b") Tj ET"
    if wrapped:
        table, page = (base64.a85encode(zlib.compress(each)) + b"~>" for each in (table, page))
    return b"%PDF-1.3\n" + b"".join(
        b"1 0 obj<<>>\nstream\r\n" + each + b"\nendstream\nendobj\n" for each in (table, page)
    )


_NOISE = bytes(range(128, 250))
_7Z = b"7z\xbc\xaf\x27\x1c" + _NOISE
_MANIFEST = '<?xml version="1.0"?><manifest:manifest><manifest:encryption-data/></manifest:manifest>'


def _file(octets: bytes, name: str = "a.bin") -> bytes:
    return attached("application/octet-stream", octets, name=name)


PLACES: dict[str, Callable[[str], bytes]] = {
    "a PDF, letter by letter": lambda a: _file(
        _pdf(b"".join(f"BT 1 0 0 1 {50 + 6 * i} 700 Tm ({c}) Tj ET\n".encode() for i, c in enumerate(a)))
    ),
    "a PDF, letter by letter in hexadecimal": lambda a: _file(
        _pdf(b"BT [" + b"".join(f"<{ord(c):02x}>-3".encode() for c in a) + b"] TJ ET")
    ),
    "a PDF without a table": lambda a: _file(_differences(a)),
    "a PDF whose table is not packed": lambda a: _file(_unpacked(a, wrapped=False)),
    "a PDF whose streams are in ASCII85": lambda a: _file(_unpacked(a, wrapped=True)),
    "a PDF in ASCII85 that changes its font": lambda a: _file(
        b"%PDF-1.3\n1 0 obj<<>>\nstream\n"
        + base64.a85encode(zlib.compress(f"BT ({a[:4]}) Tj /F2 9 Tf ({a[4:]}) Tj ET".encode()))
        + b"~>endstream"
    ),
    "a Pages document": lambda a: _file(_pages(a), "a.pages"),
    "what OpenPGP has packed": lambda a: _file(
        b"\xa3\x01" + _deflated(f"I am {a}, and this is a text of some length"), "letter.sig"
    ),
    "HTML in a web archive": lambda a: _file(
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>"
        + a.replace("@", "<b>=40</b>").encode()
        + b"</p>\r\n",
        "a.mht",
    ),
    "a 7z archive that unpacks itself": lambda a: _file(b"MZ" + bytes(500) + _7Z, "setup.exe"),
    "a 7z archive in a zip": lambda a: _file(_stored("a.7z", b"\x28\xb5\x2f\xfd" + _NOISE)),
    "a Zstandard file in a tar archive": lambda a: _file(_tar("a.zst", b"\x28\xb5\x2f\xfd" + _NOISE)),
    "a Debian package": lambda a: _file(
        b"!<arch>\ndata.tar.zst/   0           0     0     100644  122       `\n\x28\xb5\x2f\xfd" + _NOISE
    ),
    "an LHA archive": lambda a: _file(b"\x22\x33-lh5-" + _NOISE),
    "an ACE archive": lambda a: _file(bytes(7) + b"**ACE**" + _NOISE),
    "an age file": lambda a: _file(b"age-encryption.org/v1\n-> X25519 abc\n" + _NOISE),
    "an OpenSSL file": lambda a: _file(b"Salted__" + _NOISE),
    "a KeePass file": lambda a: _file(b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5" + _NOISE),
    "what OpenPGP has encrypted": lambda a: _file(b"\x85\x01\x0c\x03" + _NOISE, "letter"),
    "what OpenPGP has encrypted by a password": lambda a: _file(
        b"\x8c\x0d\x04\x09\x03\x02" + _NOISE, "letter"
    ),
    "a key with its certificate": lambda a: _file(
        bytes.fromhex("30820a8f02010330820a4506092a864886f70d010701a0820a3604820a3230820a2e308204a2")
        + bytes.fromhex("06092a864886f70d010706a08204933082048f02010030820488")
        + _NOISE,
        "anna.p12",
    ),
    "an encrypted OpenDocument": lambda a: _file(zipped(_MANIFEST, "META-INF/manifest.xml"), "a.odt"),
    "a second encoding": lambda a: mixed(
        HELLO,
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + "=\r\n".join(a).encode(),
    ),
}
