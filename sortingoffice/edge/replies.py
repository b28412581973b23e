"""What the edge itself says: every reply that no flow decides, in one place.

Promise: constant texts.  Nothing of what a stranger sent, and nothing of ours, is in them.

Sources: RFC 5321 §4.2, RFC 3463, RFC 5248 (enhanced codes), RFC 4954 §6 (AUTH), RFC 6531 §3.5,
RFC 3207 §4 (STARTTLS), RFC 7504 (521 and 556 are not used: a session that may go on goes on).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sortingoffice.mail.reply import Reply

OK: Final = Reply(250, "2.0.0", "OK")
SENDER_OK: Final = Reply(250, "2.1.0", "sender OK")
BYE: Final = Reply(221, "2.0.0", "bye")
HELP: Final = Reply(214, "2.0.0", "see RFC 5321")
START_MAIL: Final = Reply(354, "", "end data with <CR><LF>.<CR><LF>")
# VRFY and EXPN tell nothing (RFC 5321 §7.3): one text for every argument.
CANNOT_VERIFY: Final = Reply(252, "2.5.2", "send the message and see")
NO_LISTS: Final = Reply(502, "5.5.1", "not implemented")

# ---- syntax and sequence ---------------------------------------------------------------------------

UNKNOWN: Final = Reply(500, "5.5.1", "command not recognized")
LINE_TOO_LONG: Final = Reply(500, "5.5.2", "command line too long")
BAD_LINE_END: Final = Reply(500, "5.5.2", "commands end in CR LF and hold no other control characters")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "this command takes no argument")
BAD_HELO: Final = Reply(501, "5.5.4", "a host name or address literal is needed")
BAD_MAIL: Final = Reply(501, "5.5.4", "syntax: MAIL FROM:<address> [parameters]")
BAD_RCPT: Final = Reply(501, "5.5.4", "syntax: RCPT TO:<address>")
BAD_SENDER: Final = Reply(501, "5.1.7", "this is no address of RFC 5321")
BAD_RECIPIENT: Final = Reply(501, "5.1.3", "this is no address of RFC 5321")
NULL_RECIPIENT: Final = Reply(501, "5.1.3", "a recipient is needed")
BAD_PARAMETER: Final = Reply(501, "5.5.4", "this parameter's value is not valid")
UNKNOWN_PARAMETER: Final = Reply(555, "5.5.4", "parameter not recognized")
NEEDS_SMTPUTF8: Final = Reply(553, "5.6.7", "a non-ASCII address needs SMTPUTF8")
HELO_FIRST: Final = Reply(503, "5.5.1", "say HELO or EHLO first")
EHLO_FIRST: Final = Reply(503, "5.5.1", "say EHLO first")
NESTED_MAIL: Final = Reply(503, "5.5.1", "a transaction is already open")
MAIL_FIRST: Final = Reply(503, "5.5.1", "say MAIL first")
RCPT_FIRST: Final = Reply(503, "5.5.1", "say RCPT first")
NO_RECIPIENTS: Final = Reply(554, "5.5.1", "no valid recipients")
NOT_SMTP: Final = Reply(554, "5.5.1", "this is an SMTP server")

# ---- content ---------------------------------------------------------------------------------------

BARE_LINE_END: Final = Reply(
    554, "5.6.0", "bare CR or LF in the message: lines end in CR LF (RFC 5321 2.3.8)"
)
NUL_OCTET: Final = Reply(554, "5.6.0", "NUL in the message")
TOO_LARGE: Final = Reply(552, "5.3.4", "message exceeds the size limit")
LONG_LINE: Final = Reply(554, "5.6.0", "a line of the message is too long")
NO_STORAGE: Final = Reply(452, "4.3.1", "insufficient storage, try again later")

# ---- limits and states -----------------------------------------------------------------------------

LOCAL_ERROR: Final = Reply(451, "4.3.0", "local error, try again later")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "too many recipients")
TOO_MANY_CONNECTIONS: Final = Reply(421, "4.7.0", "too many connections, try again later")
TOO_HASTY: Final = Reply(421, "4.7.0", "too many connections from your network in a minute, try again later")
TOO_MUCH: Final = Reply(450, "4.7.0", "too many octets from your network in an hour, try again later")
TOO_MANY_COMMANDS: Final = Reply(421, "4.7.0", "too many commands, closing")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "too many errors, closing")
TIMED_OUT: Final = Reply(421, "4.4.2", "timed out, closing")
SHUTTING_DOWN: Final = Reply(421, "4.3.2", "shutting down, try again later")
MAKING_ROOM: Final = Reply(421, "4.3.2", "too many sessions, closing an idle one")

# What a refusal is counted as, where its reply alone says why.
RULES: Final[Mapping[Reply, str]] = {
    BARE_LINE_END: "bare_line_end",
    NUL_OCTET: "nul_octet",
    TOO_LARGE: "max_message_bytes",
    LONG_LINE: "line_bytes",
    NO_STORAGE: "no_storage",
    TOO_MANY_RECIPIENTS: "recipients",
    TOO_MUCH: "peer_bytes_per_hour",
}

# ---- TLS, AUTH, XCLIENT ----------------------------------------------------------------------------

TLS_NOT_OFFERED: Final = Reply(502, "5.5.1", "not available")
NOTHING_AFTER_STARTTLS: Final = Reply(503, "5.5.1", "nothing may follow STARTTLS")
STARTTLS_FIRST: Final = Reply(530, "5.7.0", "say STARTTLS first")
ENCRYPTION_NEEDED: Final = Reply(538, "5.7.11", "encryption is required for authentication")
AUTH_FIRST: Final = Reply(530, "5.7.0", "authentication is required")
AUTHENTICATED: Final = Reply(235, "2.7.0", "authenticated")
ALREADY_AUTHENTICATED: Final = Reply(503, "5.5.1", "already authenticated")
NOT_WHILE_MAIL: Final = Reply(503, "5.5.1", "not while a transaction is open")
UNKNOWN_MECHANISM: Final = Reply(504, "5.5.4", "mechanism not recognized")
BAD_AUTH: Final = Reply(501, "5.5.2", "syntax: AUTH mechanism [base64]")
AUTH_CANCELLED: Final = Reply(501, "5.7.0", "authentication cancelled")
AUTH_TOO_LONG: Final = Reply(500, "5.5.6", "authentication exchange line is too long")
WRONG_PASSWORD: Final = Reply(535, "5.7.8", "name or password is wrong")
TOO_MANY_TRIES: Final = Reply(421, "4.7.0", "too many failed logins, try again later")
NOT_FOR_YOU: Final = Reply(550, "5.7.0", "not for this client")
BAD_XCLIENT: Final = Reply(501, "5.5.4", "syntax: XCLIENT attribute=value ...")
