"""Telling people: Slack, PagerDuty and the status page, from templates; printed where no address is configured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

SLACK_VARIABLE = "SLACK_WEBHOOK_URL"
PAGERDUTY_VARIABLE = "PAGERDUTY_ROUTING_KEY"
_PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
_TIMEOUT_S = 10.0
_SEVERITY = {"automated": "critical", "manual": "error", "ramp": "warning", "strategic": "info"}


@dataclass(frozen=True)
class Notice:
    """What people are told: once when a trigger is met, again when the breach reaches another level."""

    trigger: str
    kind: str
    headline: str
    phase: str
    reason: str
    evidence: str
    action: str
    eta: str
    level: str
    who: str
    target: str
    started: str
    now: str
    resolved: bool = False

    def context(self) -> dict[str, Any]:
        """For the templates; the routing key is put in only when it is sent."""
        return {**vars(self), "severity": _SEVERITY.get(self.kind, "error"), "routing_key": "***"}


def slack(notice: Notice) -> dict[str, Any]:
    """The payload of a Slack incoming webhook."""
    found: dict[str, Any] = json.loads(_rendered("slack.json.j2", notice.context()))
    return found


def pagerduty(notice: Notice) -> dict[str, Any]:
    """The payload of PagerDuty's Events API v2, without the routing key."""
    found: dict[str, Any] = json.loads(_rendered("pagerduty.json.j2", notice.context()))
    return found


def status_page(notice: Notice) -> str:
    """The text of the status page. What it cannot know is left as a marked blank."""
    status = "Resolved" if notice.resolved else "Investigating" if notice.kind != "automated" else "Identified"
    impact = "_____ (say what users see)" if not notice.evidence else f"Some users may be affected: {notice.evidence}"
    return _rendered(
        "status_page.md.j2",
        {**notice.context(), "status": status, "impact": impact, "update": f"{notice.reason}. {notice.action}."},
    )


def _rendered(name: str, context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("harness.rollout", "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False, trim_blocks=True)
    return environment.get_template(name).render(context)


class Notifier:
    """Sends to what is configured by environment variables and prints the rest; a failed sending is said, not raised.

    Addresses and keys are secrets: neither is ever printed.
    """

    def __init__(self, say: Callable[[str], None], *, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._say = say
        self._slack = variables.get(SLACK_VARIABLE, "").strip()
        self._key = variables.get(PAGERDUTY_VARIABLE, "").strip()
        self._pagerduty = variables.get("PAGERDUTY_URL", "").strip() or _PAGERDUTY

    def tell(self, notice: Notice, *, page: bool, public: bool) -> list[str]:
        """Tell it; answers where it went. ``page``: somebody is woken; ``public``: the status page has a text too."""
        went = [self._one("Slack", self._slack, slack(notice), SLACK_VARIABLE)]
        if page:
            payload = pagerduty(notice)
            if self._key:
                payload["routing_key"] = self._key
            went.append(self._one("PagerDuty", self._pagerduty if self._key else "", payload, PAGERDUTY_VARIABLE))
        if public:
            self._say(f"status page:\n{status_page(notice)}")
            went.append("status page: printed")
        return went

    def _one(self, name: str, url: str, payload: dict[str, Any], variable: str) -> str:
        if not url:
            self._say(f"{name} (printed: ${variable} is not set): {json.dumps(payload)}")
            return f"{name}: printed"
        try:
            answer = httpx.post(url, json=payload, timeout=_TIMEOUT_S, follow_redirects=False)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self._say(f"{name} could not be told: {type(error).__name__}")  # its text may hold the address
            return f"{name}: failed"
        if not 200 <= answer.status_code < 300:
            self._say(f"{name} did not take it: status {answer.status_code}")
            return f"{name}: failed"
        return f"{name}: sent"
