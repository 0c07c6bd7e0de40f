"""Runbook phase 0: 24 hours of the baseline load, and everything that must hold throughout.

One soak is run; every test asserts one criterion of it, so that a nightly report names what broke.
"""

import pytest

pytestmark = pytest.mark.soak


def test_the_soak_runs_to_its_end(soak):
    assert soak.abort_triggers == []
    soak.check("completed")


def test_nobody_looked_away_for_long(soak):
    soak.check("observed")


def test_the_offered_rate_is_held(soak):
    soak.check("offered_rate")


def test_no_crash_or_panic(soak):
    soak.check("no_crash")


def test_p99_is_stable_hour_over_hour(soak):
    soak.check("p99_drift")


def test_hardly_a_request_fails_throughout(soak):
    soak.check("error_rate")


def test_memory_grows_by_less_than_five_percent(soak):
    soak.check("memory_growth")


def test_rss_settles(soak):
    soak.check("rss_settled")


def test_nothing_leaks_memory(soak):
    soak.check("leak")


def test_nothing_leaks_descriptors(soak):
    soak.check("open_files")


def test_consolidation_stays_fresh(soak):
    soak.check("consolidation_freshness")


def test_consolidation_succeeds(soak):
    soak.check("consolidation_success")


def test_cpu_stays_below_sixty_percent(soak):
    soak.check("cpu")


def test_the_breaker_never_trips(soak):
    soak.check("breaker_trips")


def test_no_acknowledged_memory_is_lost(soak):
    soak.check("acknowledged_memories")
