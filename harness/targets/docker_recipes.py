"""How each part of an environment is started: images, commands and mounts as the runbook has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from harness.engram.transport import API_KEY_VARIABLE
from harness.targets.docker_engine import Images
from harness.targets.docker_part import Mount, Recipe

# The runbook's `docker run` (1.2): -p 7432:7432 -v engram.toml:/config/engram.toml:ro -v engram-data:/data
ENGRAM_PORT = 7432
CONFIG_INSIDE = PurePosixPath("/config/engram.toml")
DATA_INSIDE = PurePosixPath("/data")
SHIM_CONTROL = "disk_shim.json"
ENGRAM, PROMETHEUS, GRAFANA = "engram", "prometheus", "grafana"  # their names in the network
PROMETHEUS_PORT, GRAFANA_PORT = 9090, 3000
KEY_INSIDE = PurePosixPath("/engram.key")  # not below what is mounted read-only
_NOBODY = 65534  # whom both images run as; named, as the engine would give the directory to root
_PYTHON = "/opt/engram/bin/python"
_GRAFANA_ENV = {
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_AUTH_ANONYMOUS_ENABLED": "true",  # it is published on loopback only, and thrown away with the environment
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    "GF_LOG_LEVEL": "warn",
}


def engram_recipe(
    images: Images,
    *,
    scratch: Path,
    data: Path,
    volume: str,
    configured: bool,
    defects: Sequence[str] = (),
    shim: bool = False,
    env: Mapping[str, str] | None = None,
    host_port: int = 0,
) -> Recipe:
    """Engram. The reference keeps its data in ``data``, as our user; another image in the named ``volume``,
    started with its own command.
    """
    env = dict(env or {})
    key = os.environ.get(API_KEY_VARIABLE, "")
    if key:
        env[API_KEY_VARIABLE] = key
    mounts = [Mount(library, library) for library in env.get("LD_PRELOAD", "").split(":") if library.startswith("/")]
    if configured:
        mounts.append(Mount(str(scratch / "config" / CONFIG_INSIDE.name), str(CONFIG_INSIDE)))
    if not images.is_reference:
        mounts.append(Mount(volume, str(DATA_INSIDE), writable=True))
        return Recipe(images.engram, ENGRAM, ENGRAM_PORT, mounts=tuple(mounts), env=env, host_port=host_port)
    # Under the shim at the path they have here: its account names files by path, and is read here.
    inside = str(data) if shim else str(DATA_INSIDE)
    mounts.append(Mount(str(data), inside, writable=True))
    command = ["--host", "0.0.0.0", "--port", str(ENGRAM_PORT), "--data-dir", inside]
    if configured:
        command += ["--config", str(CONFIG_INSIDE)]
    for defect in defects:
        command += ["--defect", defect]
    entrypoint = None
    if shim:
        control = str(scratch / "shim" / SHIM_CONTROL)
        mounts.append(Mount(str(scratch / "shim"), str(scratch / "shim"), writable=True))
        entrypoint = (_PYTHON, "-m", "harness.faults.disk_shim", control, "-m", "harness.reference")
    return Recipe(
        images.engram,
        ENGRAM,
        ENGRAM_PORT,
        command=tuple(command),
        entrypoint=entrypoint,
        mounts=tuple(mounts),
        env=env,
        user=f"{os.getuid()}:{os.getgid()}",
        host_port=host_port,
    )


def prometheus_recipe(image: str, folder: Path, key: Path | None = None, flags: Sequence[str] = ()) -> Recipe:
    """Prometheus with ``folder/prometheus`` as its configuration; its data live in memory."""
    mounts = [Mount(str(folder / "prometheus"), "/etc/prometheus")]
    if key is not None:
        mounts.append(Mount(str(key), str(KEY_INSIDE)))
    return Recipe(
        image,
        PROMETHEUS,
        PROMETHEUS_PORT,
        command=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus", *flags),
        mounts=tuple(mounts),
        tmpfs={"/prometheus": f"uid={_NOBODY},gid={_NOBODY}"},
        user=f"{_NOBODY}:{_NOBODY}",
    )


def grafana_recipe(image: str, folder: Path) -> Recipe:
    """Grafana with what ``folder/grafana`` provisions."""
    places = {"provisioning": "/etc/grafana/provisioning", "dashboards": "/var/lib/grafana/dashboards"}
    ours = folder / "grafana"
    mounts = [Mount(str(ours / name), inside) for name, inside in places.items() if (ours / name).is_dir()]
    return Recipe(image, GRAFANA, GRAFANA_PORT, mounts=tuple(mounts), env=_GRAFANA_ENV)


def minimal_monitoring(folder: Path, *, authorised: bool = False) -> Path:
    """A Prometheus that scrapes Engram every second, and nothing else; answers ``folder``. Raises :class:`OSError`."""
    (folder / "prometheus").mkdir(parents=True, exist_ok=True)
    lines = ["global:", "  scrape_interval: 1s", "  scrape_timeout: 1s", "scrape_configs:", "  - job_name: engram"]
    if authorised:
        lines += ["    authorization:", f"      credentials_file: {KEY_INSIDE}"]
    lines += ["    static_configs:", f"      - targets: ['{ENGRAM}:{ENGRAM_PORT}']"]
    (folder / "prometheus" / "prometheus.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def readable(folder: Path) -> None:
    """Let whatever user a container runs as read what is mounted into it. Raises :class:`OSError`."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
