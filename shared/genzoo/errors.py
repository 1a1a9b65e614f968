"""The one exception that means: the person at the keyboard can mend this."""


class UserError(ValueError):
    """A mistake in a command, a config or a file. The message is one line that names it and the mend.

    The command line prints it and exits with status 2; in Python it is raised as it is.
    """
