"""What a drill session was asked to do: options and environment variables, read once and checked together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from harness.engram.transport import check_base_url
from harness.errors import UsageError
from harness.targets.base import DOCKER, EMBEDDED, KUBERNETES, STARTED_HERE
from harness.targets.kubernetes_place import Place, place_from

DEFAULT_SEED = 0xDEADBEEF


@dataclass(frozen=True)
class Option:
    """One option of ``pytest drills/`` and ``harness drill``: also an environment variable."""

    flag: str
    variable: str
    help: str
    default: str | None = None
    switch: bool = False
    repeatable: bool = False

    @property
    def dest(self) -> str:
        """The name it has as a Python attribute."""
        return "engram_" + self.flag.lstrip("-").replace("-", "_")


OPTIONS: tuple[Option, ...] = (
    Option("--target", "ENGRAM_TARGET", "embedded, docker, kubernetes, or http://host:port", "embedded"),
    Option("--prometheus-url", "ENGRAM_PROMETHEUS_URL", "the Prometheus that scrapes a running Engram"),
    Option("--grafana-url", "ENGRAM_GRAFANA_URL", "the Grafana beside a running Engram"),
    Option("--kube-context", "ENGRAM_KUBE_CONTEXT", "the kubeconfig context of --target kubernetes"),
    Option("--kube-namespace", "ENGRAM_KUBE_NAMESPACE", "its namespace"),
    Option("--kube-selector", "ENGRAM_KUBE_SELECTOR", "its pods, by labels (default: app=engram,variant=canary)"),
    Option("--kube-port", "ENGRAM_KUBE_PORT", "Engram's port in the pod (default: 7432)"),
    Option("--kube-allow", "ENGRAM_KUBE_ALLOW", "CONTEXT/NAMESPACE that faults may go to", repeatable=True),
    Option("--engram-config", "ENGRAM_CONFIG", "the engram.toml of an Engram started here (default: the profile's)"),
    Option("--profile", "ENGRAM_PROFILE", "quick, ci, staging or full (scenarios/profiles.toml)", "ci"),
    Option("--scenario", "ENGRAM_SCENARIO", "the load's scenario TOML (default: the drills' own)"),
    Option("--seed", "ENGRAM_SEED", "seed of load and faults; decimal or 0x", hex(DEFAULT_SEED)),
    Option("--strict-capabilities", "ENGRAM_STRICT_CAPABILITIES", "a missing capability fails", switch=True),
    Option("--retry-inconclusive", "ENGRAM_RETRY_INCONCLUSIVE", "run an INCONCLUSIVE case again, N times", "1"),
    Option("--defect", "ENGRAM_DEFECT", "start the reference Engram with a defect, NAME[=M]", repeatable=True),
    Option("--results-dir", "ENGRAM_RESULTS_DIR", "where sessions are kept (default: results)"),
    Option("--dry-run", "ENGRAM_DRY_RUN", "say what would be done to what, and do nothing", switch=True),
    Option("--wait", "ENGRAM_WAIT", "wait so many seconds for a target another harness holds", "0"),
    Option("--i-own-this-target", "ENGRAM_I_OWN_THIS_TARGET", "faults may go into --target", switch=True),
)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True)
class Settings:
    """The session's settings, checked."""

    target: str
    profile: str
    scenario: Path
    seed: int
    strict_capabilities: bool
    retry_inconclusive: int
    defects: tuple[str, ...]
    results_dir: Path
    i_own_this_target: bool
    scenarios_dir: Path
    wait_s: float = 0.0
    prometheus_url: str | None = None
    grafana_url: str | None = None
    engram_config: Path | None = None
    place: Place | None = None  # of --target kubernetes
    dry_run: bool = False

    @property
    def embedded(self) -> bool:
        """Whether the target is the reference as a process of this machine, which supports everything."""
        return self.target == EMBEDDED

    @property
    def started_here(self) -> bool:
        """Whether the target is ours to start, and to stop."""
        return self.target in STARTED_HERE


