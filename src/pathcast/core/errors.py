"""The one exception family of Pathcast."""

from __future__ import annotations


class PathcastError(Exception):
    r"""A failure a person can act on.

    `message` says what failed, where, what was expected and what was got; `hint` is the next step.

    >>> str(PathcastError("frames.csv row 3: expected 4 columns, got 2", hint="check the delimiter"))
    'frames.csv row 3: expected 4 columns, got 2\n  next step: check the delimiter'
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  next step: {self.hint}"


class InvalidInputError(PathcastError):
    """Data from outside (a file, a record, an argument) is not what its format promises."""


class ServiceUnavailableError(PathcastError):
    """A server did not answer in time, or answered that it cannot serve now. Safe to retry."""


class ModelProcessEndedError(ServiceUnavailableError):
    """A model's process in the server has died; the server does not start it again by itself."""


class GateFailedError(PathcastError):
    """A model did not pass a check that it must pass before it serves."""
