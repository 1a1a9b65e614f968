"""The one exception that means: the person at the keyboard can mend this."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in a command, a config or a file. The message is one line that names it and the mend.

    The command line prints it and exits with status 2; in Python it is raised as it is.
    """


@contextmanager
def user_errors(prefix: str = "") -> Iterator[None]:
    """A ValueError from inside, where only what the user asked for can cause one, is a UserError outside."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{prefix}{error}") from error