def scenarios_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The directory of profiles and limits.

    ``$ENGRAM_SCENARIOS_DIR`` where set, else the one beside the package in a checkout, else below the working
    directory. Raises :class:`UsageError` where there is none.
    """
    named = (os.environ if environment is None else environment).get("ENGRAM_SCENARIOS_DIR")
    if named:
        if (Path(named) / "profiles.toml").is_file():
            return Path(named)
        raise UsageError("there is no profiles.toml", where=named, hint="ENGRAM_SCENARIOS_DIR names its directory")
    beside = Path(str(resources.files("harness"))).parent / "scenarios"
    for folder in (beside, Path.cwd() / "scenarios"):
        if (folder / "profiles.toml").is_file():
            return folder
    raise UsageError("there is no scenarios/ directory", where=str(beside), hint="run from a checkout of the project")


def settings_from(given: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from options (by :attr:`Option.dest`; None where not given) and environment variables.

    An option beats its variable. Raises :class:`UsageError` for what cannot be understood or contradicts itself.
    """
    variables = os.environ if environment is None else environment
    values = {option.dest: _value(option, given.get(option.dest), variables) for option in OPTIONS}
    folder = scenarios_folder(variables)
    scenario = values["engram_scenario"]
    settings = Settings(
        target=_target(str(values["engram_target"])),
        profile=str(values["engram_profile"]),
        scenario=Path(str(scenario)) if scenario else folder / "drill.toml",
        seed=_seed(str(values["engram_seed"])),
        strict_capabilities=bool(values["engram_strict_capabilities"]),
        retry_inconclusive=_count("--retry-inconclusive", str(values["engram_retry_inconclusive"])),
        defects=_several(values["engram_defect"]),
        results_dir=Path(str(values["engram_results_dir"] or "results")).absolute(),
        i_own_this_target=bool(values["engram_i_own_this_target"]),
        scenarios_dir=folder,
        wait_s=_seconds("--wait", str(values["engram_wait"])),
        prometheus_url=_url("--prometheus-url", values["engram_prometheus_url"]),
        grafana_url=_url("--grafana-url", values["engram_grafana_url"]),
        engram_config=_file("--engram-config", values["engram_engram_config"]),
        place=_place(values),
        dry_run=bool(values["engram_dry_run"]),
    )
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    """Raise :class:`UsageError` for settings that contradict each other."""
    if settings.defects and not settings.started_here:
        raise UsageError("--defect works on the embedded and docker targets only", hint=f"not with {settings.target}")
    if settings.started_here and settings.i_own_this_target:
        raise UsageError(
            f"--i-own-this-target contradicts --target {settings.target}",
            hint=f"the {settings.target} target is ours without a claim",
        )
    if settings.started_here and (settings.prometheus_url or settings.grafana_url):
        raise UsageError(
            f"--prometheus-url and --grafana-url contradict --target {settings.target}",
            hint="they belong to a running Engram; the docker target brings its own",
        )
    if settings.engram_config is not None and not settings.started_here:
        raise UsageError("--engram-config configures an Engram started here", hint=f"not {settings.target}")


def _value(option: Option, given: object, variables: Mapping[str, str]) -> object:
    if given not in (None, False, []):
        return given
    text = variables.get(option.variable)
    if text is None:
        return False if option.switch else option.default
    if option.switch:
        if text.strip().lower() in _TRUE | _FALSE:
            return text.strip().lower() in _TRUE
        raise UsageError(f"{text!r} is neither true nor false", where=option.variable)
    return text or option.default


def _place(values: Mapping[str, object]) -> Place | None:
    names = ("engram_kube_context", "engram_kube_namespace", "engram_kube_selector", "engram_kube_port")
    context, namespace, selector, port = (str(value) if (value := values[name]) else None for name in names)
    if values["engram_target"] != KUBERNETES:
        return None
    return place_from(context, namespace, selector, port, _several(values["engram_kube_allow"]))


def _target(text: str) -> str:
    if text in (EMBEDDED, DOCKER, KUBERNETES):
        return text
    if text.startswith(("http://", "https://")):
        return check_base_url(text)
    raise UsageError(f"--target {text!r} is not known", hint="embedded, docker, kubernetes, or http://host:port")


def _url(flag: str, value: object) -> str | None:
    if not value:
        return None
    try:
        return check_base_url(str(value))
    except UsageError as error:
        raise UsageError(error.what, where=flag, hint=error.hint) from error


def _file(flag: str, value: object) -> Path | None:
    if not value:
        return None
    path = Path(str(value)).absolute()
    if not path.is_file():
        raise UsageError("there is no such file", where=f"{flag} {path}")
    return path


def _seed(text: str) -> int:
    try:
        seed = int(text, 0)
    except ValueError:
        seed = -1
    if not 0 <= seed < 2**64:
        raise UsageError(f"--seed {text!r} is not a number from 0 to 2^64-1", hint="decimal, or hexadecimal with 0x")
    return seed


def _count(flag: str, text: str) -> int:
    if not text.isdigit() or int(text) > 10:
        raise UsageError(f"{flag} {text!r} is not a number from 0 to 10")
    return int(text)


def _seconds(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise UsageError(f"{flag} {text!r} is not a number of seconds from 0 to 86400")
    return value


def _several(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    return tuple(str(item).strip() for item in items if str(item).strip())
