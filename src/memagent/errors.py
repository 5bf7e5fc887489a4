"""What can go wrong, each with what to do about it.

An error says what, where, whose fault, and what to do: `message` is one line for a user, `hint` another
with the way out. Any other exception that reaches a user is a bug in memagent.
"""


class MemagentError(Exception):
    """The root of all errors that memagent raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(MemagentError):
    """The configuration or the command line is wrong: the user's to mend. Every mistake, one a line."""

    exit_code = 2


class StartError(MemagentError):
    """The machine does not let us start: a port in use, a user that does not exist, no rights."""


class ProtocolError(MemagentError):
    """A peer sent bytes that the memcached protocol does not allow."""


class ServerError(MemagentError):
    """A memcached server failed: refused, reset, timed out."""


class ControlError(MemagentError):
    """The running proxy cannot be reached over its control socket, or does not do what it is asked.

    `can_force`: it does so if it is told to do it nevertheless.
    """

    def __init__(self, message: str, hint: str | None = None, can_force: bool = False) -> None:
        super().__init__(message, hint)
        self.can_force = can_force
