# SPDX-License-Identifier: Apache-2.0
"""What a command raises; the message is the line that the program would print."""


class Error(RuntimeError):
    """A file, a model or the machine does not allow it."""


class UsageError(Error, ValueError):
    """An argument that makes no sense."""


class Refused(Error):
    """The work was done, and a check said no."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; nothing was written."""
