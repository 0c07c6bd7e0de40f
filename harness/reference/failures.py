"""What can go wrong, by who has to hear about it."""

from __future__ import annotations


class StartupRefusedError(Exception):
    """The service will not start; the message is one line for the operator, the exit code is 3."""


class StorageError(Exception):
    """The log could not be written; the write it belonged to was not acknowledged."""


class BackupRefusedError(Exception):
    """A backup is not ours, not of this version, or not whole; nothing of it was taken."""


class SemanticFailure(Exception):
    """The semantic pathway could not answer; recall goes on without it."""


class ApiError(Exception):
    """A request that is answered with the error envelope."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


def bad_request(message: str, code: str = "invalid_request") -> ApiError:
    """A 400 with ``message``."""
    return ApiError(400, code, message)
