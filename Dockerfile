# Three images: `router` (no torch), `torchserve` (CPU or CUDA) and `load` (the load test, laid over the
# router's parts). `make image` builds them all; so do
#   docker build --target router -t isocost/router .
#   docker build --target load -t isocost/load .
#   docker build --target torchserve --build-arg TORCH=cuda -t isocost/torchserve .
# All run as any non-root user with a read-only root: they write to /tmp and /var/lib/isocost only.
# Nothing is compiled: every package is a wheel, checked against its hash.
ARG PYTHON=docker.io/library/python:3.11-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all: \
    PIP="/opt/tools/bin/pip --python /opt/isocost/bin/python"
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/isocost
WORKDIR /src

FROM build AS packages-router
# For builds behind one's own certificates, or without PyPI; unset otherwise.
ARG PIP_FIND_LINKS
ARG PIP_CERT
COPY requirements/router.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    ${PIP} install --require-hashes --no-deps -r requirements/router.txt
COPY image/isocost /opt/isocost/bin/

FROM packages-router AS app-router
COPY load_tests/ /app/load_tests/
COPY router/ /app/router/
RUN /opt/isocost/bin/python -m compileall -q /app

FROM build AS packages-load
ARG PIP_FIND_LINKS
ARG PIP_CERT
COPY requirements/load.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    ${PIP} install --require-hashes --no-deps --target /opt/load -r requirements/load.txt

FROM build AS packages-torchserve
ARG PIP_FIND_LINKS
ARG PIP_CERT
# cpu, or cuda with NVIDIA's libraries
ARG TORCH=cpu
COPY requirements/torch-${TORCH}.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    ${PIP} install --retries 1 --require-hashes --no-deps -r requirements/torch-${TORCH}.txt
COPY requirements/serving.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    ${PIP} install --require-hashes --no-deps -r requirements/serving.txt

FROM packages-torchserve AS app-torchserve
ARG SSL_CERT_FILE
# Archives of the build context are taken where they are up to date, else the models are packed here.
ARG MODELS="smollm2-135m minilm"
ENV PYTHONPATH=/app ISOCOST_CACHE=/root/.cache/isocost
COPY serving/ /app/serving/
COPY model_store/ /app/model_store/
RUN --mount=type=cache,target=/root/.cache/isocost \
    mkdir -p /models \
    && for model in ${MODELS}; do \
         if [ -f /app/model_store/archives/${model}.mar ]; then mv /app/model_store/archives/${model}.mar /models/; fi; \
         /opt/isocost/bin/python -m model_store pack ${model} --archives /models || exit 1; \
       done \
    && rm -rf /app/model_store/archives /models/.*.lock \
    && /opt/isocost/bin/python -m compileall -q /app

FROM ${PYTHON} AS base
# No entry in /etc/passwd is needed: what asks for a name is told one.
ENV PATH=/opt/isocost/bin:$PATH PYTHONPATH=/opt/isocost/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp USER=isocost LOGNAME=isocost
RUN mkdir -p /etc/isocost /var/lib/isocost && chmod 1777 /var/lib/isocost
WORKDIR /var/lib/isocost
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.vendor="Isocost" org.opencontainers.image.licenses="Apache-2.0"

FROM base AS torchserve
COPY --from=packages-torchserve /opt/isocost /opt/isocost
COPY --from=app-torchserve /models /models
COPY --from=app-torchserve /app /opt/isocost/app
USER 65532:65532
EXPOSE 8084 8085 8087
HEALTHCHECK --interval=10s --timeout=5s --start-period=240s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8084/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--archives", "/models", "--state", "/var/lib/isocost/serving", "--host", "0.0.0.0", "--key-file", "/run/secrets/isocost/inference.key"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Isocost TorchServe" \
      org.opencontainers.image.description="Local models in TorchServe under a supervisor" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM base AS parts-router
COPY --from=packages-router /opt/isocost /opt/isocost
COPY --from=app-router /app /opt/isocost/app
USER 65532:65532

FROM parts-router AS load
COPY --from=packages-load /opt/load /opt/load
ENV PYTHONPATH=/opt/isocost/app:/opt/load MPLCONFIGDIR=/tmp
ENTRYPOINT ["python", "-m", "load_tests.run", "--out", "/tmp/out"]
CMD ["--profile", "smoke"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Isocost load test" \
      org.opencontainers.image.description="Bounded load tests of a router, with a verdict" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

FROM parts-router AS router
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/livez', timeout=4)"]
ENTRYPOINT ["isocost"]
CMD ["serve", "--config", "/etc/isocost/isocost.yaml", "--state", "/var/lib/isocost"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Isocost router" \
      org.opencontainers.image.description="Cost-aware routing of AI calls: local models first, paid APIs where they are needed" \
      org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
