"""The one error tree of the harness.

Every error says what was wrong, where, and what to do about it; ``exit_code`` is what the command line returns
when the error ends a command (DESIGN.md, "The public surface").
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_COMPETITIVE = 2
EXIT_UNUSABLE = 3
EXIT_UNDECIDED = 4
EXIT_INTERRUPTED = 130


class HarnessError(Exception):
    """Base of everything the harness raises on purpose.

    ``where`` names the place (a file with line and key, a URL, a process); ``hint`` says what to do.
    """

    exit_code = EXIT_UNUSABLE

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(self.__str__())

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments are lost by the default pickling of exceptions, and pytest-xdist pickles them.
        return (_rebuild, (type(self), self.what, self.where, self.hint))


def _rebuild(kind: type[HarnessError], what: str, where: str, hint: str) -> HarnessError:
    return kind(what, where=where, hint=hint)


class UsageError(HarnessError):
    """Options that contradict each other or cannot be understood."""


class ConfigError(HarnessError):
    """A TOML file with an unknown key, a bad value, or a missing one; ``where`` is ``file:line: key``."""


class EnvironmentUnusable(HarnessError):
    """The machine lacks something a run needs (a writable directory, a free port, an engine)."""


class PortTaken(EnvironmentUnusable):
    """The port a target is to listen on is in use."""


class TargetError(HarnessError):
    """The target did not behave as an Engram must for the harness to go on."""


class TargetUnreachable(TargetError):
    """Nothing answered: refused, timed out, or closed the connection."""


class TargetRefused(TargetError):
    """The target answered 401, 403 or an error status where a success was needed."""


class TargetAnswerInvalid(TargetError):
    """The target answered something that is not the documented shape: HTML, too large, malformed."""


class TargetNotOwned(TargetError):
    """A fault was asked for on a target that nobody claimed."""


class TargetBusy(TargetError):
    """Another harness holds the lock of this target; the message names it by pid."""


class CapabilityMissing(HarnessError):
    """The target or the kernel cannot do what a drill needs. A skip, unless capabilities are strict."""


class HostCapabilityMissing(CapabilityMissing):
    """This machine (kernel, privileges, programs) cannot do what a drill needs, whatever the target can."""


class FaultError(HarnessError):
    """A fault could not be injected or healed."""


class HealFailed(FaultError):
    """A heal was tried and the fault is still there: the loudest of errors."""

    exit_code = EXIT_FAILED


class RollbackIncomplete(HarnessError):
    """A rollback was carried out in part, or is not seen to act; the message says which half."""

    exit_code = EXIT_FAILED


class LoadError(HarnessError):
    """The load generator died or could not be started."""


class ExchangeFailed(HarnessError):
    """One request of the load got no usable answer; ends nothing but that request.

    ``outcome`` is a :class:`~harness.model.Outcome`, ``status`` the HTTP status if one was seen.
    """

    def __init__(self, outcome: int, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.status = status


class RecordError(HarnessError):
    """A run directory cannot be written or read."""


class RecordTooNew(RecordError):
    """A record was written by a newer version than this one understands."""


class NothingDone(HarnessError):
    """A dry run ends here; ``what`` says what would have been done."""


class VerdictSignal(HarnessError):
    """Raised where a case ends with a verdict other than PASS or FAIL."""


class Aborted(VerdictSignal):
    """An abort condition was met, or the run was cut short; whatever was injected is healed."""

    exit_code = EXIT_FAILED


class NotExercised(VerdictSignal):
    """The fault was not seen to take effect, so nothing was proven."""

    exit_code = EXIT_FAILED


class Inconclusive(VerdictSignal):
    """The samples cannot decide; the message says what would."""

    exit_code = EXIT_UNDECIDED
