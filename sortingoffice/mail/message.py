"""A message as octets: header fields and a body, split and joined, never serialised anew.

Promise: bytes(Message.parse(raw)) == raw for every raw.  Editing names a field and
touches only that field's octets; all else leaves byte for byte as it came.

What stands in a field is read in `mail.headers`, what stands in the body in `mail.mime`.

Sources: RFC 5322 §2.1, §2.2; RFC 5321 §4.1.1.4 (lines end in CR LF).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from sortingoffice.frozen import dataclass

# A line of a header block that starts a field: a name of printable ASCII but the colon (RFC 5322
# §3.6.8), then blanks that obsolete syntax allows (§4.5), then the colon.
_FIELD_NAME = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")
_CONTINUED = (b" ", b"\t")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field, folded, as it came.

    name  as spelled; compare with `is_named`
    raw   all its octets: name, colon, value, folds and the line end
    """

    name: bytes
    raw: bytes

    def is_named(self, name: str | bytes) -> bool:
        other = name.encode("ascii") if isinstance(name, str) else name
        return self.name.lower() == other.lower()

    @property
    def value(self) -> bytes:
        """What follows the colon, folds and the line end included."""
        return self.raw[self.raw.index(b":") + 1 :]

    @property
    def unfolded(self) -> bytes:
        """The value on one line, without leading and trailing blanks (RFC 5322 §2.2.3)."""
        return re.sub(rb"\r?\n(?=[ \t])", b"", self.value).strip()


def field(name: str, value: str | bytes) -> Field:
    """A new field of ours; `value` is ASCII, may hold folds (CR LF and a blank), and gets its line end.

    Raises ValueError where the value would break out of the field.
    """
    octets = value.encode("ascii") if isinstance(value, str) else value
    folds = octets.count(b"\r\n ") + octets.count(b"\r\n\t")  # counting is ten times a pattern's speed
    if octets.count(b"\r") != folds or octets.count(b"\n") != folds or b"\x00" in octets:
        raise ValueError(f"the value of {name} would break out of its field")
    encoded = name.encode("ascii")
    return Field(encoded, encoded + b": " + octets + b"\r\n")


@lru_cache(1024)
def _key(name: str) -> bytes:
    return name.encode("ascii").lower()


def _split(raw: bytes) -> tuple[tuple[Field, ...], bytes, int]:
    """The fields, the separator, and where the body begins."""
    fields: list[Field] = []
    at = 0
    while match := _LINE.match(raw, at):
        line = match[0]
        if line in (b"\r\n", b"\n"):
            return tuple(fields), line, match.end()
        name = _FIELD_NAME.match(line)
        if name is None:
            # A blank line of spaces, an mbox "From " line, or text without an empty line before it.
            break
        start, at = at, match.end()
        while raw.startswith(_CONTINUED, at) and (match := _LINE.match(raw, at)):
            at = match.end()
        fields.append(Field(name[1], raw[start:at]))
    return tuple(fields), b"", at


@dataclass(frozen=True, slots=True)
class Message:
    """A message, or one entity of a MIME tree.

    fields     the header block, top to bottom
    separator  the empty line between header and body as it came: CR LF, LF, or nothing where the
               block ended otherwise (end of octets, or a line that is no field: then the body
               begins with that line)
    body       everything after
    """

    fields: tuple[Field, ...]
    separator: bytes
    body: bytes
    # By name in lower case, made when it is first asked for: a message is asked for its fields some 50 times.
    _index: dict[bytes, list[Field]] | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    @classmethod
    def parse(cls, raw: bytes) -> Message:
        """Split octets; every input is accepted (what is odd stays odd: RFC 5322 is checked elsewhere)."""
        fields, separator, body = _split(raw)
        return cls(fields, separator, raw[body:])

    @classmethod
    def head(cls, raw: bytes) -> Message:
        """The same without a body: of a large message no copy is made."""
        fields, separator, _ = _split(raw)
        return cls(fields, separator, b"")

    def __bytes__(self) -> bytes:
        return b"".join([*(field.raw for field in self.fields), self.separator, self.body])

    @property
    def header(self) -> bytes:
        """The header block's octets, without the separator."""
        return b"".join(field.raw for field in self.fields)

    def all(self, name: str) -> Iterator[Field]:
        return iter(self._named(name))

    def first(self, name: str) -> Field | None:
        found = self._named(name)
        return found[0] if found else None

    def _named(self, name: str) -> Sequence[Field]:
        index = self._index
        if index is None:
            index = {}
            for each in self.fields:
                index.setdefault(each.name.lower(), []).append(each)
            object.__setattr__(self, "_index", index)  # it follows from the fields
        return index.get(_key(name), ())

    def value(self, name: str) -> bytes | None:
        """The first such field's unfolded value; None where there is none."""
        found = self.first(name)
        return None if found is None else found.unfolded

    def edit(self, change: Callable[[Field], Field | Iterable[Field] | None]) -> Message:
        """Each field through `change`: itself, another, several or None (taken out)."""
        fields: list[Field] = []
        for old in self.fields:
            new = change(old)
            if isinstance(new, Field):
                fields.append(new)
            elif new is not None:
                fields.extend(new)
        return replace(self, fields=tuple(fields))

    def without(self, *names: str) -> Message:
        gone = {name.encode("ascii").lower() for name in names}
        return replace(self, fields=tuple(f for f in self.fields if f.name.lower() not in gone))

    def prepended(self, *fields: Field) -> Message:
        """Our trace goes on top (RFC 5321 §4.4)."""
        return replace(self, fields=(*fields, *self.fields))

    def appended(self, *fields: Field) -> Message:
        """A field at the end of the block; where the block had no separator, one is made."""
        separator = self.separator or b"\r\n"
        return replace(self, fields=(*self.fields, *fields), separator=separator)
