# A trainer: the client, TensorFlow, and the demo's training script.
# docker build --file docker/trainer.Dockerfile --tag headrace-trainer .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# Another build of TensorFlow, such as tensorflow[and-cuda], goes in by --build-arg.
ARG TENSORFLOW=tensorflow-cpu
WORKDIR /src
COPY constraints.txt ./
# TensorFlow first: it is large, and stays in its layer when the sources change. Its C++ headers, 290 MB, stay behind.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools \
    && python3 -m venv --without-pip /opt/headrace \
    && /opt/tools/bin/pip install --constraint constraints.txt hatchling \
    && /opt/tools/bin/pip --python /opt/headrace/bin/python install --constraint constraints.txt "${TENSORFLOW}" \
    && rm -r /opt/headrace/lib/python*/site-packages/tensorflow/include
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY proto_schemas proto_schemas
COPY server server
COPY client client
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/python -m hatchling build -t wheel -d /wheels \
    && /opt/tools/bin/pip --python /opt/headrace/bin/python install --constraint constraints.txt /wheels/*.whl

FROM python:${PYTHON}-slim AS trainer
LABEL org.opencontainers.image.title="headrace trainer" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 headrace \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin headrace
COPY --from=build /opt/headrace /opt/headrace
# Keras writes its settings; under /tmp they find a place where the root file system is read-only.
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    KERAS_HOME=/tmp/keras
WORKDIR /tmp
USER 10001:10001
CMD ["python", "-m", "headrace.examples.digits", "--url", "http://server:8000"]
