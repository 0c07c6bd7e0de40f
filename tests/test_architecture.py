"""The house rules, enforced: layers, sizes, no wall clock for durations, nothing swallowed, nothing slept."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "harness"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

# DESIGN: imports go downward only, and siblings never import each other.
ROOMS = {
    "model": 0,
    "errors": 0,
    "clock": 0,
    "cores": 0,
    "scenario": 1,
    "timeline": 1,
    "histogram": 1,
    "cohort": 1,
    "hooks": 1,
    "facts": 1,
    "engram": 1,
    "prometheus": 1,
    "targets": 2,
    "load": 2,
    "probes": 2,
    "judge": 2,
    "faults": 3,
    "monitoring": 3,
    "report": 3,
    "experiment": 4,
    "case_flags": 4.2,
    "case_watch": 4.2,
    "case_monitoring": 4.3,
    "runner": 4.5,
    "settings": 4,
    "baseline": 4,
    "ab": 5,
    "starting": 4,
    "exploring": 5,
    "replaying": 4,
    "performance": 5,
    "drilling": 5,
    "fault_fixtures": 5,
    "display_plugin": 5,
    "dry_run_plugin": 5,
    "cores_plugin": 5,
    "soak": 5,
    "diagnosis": 5,
    "rollout": 6,  # a rehearsal runs soaks and drills
    "pytest_plugin": 7,
    "soak_plugin": 7,
    "commands": 7,
    "cli": 8,
}
# May be imported by a sibling: what every target offers is what faults, drills and targets agree on, and there is one
# bounded HTTP exchange for every service spoken to.
SHARED = {"harness.targets.base", "harness.engram.transport"}
ONLY_IN = {
    "pytest": (
        "harness/pytest_plugin.py",
        "harness/fault_fixtures.py",
        "harness/display_plugin.py",
        "harness/dry_run_plugin.py",
        "harness/cores_plugin.py",
        "harness/soak_plugin.py",
        "harness/rollout/fixtures.py",
        "harness/commands/drill.py",
    ),
    "locust": ("harness/load/",),
    "gevent": ("harness/load/",),
    "docker": ("harness/targets/docker",),
    "testcontainers": ("harness/targets/docker",),
    "kubernetes": ("harness/targets/kubernetes",),
}


def python_files(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py") if "__pycache__" not in p.parts)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_imports_go_downward() -> None:
    for path in python_files("harness"):
        _imports_go_downward(path)


def _imports_go_downward(path: Path) -> None:
    module = "harness." + relative(path).removeprefix("harness/").removesuffix(".py").replace("/", ".")
    room = room_of(module)
    if room in ("", "__init__"):
        return
    wrong = []
    for name, line in imported(tree_of(path)):
        target = room_of(name) if name.startswith("harness.") else ""
        if not target or target == room or name in SHARED:
            continue
        if room == "reference" or target == "reference":
            wrong.append(f"{line}: the reference is a program of its own ({name})")
        elif target not in ROOMS or room not in ROOMS:
            wrong.append(f"{line}: {name} or {room} is in no room of this test")
        elif ROOMS[target] >= ROOMS[room]:
            wrong.append(f"{line}: {room} ({ROOMS[room]}) imports {name} ({ROOMS[target]})")
    assert not wrong, f"{relative(path)}: {wrong}"


def test_special_libraries_stay_in_their_rooms() -> None:
    for path in python_files("harness"):
        _special_libraries_stay_in_their_rooms(path)


def _special_libraries_stay_in_their_rooms(path: Path) -> None:
    name = relative(path)
    wrong = [
        f"{line}: {module}"
        for module, line in imported(tree_of(path))
        if (places := ONLY_IN.get(module.split(".")[0])) and not name.startswith(places)
    ]
    assert not wrong, f"{name}: {wrong}"


def test_files_and_functions_stay_small() -> None:
    for path in python_files("harness", "drills", "tests"):
        _files_and_functions_stay_small(path)


def _files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES, f"{relative(path)} is too long to read in one sitting"
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, f"{relative(path)}: {long}"


def test_no_wall_clock_for_durations() -> None:
    for path in python_files("harness"):
        _no_wall_clock_for_durations(path)


def _no_wall_clock_for_durations(path: Path) -> None:
    """``time.time()`` is nowhere; ``datetime.now`` only labels."""
    calls = [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.time", "time.time_ns", "datetime.utcnow")
    ]
    assert not calls, f"{relative(path)}: {calls}"


def test_nothing_is_swallowed() -> None:
    for path in python_files("harness", "drills"):
        _nothing_is_swallowed(path)


def _nothing_is_swallowed(path: Path) -> None:
    """No bare ``except``, and no ``except Exception`` that neither raises nor logs the traceback: nobody sees it."""
    wrong = []
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = "" if node.type is None else ast.unparse(node.type)
        broad = node.type is None or caught in ("Exception", "BaseException")
        told = any(
            isinstance(inner, ast.Raise)
            or (isinstance(inner, ast.Call) and ast.unparse(inner.func).endswith(("_log.exception", "problems.append")))
            for inner in ast.walk(node)
        )
        if broad and not told:
            wrong.append(f"{node.lineno}: except {caught}")
    assert not wrong, f"{relative(path)}: {wrong}"


def test_tests_never_sleep() -> None:
    for path in python_files("tests"):
        _tests_never_sleep(path)


def _tests_never_sleep(path: Path) -> None:
    if relative(path).startswith(("tests/bench/", "tests/calibration/")):  # programs of their own, not tests
        return
    calls = [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep", "gevent.sleep")
    ]
    assert not calls, f"{relative(path)}: {calls}"


def test_drills_speak_public_names_only() -> None:
    for path in python_files("drills"):
        _drills_speak_public_names_only(path)


def _drills_speak_public_names_only(path: Path) -> None:
    names = {name for name, _ in imported(tree_of(path)) if name.startswith("harness")}
    assert not names, f"{relative(path)} imports {names}: drills use fixtures"


def test_importing_harness_has_no_side_effects() -> None:
    """Neither locust nor gevent nor a socket patch comes with the package, its supervisor or its plugin."""
    code = (
        "import sys, socket; before = socket.socket\n"
        "import harness, harness.load.supervisor, harness.runner, harness.pytest_plugin, harness.cli\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('locust', 'gevent', 'docker', 'statsmodels')]\n"
        "assert not bad, bad\n"
        "assert socket.socket is before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_every_error_is_in_the_one_tree() -> None:
    """Exception classes are defined in ``harness/errors.py``; the reference, a program of its own, has its own."""
    wrong = [
        f"{relative(path)}: {node.name}"
        for path in python_files("harness")
        if relative(path) != "harness/errors.py" and "/reference/" not in relative(path)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).split(".")[-1].endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert not wrong, wrong


def test_no_place_of_any_machine_is_committed() -> None:
    """Neither a home directory nor a registry host stands in what is committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=False).stdout
    hosts = ("/" + "root/", "pypi" + ".org", "files.pythonhosted" + ".org", "/" + "work/main")
    wrong = []
    for name in filter(None, listed.decode().split("\0")):
        path = ROOT / name
        if path.suffix in (".png", ".bin") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        wrong += [f"{name}: {host}" for host in hosts if host in text]
    assert not wrong, wrong
