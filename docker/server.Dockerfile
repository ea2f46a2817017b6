# The server: `headrace serve`, and nothing to train with.
# docker build --file docker/server.Dockerfile --tag headrace-server .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build

# For the resize kernel. Where no package archive is reached, the wheel is pure, and Pillow resizes: the same pixels, slower.
RUN { apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev; } \
    || echo "no compiler: Pillow will resize"
WORKDIR /src
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --constraint constraints.txt hatchling
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proto_schemas proto_schemas
COPY server server
COPY client client
# The environment has no pip of its own: the one of the tools fills it.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/python -m hatchling build -t wheel -d /wheels \
    && python3 -m venv --without-pip /opt/headrace \
    && /opt/tools/bin/pip --python /opt/headrace/bin/python install --constraint constraints.txt \
        "$(ls /wheels/*.whl)[server]"

# The demo's images. scikit-learn, which they come from, stays behind in this stage.
FROM build AS digits
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/headrace/bin/python install --constraint constraints.txt scikit-learn \
    && /opt/headrace/bin/python -c "import pathlib, headrace_server.commands.digits as d; d.write_digits(pathlib.Path('/digits'))"

FROM python:${PYTHON}-slim AS runtime
LABEL org.opencontainers.image.title="headrace server" \
      org.opencontainers.image.licenses="Apache-2.0"
# Fixed numbers, so that a mounted folder can be given to them.
RUN groupadd --gid 10001 headrace \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headrace \
    && mkdir /data /etc/headrace
COPY --from=build /opt/headrace /opt/headrace
COPY LICENSE docs/licences.md /usr/share/doc/headrace/
# Beyond loopback, since loopback ends at the container; who may reach it is for the network around it to say.
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEADRACE_HOST=0.0.0.0
# `serve` reads headrace.toml from here, where one is mounted.
WORKDIR /etc/headrace
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client and not urllib: a proxy named in the environment must not be asked about this container.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('HEADRACE_PORT', 8000)), timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["headrace"]
CMD ["serve", "/data"]

FROM runtime AS demo
COPY --from=digits /digits /data/digits
CMD ["serve", "/data/digits"]

# Last, so that it is what a build without --target makes.
FROM runtime AS server
