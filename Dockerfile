# Two stages: the second has no build tools.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# Dependencies first: this layer is cached until the lock file changes. Every file is checked against its hash.
COPY requirements.lock ./
RUN python -m venv /app && /app/bin/pip install --require-hashes -r requirements.lock
# The build backend comes from the other lock file, into an environment that is not copied.
COPY requirements-dev.lock ./
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements-dev.lock
COPY pyproject.toml README.md LICENSE bridge.example.yaml ./
COPY bridge ./bridge
COPY workers ./workers
COPY schemas ./schemas
COPY examples ./examples
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /app/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /app/bin/python -m compileall -q /app/lib

FROM python:3.13-slim
RUN groupadd --system --gid 10001 bridge \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin bridge \
 && install -d -o bridge -g bridge -m 700 /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 ATTEMPT_BRIDGE_CONFIG=/data/bridge.yaml
WORKDIR /data
# Numbers: Kubernetes cannot tell of a name whether it is root.
USER 10001:10001
VOLUME /data
EXPOSE 8080
# A graceful stop: web finishes its requests, worker and dispatch what they have begun.
STOPSIGNAL SIGTERM
# For `web` and `up`; the other processes have their own checks in docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
ENTRYPOINT ["attempt-bridge"]
CMD ["up", "--host", "0.0.0.0"]
