"""The one exception a person is meant to read.

A person's mistake is an `OfficeError` with a sentence that they can act on.
A peer's failure is a `Reply`, never an exception; any other exception is our
bug, is logged once and answered 451.
"""


class OfficeError(Exception):
    """A person's mistake, or a state of the world they can change.

    str(error)  one clear sentence, with the next step where there is one; shown on
                stderr (exit status 1) or in a mail to the person.  No secrets.
    """


class NotThere(OfficeError):
    """A thing that was named does not exist, or the name fits several."""
