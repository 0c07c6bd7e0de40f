"""Servers that do not come up, each in its own way; run as a process."""

import os
import signal
import sys
import threading
from pathlib import Path


def main() -> int:
    """The first argument says how; the rest is what a server is given."""
    how = sys.argv[1]
    port_file = Path(sys.argv[sys.argv.index("--port-file") + 1])
    if how == "dies":
        print("no, thanks", flush=True)  # noqa: T201
        return 3
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "deaf":
        port_file.write_text("9")
    if how == "garbled":
        port_file.write_text("a port")
    threading.Event().wait(30)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
