"""Asking for a card in ordinary text: `#card shipping`, `#shipping`, `{{shipping.postcode}}`.

What a line says, and nothing about whether it may: that is `core.cards`.  Reads one visual
line at a time; where lines come from is `core.body`.

Promise: a line that begins like a directive is an `Ask`, an `Escape` or a `Doubt`, never
silently ordinary text; a line that doesn't is left alone.  Work is linear in the text.

    directive-line = [ws] "#" trigger 1*WSP name *( 1*WSP field ) [ 1*WSP "except" 1*( 1*WSP field ) ]
                     [ 1*WSP "as" 1*WSP form ] [ws]
    short-line     = [ws] "#" name [ same tail ] [ws]     ; only if name is one of the account's
    inline         = "{{" [ws] name "." field [ws] "}}"
    escape         = "##card …" is sent as "#card …"

Sources: the cards document of the design; Unicode Standard Annex 15 (NFKC).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import field

from sortingoffice.core import fields
from sortingoffice.core.model import Via
from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass

MAX_WORDS = 24  # of a directive; longer ones are doubted
_MAX_LINE = 2000  # characters of a line that may be a directive
_MAX_INLINE = 160
_MOST_WINDOWS = 20_000  # different "#…" in one text that are looked at
_MOST_OTHERS = 500  # of them that begin with no word of the account's

EVERYTHING = "*"  # a line that stands for all lines

# Characters of the source that NFKC folds to "#", "{" and "}".
_HASH = "#\uff03\ufe5f"
_OPEN = "{\uff5b\ufe5b"
_CLOSE = "}\uff5d\ufe5c"
_HIDDEN = "\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
_TWO_OPEN = re.compile(f"[{_OPEN}][{_HIDDEN}]*[{_OPEN}]")
_UNSEEN = re.compile(f"[{_HIDDEN}\U000e0000-\U000e0fff]")
_INLINE = re.compile(
    f"[{_OPEN}][{_HIDDEN}]*[{_OPEN}]([^{_OPEN}{_CLOSE}]{{1,{_MAX_INLINE}}})[{_CLOSE}][{_HIDDEN}]*[{_CLOSE}]"
)
_BEGUN = re.compile(f"[{_OPEN}][{_HIDDEN}]*[{_OPEN}]([^{_OPEN}{_CLOSE}]{{0,{_MAX_INLINE}}})\\Z")
_ENDED = re.compile(f"([^{_OPEN}{_CLOSE}\\r\\n]{{0,{_MAX_INLINE}}})[{_CLOSE}][{_HIDDEN}]*[{_CLOSE}]")
_INNER = re.compile(r"\s*([^\W_][\w-]*)\.([^\W_][\w-]*)\s*")
_LOOSE = re.compile(r"\s*([^\W_][\w-]*)(?:[\s.:/]|$)")  # begins like an inline ask
_WORD = re.compile(r"[^\W_][\w-]*")
_BULLET = re.compile(r"(?:[-*+o·•‣▪◦–—]|\d{1,3}[.)]) (?=#)")  # as mail clients write a list in plain text
_SIGNS = re.compile(r"[^\w#]{1,12}(?=#)")  # quotes around it, a client's signs for bold, an arrow, a box
_HASH_WORD = re.compile(f"(?<![\\w/&])[{_HASH}](?=[{_HIDDEN}]*\\w)")
_WIDTH = 70  # characters, to which mail clients cut lines, or to more
CUT = 36  # the fewest of a line that was cut so, however long its next word was
_GOES_ON = re.compile(r"([^\W_][\w-]*)(?: [^\W_][\w-]*)*[ \t]*(?:[\r\n]|\Z)")  # a line of words alone
_BLANKS = re.compile(r"\s+")
_TRAILING = ".,;:!?…"

TRIGGER = "card"  # unless the person chose another word
_LONGEST_TRIGGER = 32


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What this account's directives are made of.

    trigger  the word after "#", folded
    names    the account's cards and views
    """

    trigger: str
    names: frozenset[str]

    @property
    def usage(self) -> str:
        word = f"#{self.trigger} NAME"
        return f"Write it alone on its line: {word}, {word} FIELD …, or {word} except FIELD …"


