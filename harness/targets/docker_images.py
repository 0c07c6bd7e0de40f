"""The images we build ourselves, named after what they are made of.

An image's tag is a digest of its sources, so a changed source is another image and an unchanged one costs nothing.
Where no registry can be reached, the base is built from Debian's packages (debootstrap), Prometheus from Debian's
package, and the reference Engram's wheels come from the host's pip.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from pathlib import Path

from harness.errors import UsageError

NAME = "engram-harness"
BASE_DEFAULT = "debian:bookworm-slim"
BASE_LOCAL = f"{NAME}/debian:bookworm-slim"
REFERENCE_FILE = "images/reference.Dockerfile"
PROMETHEUS_FILE = "images/prometheus.Dockerfile"
REQUIREMENTS = "images/reference-requirements.txt"
CONSTRAINTS = "constraints.txt"
_DIGITS = 12


def checkout() -> Path:
    """The root of the checkout, which holds the Dockerfiles. Raises :class:`UsageError` where this is none."""
    root = Path(__file__).resolve().parents[2]
    if not (root / REFERENCE_FILE).is_file():
        raise UsageError("there is no images/ directory", where=str(root), hint="run from a checkout of the project")
    return root


def reference_sources(root: Path) -> dict[str, bytes]:
    """What the reference's image is made of: path in the context -> content; pins it does not need are left out."""
    paths = [REFERENCE_FILE, "images/reference-entrypoint.sh", REQUIREMENTS, "harness/__init__.py"]
    paths += ["harness/faults/__init__.py", "harness/faults/disk_shim.py"]
    paths += [str(path.relative_to(root)) for path in (root / "harness" / "reference").glob("*.py")]
    found = {path: (root / path).read_bytes() for path in sorted(paths)}
    found[CONSTRAINTS] = "".join(f"{pin}\n" for pin in pins(root)).encode()
    return found


def pins(root: Path) -> list[str]:
    """The reference's requirements at the versions of ``constraints.txt``."""
    names = (root / REQUIREMENTS).read_text(encoding="utf-8").split()
    wanted = {_normal(name) for name in names}
    lines = (root / CONSTRAINTS).read_text(encoding="utf-8").split()
    return [line for line in lines if _normal(line.partition("==")[0]) in wanted]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(sources: dict[str, bytes]) -> str:
    """A digest of paths and contents."""
    found = hashlib.sha256()
    for path, content in sorted(sources.items()):
        found.update(f"{path}\0{len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()[:_DIGITS]


def reference_tag() -> str:
    """The reference image of this checkout."""
    return f"{NAME}/reference:{digest(reference_sources(checkout()))}"


def local_prometheus_tag() -> str:
    """The Prometheus image built here, where it cannot be pulled."""
    return f"{NAME}/prometheus:{digest({PROMETHEUS_FILE: (checkout() / PROMETHEUS_FILE).read_bytes()})}"


def context(sources: dict[str, bytes], extra: dict[str, Path] | None = None) -> io.BytesIO:
    """A build context as the engine takes it: the sources, and files under further paths."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, content in sources.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755 if path.endswith(".sh") else 0o644
            archive.addfile(entry, io.BytesIO(content))
        for path, file in (extra or {}).items():
            archive.add(file, path)
    packed.seek(0)
    return packed
