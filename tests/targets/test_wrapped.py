"""A wrapped target passes on every member of the interface that is not its own, those of tomorrow too."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from harness.engram import Capabilities
from harness.faults.capability import NEEDED, missing
from harness.targets.base import Target
from harness.targets.prometheus_process import MonitoredTarget
from harness.targets.proxied import ProxiedTarget
from harness.targets.wrapped import HurriedTarget, WrappedTarget

INTERFACE = sorted(name for name in {*vars(Target), *Target.__annotations__} if not name.startswith("_"))
OWN = {
    WrappedTarget: set[str](),
    HurriedTarget: {"restart", "restart_with"},
    MonitoredTarget: {"capabilities", "prometheus_url", "start", "stop", "describe"},
    ProxiedTarget: {"base_url", "capabilities", "frontend", "start", "stop", "client", "describe", "alive"},
}


def _wrap(kind: type[WrappedTarget], inner: Target, folder: Path) -> WrappedTarget:
    if kind is MonitoredTarget:
        return MonitoredTarget(inner, folder, lambda folder, engram, key: None)
    if kind is HurriedTarget:
        return HurriedTarget(inner, threading.Event())
    return ProxiedTarget(inner, folder) if kind is ProxiedTarget else WrappedTarget(inner)


@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_it_overrides_what_is_its_own_and_nothing_else(kind: type[WrappedTarget]) -> None:
    assert {"require_same", "kill", "tunnel", "name", "owned"} <= set(INTERFACE)
    if kind is not WrappedTarget:
        assert {name for name in vars(kind) if name in INTERFACE} == OWN[kind]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, own in OWN.items() for name in INTERFACE if name not in own],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_other_member_is_the_inner_targets(kind: type[WrappedTarget], name: str, tmp_path: Path) -> None:
    inner = create_autospec(Target, instance=True)
    inner.name, inner.owned = object(), object()
    found = getattr(_wrap(kind, inner, tmp_path), name)
    member = inspect.getattr_static(Target, name, None)
    if not inspect.isfunction(member):  # an attribute or a property
        assert found is getattr(inner, name)
        return
    asked = [parameter for parameter in inspect.signature(member).parameters.values() if parameter.name != "self"]
    positional = [object() for parameter in asked if parameter.kind is not parameter.KEYWORD_ONLY]
    named = {parameter.name: object() for parameter in asked if parameter.kind is parameter.KEYWORD_ONLY}
    answer = found(*positional, **named)
    getattr(inner, name).assert_called_once_with(*positional, **named)
    if inspect.signature(member).return_annotation != "None":
        assert answer is getattr(inner, name).return_value


@pytest.mark.parametrize(("names", "through"), [({"proxy", "restart"}, True), ({"restart"}, False)])
def test_prometheus_reads_through_the_proxy_where_there_is_one(names: set[str], through: bool, tmp_path: Path) -> None:
    inner = create_autospec(Target, instance=True)
    inner.name, inner.owned = "stub", True
    inner.capabilities = Capabilities(frozenset(names))
    lacking = missing(["prometheus_through_proxy"], _wrap(MonitoredTarget, inner, tmp_path))
    assert lacking == ({} if through else {"prometheus_through_proxy": NEEDED["prometheus_through_proxy"]})


def test_a_hurried_target_gives_its_restarts_up_with_the_case() -> None:
    inner, cancel, other = create_autospec(Target, instance=True), threading.Event(), threading.Event()
    inner.name, inner.owned = "embedded", True
    hurried = HurriedTarget(inner, cancel)
    hurried.restart(kill=True)
    inner.restart.assert_called_once_with(kill=True, cancel=cancel)
    hurried.restart_with(config_text="", cancel=other)
    inner.restart_with.assert_called_once_with(config_text="", env=None, cancel=other)
