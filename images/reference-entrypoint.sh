#!/bin/sh
# Without arguments: as the runbook's `docker run` expects it. With arguments: those of the reference's command line.
if [ $# -eq 0 ]; then
  set -- --host 0.0.0.0 --port 7432 --data-dir /data
  if [ -f /config/engram.toml ]; then set -- "$@" --config /config/engram.toml; fi
fi
exec /opt/engram/bin/python -m harness.reference "$@"