def trigger_word(text: str) -> str:
    """A word to stand after "#", in the form in which it is compared.

    Raises OfficeError for one that ordinary text has after a "#": a number, a sign, a single letter.
    """
    word = fields.name(text, "word")
    if len(word) < 2 or len(word) > _LONGEST_TRIGGER or not word[0].isalpha():
        raise OfficeError(
            f"{fields.shown(text)} can't ask for a card: take a word that begins with a letter, of 2 to "
            f"{_LONGEST_TRIGGER} characters, for example {TRIGGER}"
        )
    return word


@dataclass(frozen=True, slots=True)
class Ask:
    """A readable directive.

    name, fields, excepted  as written, folded; whether they exist is for `core.cards`
    line                    the normal form by which two lines are the same
    start, end              what it covers in the line's text
    """

    name: str
    fields: tuple[str, ...]
    excepted: tuple[str, ...]
    form: str
    via: Via
    line: str
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What looks like a directive and can't be read as one.

    what  the first line for the person, after "Not sent: "
    hint  the second
    """

    what: str
    hint: str
    line: str
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Escape:
    """`##card …`: the text's character at `start` is to be taken out."""

    line: str
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


Mark = Ask | Doubt | Escape


def fold(text: str) -> str:
    """The form in which directives are compared; blanks of any width are one space each."""
    text = _UNSEEN.sub("", unicodedata.normalize("NFKC", _UNSEEN.sub("", text)))
    text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split())


def hinted(text: str) -> bool:
    """Whether there can be anything for us in a text: a quick no for most mail."""
    if any(sign in text for sign in _HASH):
        return True
    return any(sign in text for sign in _OPEN) and _TWO_OPEN.search(text) is not None


def read(line: str, vocabulary: Vocabulary) -> tuple[Mark, ...]:
    """The marks of one visual line, without its line end."""
    if not hinted(line):
        return ()
    whole = _whole(line, vocabulary)
    if whole is not None:
        return (whole,)
    return tuple(_inline(line, vocabulary))


def wrapped(begun: str, line: str, following: str) -> bool:
    """Whether a mail client cut a directive to the width of a line, and it goes on in the following one: at a
    blank within {{ }}, or after its "except", where what stands there would leave.

    begun  from the directive's start to the end of `line`, its last so far
    """
    if len(line) < CUT or not hinted(begun):
        return False
    inner, rest = _BEGUN.search(begun[-_MAX_INLINE:]), _ENDED.match(following)
    if inner is not None and rest is not None:
        return _INNER.fullmatch(fold(f"{inner[1]} {rest[1]}")) is not None
    folded = fold(begun)
    if not folded.startswith("#") or "except" not in folded.split():
        return False
    words = _GOES_ON.match(following)
    return words is not None and len(line) + 1 + len(words[1]) > _WIDTH


def said(text: str, vocabulary: Vocabulary) -> Iterator[str]:
    """Normal forms of every directive that could be cut out of a text, for remembering.

    A quoting client may wrap lines anew, so each "#word" counts with every number of the words
    that follow it, wherever the lines end.  Work is bounded: where a text holds more than can be
    told apart, `EVERYTHING` comes last.
    """
    text = _BLANKS.sub(" ", _UNSEEN.sub("", text))
    seen: set[str] = set()
    others = 0
    for match in _HASH_WORD.finditer(text):
        window = text[match.start() + 1 : match.start() + 1 + (fields.MAX_NAME + 1) * MAX_WORDS]
        if window in seen:
            continue
        seen.add(window)
        if len(seen) > _MOST_WINDOWS:
            yield EVERYTHING
            return
        first = fold(window[: fields.MAX_NAME * 2]).partition(" ")[0]
        if _WORD.match(first) is None:
            continue
        if first != vocabulary.trigger and first not in vocabulary.names:
            # A card of this name may be made later; but a long list of hashtags is only that.
            others += 1
            if others > _MOST_OTHERS:
                continue
        yield from _prefixes(window)
    for match in _INLINE.finditer(text):
        inner = _INNER.fullmatch(fold(match[1]))
        if inner:
            yield f"{{{{{inner[1]}.{inner[2]}}}}}"


