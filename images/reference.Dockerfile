# The reference Engram as the runbook starts it: configuration at /config/engram.toml, data at /data, port 7432.
#
#     make images                                                    # or by hand, from the root of the checkout:
#     docker build -f images/reference.Dockerfile -t engram:reference .
#
# `make images` puts wheels into the context (build/wheels) where the host has them; without any, pip asks its index.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY constraints.txt images/reference-requirements.txt build/wheels* /tmp/wheels/
RUN python3 -m venv /opt/engram \
 && wheel="$(ls /tmp/wheels/*.whl 2>/dev/null | head -n 1)" \
 && /opt/engram/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-warn-script-location \
      ${wheel:+--no-index --find-links /tmp/wheels} \
      -c /tmp/wheels/constraints.txt -r /tmp/wheels/reference-requirements.txt \
 && rm -rf /tmp/wheels
COPY images/reference-entrypoint.sh /opt/engram/entrypoint.sh
COPY harness/__init__.py /opt/engram/app/harness/
COPY harness/reference/ /opt/engram/app/harness/reference/
COPY harness/faults/__init__.py harness/faults/disk_shim.py /opt/engram/app/harness/faults/
RUN /opt/engram/bin/python -m compileall -q /opt/engram/app \
 && chmod 0755 /opt/engram/entrypoint.sh \
 && mkdir -p /data && chown 10001:10001 /data
ENV PYTHONPATH=/opt/engram/app PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 7432
ENTRYPOINT ["/opt/engram/entrypoint.sh"]
