"""The Locust user: one slot of the open-loop schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locust import User, constant, task
from locust.exception import StopUser

from harness.load.pipe import fail

if TYPE_CHECKING:
    from harness.load.engine import Engine


class SlotUser(User):
    """Takes the next arrival of the process' schedule, waits for its instant, sends; the engine records.

    Locust spawns and stops these; it decides no pace and keeps no statistics of them.
    """

    wait_time = constant(0)
    engine: Engine

    @task
    def run_slot(self) -> Any:
        """One slot from start to stop."""
        self.engine.run_slot()
        raise StopUser


def slot_user_of(engine: Engine) -> type[SlotUser]:
    """The user class bound to a process' engine, as Locust makes the instances itself."""
    return type("SlotUser", (SlotUser,), {"engine": engine})


def slot_broke(user_instance: Any, exception: BaseException, tb: Any, **_: Any) -> None:
    """Locust's ``user_error``: a slot that raises is our own defect, and a load that lost slots proves nothing."""
    fail(f"a slot broke: {type(exception).__name__}: {exception}")