def _prefixes(window: str) -> Iterator[str]:
    words = [word for word in fold(window).split() if word.strip(">|")]
    for count, word in enumerate(words[:MAX_WORDS]):
        name = _WORD.match(word)
        if name is None:
            return
        yield "#" + " ".join([*words[:count], name[0]])
        if name[0] != word:
            return


def _whole(line: str, vocabulary: Vocabulary) -> Mark | None:
    """The line as a directive, an escape or a doubt; None if it is ordinary."""
    folded = fold(line[:_MAX_LINE])
    if not folded.startswith("#"):
        if not _framed(folded, vocabulary):
            return None
        what = f"{fields.shown(folded)} doesn't stand alone on its line"
        return Doubt(what, vocabulary.usage, folded, 0, len(line))
    start = len(line) - len(line.lstrip())
    end = len(line.rstrip())
    if len(line) > _MAX_LINE:
        if not f"{folded} ".startswith(f"#{vocabulary.trigger} "):
            return None
        return Doubt(f"{fields.shown(folded)} is too long to be read", vocabulary.usage, folded, start, end)
    if folded.startswith("##"):
        meant = _reading(folded[1:], vocabulary, 0, 0)
        at = next((i for i, c in enumerate(line) if c in _HASH), start)
        return Escape(folded, at, at + 1) if meant is not None else None
    return _reading(folded, vocabulary, start, end)


def _framed(folded: str, vocabulary: Vocabulary) -> bool:
    """Whether it would be a directive but for a bullet before it, or signs around it."""
    if (bullet := _BULLET.match(folded)) is not None:
        return isinstance(_reading(folded[bullet.end() :], vocabulary, 0, 0), Ask)
    if (signs := _SIGNS.match(folded)) is None:
        return False
    end = len(folded)
    while not (folded[end - 1].isalnum() or folded[end - 1] == "#"):
        end -= 1
    inner = folded[signs.end() : end]
    asked = _reading(inner, vocabulary, 0, 0)
    if not isinstance(asked, Ask) or asked.name not in vocabulary.names:
        return False
    return not asked.fields or inner.startswith(f"#{vocabulary.trigger} ")  # "(#shipping is late!)"


def _reading(folded: str, vocabulary: Vocabulary, start: int, end: int) -> Ask | Doubt | None:
    words = folded[1:].split(" ")
    first = words[0]
    if first == vocabulary.trigger:
        return _tail(words[1:], vocabulary.usage, folded, start, end)
    if first in vocabulary.names:
        # A hashtag that opens a sentence is ordinary, unless all of it could be fields.
        tail = _tail(words, vocabulary.usage, folded, start, end)
        return tail if isinstance(tail, Ask) or "as" in words or "except" in words else None
    return _slip(words, folded, vocabulary, start, end)


