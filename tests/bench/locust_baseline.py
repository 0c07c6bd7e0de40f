"""The comparison: the same requests by a plain Locust ``FastHttpUser`` with ``constant_throughput``, as one process.

``python -m tests.bench.locust_baseline URL RATE SECONDS``; prints one JSON object.
"""

from gevent import monkey

monkey.patch_all()

# ruff: noqa: E402 - everything below must see the patched modules
import json
import os
import random
import sys
import time
from typing import Any

import gevent
from locust import FastHttpUser, constant_throughput, task
from locust.env import Environment

from harness.load.payload import PayloadBank
from harness.model import Cue
from tests.bench.shape import PER_USER, bench_workload

ITEMS = 600


def user_class(url: str, bank: PayloadBank) -> type[FastHttpUser]:
    """A user that sends what the bench's slots send."""

    class Plain(FastHttpUser):
        host = url
        wait_time = constant_throughput(PER_USER)
        version = 1

        @task
        def one(self) -> None:
            item = random.randrange(ITEMS)
            if random.random() < 0.15:
                type(self).version += 1
                body = bank.remember_body(item, self.version, 0).decode()
                headers = {"Content-Type": "application/json"}
                with self.client.post(
                    "/api/v1/memories/remember", data=body, headers=headers, catch_response=True
                ) as answer:
                    if answer.status_code != 201 or "memory_id" not in answer.json():
                        answer.failure("wrong answer")
            else:
                vector = bank.vector_json(item, Cue.EXACT)[1:-1].decode()
                path = f"/api/v1/memories/recall?embedding=%5B{vector}%5D&max_results=10&include_metadata=true"
                with self.client.get(path, name="recall", catch_response=True) as answer:
                    if answer.status_code != 200 or "memories" not in answer.json():
                        answer.failure("wrong answer")

    return Plain


def main(arguments: list[str]) -> int:
    """Run and report."""
    url, rate, seconds = arguments[0], float(arguments[1]), float(arguments[2])
    bank = PayloadBank(bench_workload(rate), 7)
    bank.warm()
    environment = Environment(user_classes=[user_class(url, bank)])
    runner = environment.create_local_runner()
    users = max(1, round(rate / PER_USER))
    runner.start(users, spawn_rate=users)
    gevent.sleep(1.5)  # spawning, and the burst with which all users begin
    environment.stats.reset_all()
    cpu, start = time.process_time(), time.monotonic()
    rss: list[float] = []
    while time.monotonic() - start < seconds:
        gevent.sleep(min(1.0, max(0.05, seconds - (time.monotonic() - start))))
        rss.append(_rss_mb())
    total: Any = environment.stats.total
    lasted, used = time.monotonic() - start, time.process_time() - cpu
    result = {
        "achieved_per_s": total.num_requests / lasted,
        "p50_ms": total.get_response_time_percentile(0.5),
        "p99_ms": total.get_response_time_percentile(0.99),
        "cpu_us_per_request": used / max(1, total.num_requests) * 1e6,
        "failures": total.num_failures,
        "rss_mb": rss,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)


def _rss_mb() -> float:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
