"""The client of Prometheus: queries, rules, alerts, targets, as typed values.

Instants are seconds since the epoch by Prometheus's own clock; ask :meth:`PrometheusClient.now` for the present, and
never mix them with the harness's monotonic clock.
"""

from harness.prometheus.answers import Alert, Result, Rule, RuleGroup, Sample, ScrapeTarget, Series
from harness.prometheus.client import PrometheusClient

__all__ = ["Alert", "PrometheusClient", "Result", "Rule", "RuleGroup", "Sample", "ScrapeTarget", "Series"]
