"""Locust's own page, for who explores: what the load does, as it goes on. Lives in the load process."""

from __future__ import annotations

import socket

import gevent
from locust.env import Environment
from locust.stats import stats_history

from harness.load.engine import Engine
from harness.model import Op, Outcome

HOST = "127.0.0.1"


class Page:
    """Serves the page on a free port of loopback and tells Locust of every request from now on."""

    def __init__(self, environment: Environment, engine: Engine) -> None:
        self._environment = environment
        port = _free_port()
        self._page = environment.create_web_ui(HOST, port)
        self.url = f"http://{HOST}:{port}"
        gevent.spawn(stats_history, environment.runner)
        engine.on_request = self._tell

    def _tell(self, op: Op, outcome: Outcome, latency_s: float) -> None:
        failed = None if outcome == Outcome.OK else outcome.name.lower().replace("_", " ")
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="Engram",
            name=op.name.lower().replace("_", " "),
            response_time=latency_s * 1e3,
            response_length=0,
            exception=failed,
            context={},
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
