"""Prometheus text: the same samples as the official parser reads, and NaN never counts as a number."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from harness.engram import parse_prometheus


def scrape() -> str:
    registry = CollectorRegistry()
    counter = Counter("engram_recall", "recalls", ["cohort"], registry=registry)
    counter.labels("canary").inc(3)
    counter.labels("control").inc(5)
    Gauge("odd", 'quo"te', ["path"], registry=registry).labels('C:\\x "y"\nz,{}').set(math.inf)
    Gauge("nothing", "NaN", registry=registry).set(math.nan)
    histogram = Histogram("took", "s", ["cohort"], buckets=(0.008, 0.015), registry=registry)
    for cohort in ("canary", "control"):
        for value in (0.001, 0.010, 0.5):
            histogram.labels(cohort).observe(value)
    return generate_latest(registry).decode()


def test_it_reads_what_the_official_parser_reads() -> None:
    text = scrape()
    ours = {
        (name, labels, repr(value)) for name, found in parse_prometheus(text).series.items() for labels, value in found
    }
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items())), repr(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert ours == theirs


def test_values_totals_and_buckets() -> None:
    scraped = parse_prometheus(scrape())
    assert scraped.value("engram_recall_total", cohort="canary") == 3
    assert scraped.value("engram_recall_total") is None, "two match: neither is the one"
    assert scraped.total("engram_recall_total") == 8
    assert scraped.total("engram_recall_total", cohort="nobody") is None
    assert scraped.value("nothing") is None
    assert scraped.total("nothing") is None
    assert scraped.buckets("took") == ((0.008, 2.0), (0.015, 4.0), (math.inf, 6.0))


@pytest.mark.parametrize("text", ["<html>\n", "name\n", "name x\n", 'name{a="b} 1\n', "name{a=b} 1\n"])
def test_what_is_no_sample_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sample|number|labels"):
        parse_prometheus(text)


def test_time_stamps_comments_and_blank_lines_are_taken() -> None:
    assert parse_prometheus("# TYPE a gauge\n\n  \na 1 1395066363000\n").value("a") == 1
