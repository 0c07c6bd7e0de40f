"""``python -m harness.targets.kubernetes_heal``: one healing request to one pod, by a tunnel of its own.

What a ledger names for when the tunnel of the run is gone: it needs kubeconfig and the context, and nothing of the
harness that died. A pod that was replaced took a fault in its memory with it; flags are kept on disk, and go to
its successor.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys

from harness.engram.transport import API_KEY_VARIABLE
from harness.errors import EXIT_FAILED, EXIT_OK, HarnessError, TargetError
from harness.targets.kubernetes_cluster import Cluster
from harness.targets.kubernetes_place import place_from_json

_LIMIT_S = 5.0
_MAX_ANSWER = 4 * 1024 * 1024


def main(argv: list[str] | None = None) -> int:
    """Exits 0 where the fault is gone, and 1 or 3 with one line where it may not be."""
    parser = argparse.ArgumentParser(prog="kubernetes_heal")
    for name in ("--place", "--server", "--pod", "--uid", "--method", "--path", "--body"):
        parser.add_argument(name, required=True)
    parser.add_argument("--listed", nargs=2, metavar=("PATH", "FAULT"), help="healed when this is listed no more")
    parser.add_argument("--outlives", action="store_true", help="kept on disk: heal the pod's successor")
    given = parser.parse_args(argv)
    try:
        sys.stdout.write(f"{_heal(given)}\n")
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"the healing request failed: {error}\n")
        return EXIT_FAILED
    return EXIT_OK


def _heal(given: argparse.Namespace) -> str:
    cluster = Cluster(place_from_json(json.loads(given.place)))
    if cluster.server != given.server:
        raise TargetError(
            f"the context led to {given.server} when the fault went in, and leads to {cluster.server} now",
            where=cluster.place.context,
            hint="point it back and heal again",
        )
    pod = cluster.pod(given.pod)
    if pod is None or pod.uid != given.uid:
        if not given.outlives:
            return "the pod is gone, and what was in its memory"
        pod = next((other for other in cluster.pods() if other.ready), None)
        if pod is None:
            raise TargetError(f"no pod of {cluster.place.selector} is ready to take it", where=cluster.place.name)
    status, body = _exchange(cluster, pod.name, given.method, given.path, given.body)
    if not 200 <= status < 300:
        raise TargetError(f"the healing request answered {status}", where=f"{pod.name}{given.path}")
    if given.listed:
        path, fault = given.listed
        status, body = _exchange(cluster, pod.name, "GET", path, None)
        if any(item["fault"] == fault for item in json.loads(body)["active"]):
            raise TargetError(f"{fault} is still listed after its heal", where=f"{pod.name}{path}")
    return f"{given.method} answered {status}"


def _exchange(cluster: Cluster, pod: str, method: str, path: str, body: str | None) -> tuple[int, bytes]:
    headers = {"connection": "close", "user-agent": "engram-harness-heal", "content-type": "application/json"}
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if key:
        headers["authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection("engram", timeout=_LIMIT_S)
    connection.sock = cluster.tunnel(pod)
    connection.sock.settimeout(_LIMIT_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_MAX_ANSWER)
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
