"""The content after DATA: octets in, one message or one refusal out.

Promise: only CR LF . CR LF ends it; whatever is between is either kept octet for octet (dots
unstuffed) or refused as a whole, and the end is found in the same place either way, so no peer
can disagree with us about where a message stops.  Time and memory are linear in the octets, not
in the lines: nothing is kept per line.

Pure but for the temporary file that takes what is beyond `IN_MEMORY`.

Sources: RFC 5321 §2.3.8, §4.1.1.4, §4.5.2 (transparency), §4.5.3.1.6; CVE-2023-51764 and its
kin ("SMTP smuggling").
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sortingoffice.edge import replies
from sortingoffice.mail.reply import Reply

IN_MEMORY = 131072  # octets of one message that are held before its file is begun
_END = b"\r\n.\r\n"


class Content:
    """One message on its way in.

    received  octets as they came, the end included
    size      octets of the message, dots unstuffed
    lines     line ends in it
    """

    __slots__ = (
        "_bare",
        "_file",
        "_folder",
        "_held",
        "_large",
        "_line",
        "_long",
        "_most",
        "_most_line",
        "_nul",
        "_pieces",
        "_storage",
        "_virtual",
        "_waiting",
        "lines",
        "received",
        "size",
    )

    def __init__(self, *, most: int, most_line: int, folder: Path | None = None) -> None:
        self._most = most
        self._most_line = most_line
        self._folder = folder
        # The content begins at the start of a line: as if a CR LF stood before it, which is dropped
        # from the first piece.
        self._held = b"\r\n"
        self._virtual = True
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._file: BinaryIO | None = None
        self._line = 0
        self._bare = self._nul = self._long = self._large = self._storage = False
        self.received = self.size = self.lines = 0

    # ---- in ----------------------------------------------------------------------------------------

    def feed(self, octets: bytes) -> bytes | None:
        """Take these octets; what stands after the end, or None while the end has not come."""
        self.received += len(octets)
        at_hand = self._held + octets
        # Looked for once: without a dot at the start of a line there is no end and nothing to unstuff.
        dotted = b"." in at_hand and b"\r\n." in at_hand
        end = at_hand.find(_END) if dotted else -1
        if end >= 0:
            rest = at_hand[end + len(_END) :]
            self.received -= len(rest)
            self._held = b""
            self._take(at_hand[: end + 2], dotted=dotted)
            return rest
        # What may become the end stays here; so a CR LF, and the dot after it, are never torn apart.
        keep = next((n for n in (4, 3, 2, 1) if at_hand.endswith(_END[:n])), 0)
        self._held = at_hand[len(at_hand) - keep :]
        self._take(at_hand[: len(at_hand) - keep], dotted=dotted)
        return None

    def _take(self, piece: bytes, *, dotted: bool) -> None:
        if not piece:
            return
        ends = piece.count(b"\n")
        if ends != piece.count(b"\r") or ends != piece.count(b"\r\n"):
            self._bare = True
        if b"\0" in piece:
            self._nul = True
        if not self._long:
            self._long = self._too_long(piece)
        if dotted:
            piece = piece.replace(b"\r\n.", b"\r\n")  # RFC 5321 §4.5.2
        if self._virtual:
            self._virtual = False
            piece = piece[2:]
            ends -= 1
        self.size += len(piece)
        self.lines += ends
        if self.size > self._most:
            self._large = True
        if self.refused:
            self.close()
        else:
            self._pieces.append(piece)
            self._waiting += len(piece)

    def _too_long(self, piece: bytes) -> bool:
        """Whether a line goes beyond its limit; hops from line end to line end, a limit at a time."""
        at, room = 0, self._most_line - self._line
        while True:
            end = piece.rfind(b"\r\n", at, at + max(room, 0) + 2)
            if end < 0:
                open_line = len(piece) - at
                self._line = self._most_line - room + open_line
                return open_line > room
            at, room = end + 2, self._most_line

    # ---- kept --------------------------------------------------------------------------------------

    @property
    def heavy(self) -> bool:
        """Whether `spill` has work to do: blocking, so for a thread."""
        return self._waiting > IN_MEMORY

    @property
    def in_file(self) -> bool:
        return self._file is not None

    def spill(self) -> None:
        """Write what is held to the temporary file.  Blocks."""
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed in close()
            self._file.write(b"".join(pieces))
        except OSError:
            self._storage = True
            self.close()

    def octets(self) -> bytes:
        """The whole message, once; blocks where it is in the file.  Raises OSError."""
        rest, self._pieces, self._waiting = b"".join(self._pieces), [], 0
        if self._file is None:
            return rest
        self._file.write(rest)  # so that it is read in one piece, not joined to another copy
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        self._pieces, self._waiting = [], 0
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # what can't be flushed is not wanted any more
                file.close()

    # ---- judged ------------------------------------------------------------------------------------

    @property
    def refused(self) -> bool:
        return self._bare or self._nul or self._large or self._long or self._storage

    @property
    def refusal(self) -> Reply | None:
        """The one answer where the content can't be taken; how it is framed comes before its size."""
        if self._bare:
            return replies.BARE_LINE_END
        if self._nul:
            return replies.NUL_OCTET
        if self._large:
            return replies.TOO_LARGE
        if self._long:
            return replies.LONG_LINE
        return replies.NO_STORAGE if self._storage else None
