# The production image: one server process a container, run by nobody special on a root that cannot be written.
# Name it by its digest (python@sha256:…), and what is below is the same image whenever and wherever it is built.
ARG PYTHON_IMAGE=python:3.11-slim-trixie
FROM ${PYTHON_IMAGE} AS build
# A moment in seconds since 1970. With it, whatever is built here bears that date, and what Python compiles goes by what the
# source holds and not by when it was written: docs/operations.md, "The image".
ARG SOURCE_DATE_EPOCH
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt requirements.lock ./
# Wheels and nothing else, each of them one that requirements.lock knows: no package is built here.
RUN /venv/bin/pip install --only-binary=:all: --require-hashes -r requirements.lock
COPY handlers/requirements.txt handlers/
RUN /venv/bin/pip install -c requirements.txt -r handlers/requirements.txt


# The way of a frame in C, half of what it costs: docs/performance.md. The compiler stays behind.
FROM ${PYTHON_IMAGE} AS quick
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /app
COPY scripts/quick.py scripts/
COPY calls/quick calls/quick
RUN python scripts/quick.py --required


FROM ${PYTHON_IMAGE}
ARG SOURCE_DATE_EPOCH
ARG CALLSTREAM_VERSION
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CALLSTREAM_VERSION=${CALLSTREAM_VERSION} \
    SPOOL_DIR=/var/lib/callstream/spool
# The numbers are fixed, so that a volume's files keep their owner when the image is built again.
RUN groupadd --gid 10001 callstream && useradd --uid 10001 --gid 10001 --no-create-home callstream \
    && mkdir -p /app/var "$SPOOL_DIR" /var/lib/callstream/archive/audio \
    && chown -R callstream:callstream /app/var /var/lib/callstream
WORKDIR /app
COPY --from=build /venv /venv
COPY manage.py pyproject.toml ./
COPY config config
COPY templates templates
# The admin explains the log's events with it.
COPY docs/operations.md docs/operations.md
COPY calls calls
COPY --from=quick /app/calls/quick calls/quick
COPY simulator simulator
COPY handlers handlers
# The root file system is read-only when it runs: what Python compiles and what the admin's pages load is made here.
RUN python -m compileall -q --invalidation-mode unchecked-hash config calls handlers simulator \
    && SECRET_KEY=build PUBLIC_URL=https://build.invalid python manage.py collectstatic --noinput -v 0
USER callstream
EXPOSE 8000
# Alive, not ready: a worker that drains its calls is not to be restarted. One that hangs is killed, and so restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "config/alive.py", "8000"]
# One process a core; WEB_REPLICAS for more. Each flag has its reason:
#   ws                     the short way for media, docs/performance.md
#   deflate off            a compressed 500 kB may unpack to 500 MB, and speech in base64 hardly shrinks
#   ws-max-size            1 MiB; Twilio's largest message is far below it
#   forwarded-allow-ips    only the proxy reaches this port, and it overwrites X-Forwarded-*
#   no-access-log          the proxy writes one
#   graceful shutdown      longer than DRAIN_SECONDS (20), shorter than compose.yaml's stop_grace_period
CMD ["uvicorn", "config.asgi:application", \
     "--host", "0.0.0.0", "--port", "8000", \
     "--loop", "uvloop", "--http", "httptools", "--ws", "calls.sockets.uvicorn:MediaWebSocket", \
     "--ws-max-size", "1048576", "--ws-per-message-deflate", "false", \
     "--forwarded-allow-ips", "*", "--no-server-header", "--no-access-log", \
     "--timeout-graceful-shutdown", "30"]