def _tail(words: list[str], usage: str, folded: str, start: int, end: int) -> Ask | Doubt:
    """name, fields, except and form, after the "#" or the trigger."""
    line = fields.shown(folded)

    def doubt(what: str) -> Doubt:
        return Doubt(what, usage, folded, start, end)

    if not words:
        return doubt(f"{line} names no card")
    if len(words) >= MAX_WORDS:
        return doubt(f"{line} is too long to be read")
    form = "text"
    if "as" in words:
        at = words.index("as")
        if at != len(words) - 2 or words[at + 1] not in fields.FORMS:
            return doubt(f"{line} asks for a form that isn't known; there are {', '.join(fields.FORMS)}")
        form, words = words[at + 1], words[:at]
    excepted: list[str] = []
    if "except" in words:
        at = words.index("except")
        words, excepted = words[:at], words[at + 1 :]
        if not excepted or "except" in excepted:
            return doubt(f"{line} doesn't say which fields to leave out")
    if not words:
        return doubt(f"{line} names no card")
    for word in [*words, *excepted]:
        if not _WORD.fullmatch(word):
            return doubt(f"{line} can't be read at {fields.shown(word)}")
    return Ask(words[0], tuple(words[1:]), tuple(excepted), form, Via.DIRECTIVE, folded, start, end)


def _slip(words: list[str], folded: str, vocabulary: Vocabulary, start: int, end: int) -> Doubt | None:
    """What was almost a directive: told to the person rather than sent as it stands."""
    names = tuple(sorted(vocabulary.names))
    first, rest = words[0], words[1:]
    glued = first.removeprefix(vocabulary.trigger).strip("-_.:")
    if len(glued) > 2 and first != glued and glued in vocabulary.names:  # "#cardshipping", as a hashtag
        hint = f"Did you mean  #{vocabulary.trigger} {glued} ?"
        return Doubt(f"{fields.shown(folded)} can't be read", hint, folded, start, end)
    # "# card shipping", "#crad shipping", "#card: shipping"
    trigger, name = (
        (first or (rest[0] if rest else "")).rstrip(_TRAILING),
        (rest[0:1] if first else rest[1:2]),
    )
    wanted = name[0].rstrip(_TRAILING) if name else ""
    known = wanted if wanted in vocabulary.names else fields.near(wanted, names) if wanted else None
    if trigger == vocabulary.trigger and (known or first):
        suggestion = f"#{vocabulary.trigger} {known}" if known else f"#{vocabulary.trigger} NAME"
        return Doubt(
            f"{fields.shown(folded)} can't be read", f"Did you mean  {suggestion} ?", folded, start, end
        )
    # The usual word counts as a slip, too, where the person chose another.
    if known and known == wanted and (trigger == TRIGGER or fields.near(trigger, (vocabulary.trigger,))):
        hint = f"Did you mean  #{vocabulary.trigger} {known} ?"
        return Doubt(f"{fields.shown(folded)} can't be read", hint, folded, start, end)
    if rest or not first:
        return None
    bare = first.rstrip(_TRAILING)
    close = bare if bare in vocabulary.names else fields.near(bare, names)
    if close is None:
        return None
    hint = f"Did you mean  #{vocabulary.trigger} {close} ?"
    return Doubt(f"unknown card {fields.shown(bare)}", hint, folded, start, end)


def _inline(line: str, vocabulary: Vocabulary) -> Iterator[Mark]:
    for match in _INLINE.finditer(line):
        folded = fold(match[1])
        inner = _INNER.fullmatch(folded)
        if inner is None:
            loose = _LOOSE.match(folded)
            if loose is not None and loose[1] in vocabulary.names:
                written = f"{{{{{folded}}}}}"
                hint = (
                    f"Write {{{{{loose[1]}.FIELD}}}}, or with a blank in {{ {{ to have it sent as it stands."
                )
                what = f"{fields.shown(written)} names no field"
                yield Doubt(what, hint, written, match.start(), match.end())
            continue
        name, key = inner[1], inner[2]
        written = f"{{{{{name}.{key}}}}}"
        if name in vocabulary.names:
            yield Ask(name, (key,), (), "text", Via.INLINE, written, match.start(), match.end())
        elif close := fields.near(name, tuple(sorted(vocabulary.names))):
            hint = f"Did you mean  {{{{{close}.{key}}}}} ?"
            what = f"unknown card {fields.shown(name)}"
            yield Doubt(what, hint, written, match.start(), match.end())
