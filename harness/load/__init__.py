"""Load: one seeded open-loop schedule, sent by processes of their own, watched by a supervisor.

Importing this package imports neither Locust nor gevent; only the load process does.
"""

from harness.load.plan import LoadPlan
from harness.load.statistics import LiveStats, LoadSummary
from harness.load.supervisor import LoadSupervisor

__all__ = ["LiveStats", "LoadPlan", "LoadSummary", "LoadSupervisor"]
