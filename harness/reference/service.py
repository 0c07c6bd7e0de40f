"""One running service: built from its configuration, started, drained."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.reference.api_admin import AdminApi
from harness.reference.api_backup import BackupApi
from harness.reference.api_memory import MemoryApi
from harness.reference.api_system import SystemApi
from harness.reference.app import App
from harness.reference.breaker import CircuitBreaker
from harness.reference.chaos import Chaos
from harness.reference.config import Config
from harness.reference.consolidation import Consolidator
from harness.reference.core import Core
from harness.reference.defects import Defects
from harness.reference.failures import StartupRefusedError
from harness.reference.flags import FlagStore
from harness.reference.http import Connections, HttpProtocol
from harness.reference.metrics import Metrics, memory_limit_bytes
from harness.reference.recall import Recaller
from harness.reference.store import Store

MILESTONE = "17"
_DRAIN_S = 10.0
_BACKLOG = 1024
_SWITCH_INTERVAL_S = 0.0005
_CRASHED = 134  # what a shell says of a process that aborted


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    host: str
    port: int
    data_dir: Path
    port_file: Path | None
    accept_damaged_log: bool


def say(message: str) -> None:
    """One line for the operator."""
    _print(f"engram reference: {message}")


def _print(line: str) -> None:
    try:
        print(line, flush=True)  # noqa: T201
    except BrokenPipeError:
        # Whoever started us has stopped listening; that is no reason to stop serving, or to fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def claim(host: str, port: int) -> socket.socket:
    """The service's address, taken but not yet listening; a taken one refuses the start."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupRefusedError(f"cannot use {host}:{port}: {error.strerror or error}") from None
    return listener


def build(config: Config, defects: Defects, options: Options, environment: Mapping[str, str]) -> Core:
    """All shared parts, with what is on disk recovered."""
    store = Store(options.data_dir, config.storage, say, defects)
    seed = config.chaos.chaos_seed if config.chaos.chaos_seed >= 0 else None
    chaos = Chaos(defects, seed, lambda: list(store.spaces.values()))
    core = Core(
        config=config,
        defects=defects,
        flags=FlagStore(options.data_dir / "flags.json", config, environment, defects),
        chaos=chaos,
        metrics=Metrics(defects, lambda: chaos.any_active, memory_limit_bytes(config.memory.limit_mb)),
        breaker=CircuitBreaker(
            config.breaker, flap_s=defects.magnitude("breaker_flaps") if defects.on("breaker_flaps") else None
        ),
        store=store,
        api_key=environment.get("ENGRAM_API_KEY") or None,
        milestone=str(config.service.milestone),
    )
    try:
        store.recover(accept_damage=options.accept_damaged_log)
    except OSError as error:
        raise StartupRefusedError(f"{options.data_dir}: {error.strerror or error}") from None
    return core


async def serve(core: Core, listener: socket.socket, options: Options) -> None:
    """Listen until told to stop, then drain."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    if options.port_file is not None:
        options.port_file.unlink(missing_ok=True)  # an earlier run's would be taken for ours
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    core.store.open()
    consolidator = Consolidator(core)
    recaller = Recaller(core, consolidator)
    app = App(
        core,
        MemoryApi(core, recaller, consolidator),
        AdminApi(core),
        SystemApi(core, recaller, consolidator, stop.set),
        BackupApi(core),
    )
    connections = Connections(app.handle)
    background = loop.create_task(consolidator.run_forever())
    _settle()
    try:
        server = await loop.create_server(lambda: HttpProtocol(connections), sock=listener, backlog=_BACKLOG)
    except OSError as error:
        raise StartupRefusedError(f"cannot listen on port {options.port}: {error.strerror or error}") from None
    port = listener.getsockname()[1]
    _announce(options, port)
    if core.defects.on("crash_after"):
        loop.call_later(core.defects.magnitude("crash_after"), os._exit, _CRASHED)
    await stop.wait()
    server.close()
    clean = await connections.drain(_DRAIN_S)
    background.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await background
    consolidator.close()
    await core.store.close()
    say("stopped" if clean else f"stopped with requests unanswered after {_DRAIN_S:g} s")


def _settle() -> None:
    """Keep other threads and the garbage collector from holding up the event loop for milliseconds."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _announce(options: Options, port: int) -> None:
    if options.port_file is not None:
        draft = options.port_file.with_name(f".{options.port_file.name}.{os.getpid()}")
        try:
            draft.write_text(f"{port}\n", encoding="ascii")
            draft.replace(options.port_file)
        except OSError as error:
            raise StartupRefusedError(f"--port-file {options.port_file}: {error.strerror or error}") from None
    host = f"[{options.host}]" if ":" in options.host else options.host
    _print(f"engram reference ready on http://{host}:{port}")
