# syntax=docker/dockerfile:1
# The first stage installs locked dependencies and builds the wheel; the others only run. The server is the last one, and
# what is built when no target is named; `docker build --target worker` makes the image of a pull worker.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/tgs
ENV PATH=/opt/tgs/bin:$PATH
# The lock changes seldom, so this layer is kept between builds.
COPY requirements/runtime.lock requirements/runtime.lock
RUN pip install --require-hashes --requirement requirements/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY bot bot
COPY handlers handlers
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && pip install --no-deps --no-index /dist/*.whl \
    && pip check

FROM python:3.11-slim-bookworm AS worker
# Add what your agents need (compilers, Node.js, the agent itself) in an image made FROM this one.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/tgs/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TGS_WORKER_DIR=/var/lib/tgs-worker
COPY --from=build /opt/tgs /opt/tgs
VOLUME /var/lib/tgs-worker
STOPSIGNAL SIGTERM
# As root, because each agent gets a user id of its own that can neither become root nor read the worker's files.
CMD ["tgs", "worker", "run", "--watch"]

FROM python:3.11-slim-bookworm
ENV PATH=/opt/tgs/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TGS_HOST=0.0.0.0 \
    TGS_PORT=8080 \
    TGS_DATA_DIR=/data
RUN groupadd --gid 10001 tgs \
    && useradd --uid 10001 --gid tgs --home-dir /data --no-create-home --shell /usr/sbin/nologin tgs \
    && install --directory --owner=tgs --group=tgs --mode=0700 /data
COPY --from=build /opt/tgs /opt/tgs
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# The process itself, not its readiness: a process with a broken database must not be killed and restarted in a loop.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['TGS_PORT'] + '/healthz', timeout=4)"]
CMD ["tgs", "serve"]
