# Two images: `router` (no torch) and `torchserve` (CPU or CUDA). `make image` builds both; so do
#   docker build --target router -t isocost/router .
#   docker build --target torchserve --build-arg TORCH=cuda -t isocost/torchserve .
# Both run as any non-root user with a read-only root: they write to /tmp and /var/lib/isocost only.
# Nothing is compiled: every package is a wheel, checked against its hash.
ARG PYTHON=docker.io/library/python:3.11-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_ONLY_BINARY=:all:
# What a build behind one's own certificates, or without PyPI, needs; unset otherwise.
ARG PIP_FIND_LINKS
ARG PIP_CERT
ARG SSL_CERT_FILE
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/isocost
WORKDIR /src

FROM build AS build-router
COPY requirements/router.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/isocost/bin/python install --require-hashes --no-deps -r requirements/router.txt
COPY image/isocost /opt/isocost/bin/
COPY load_tests/ /opt/isocost/app/load_tests/
COPY router/ /opt/isocost/app/router/
RUN /opt/isocost/bin/python -m compileall -q /opt/isocost/app

FROM build AS build-torchserve
# cpu, or cuda with NVIDIA's libraries
ARG TORCH=cpu
COPY requirements/torch-${TORCH}.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/isocost/bin/python install --retries 1 --require-hashes --no-deps -r requirements/torch-${TORCH}.txt
COPY requirements/serving.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip --python /opt/isocost/bin/python install --require-hashes --no-deps -r requirements/serving.txt
COPY serving/ /opt/isocost/app/serving/
COPY model_store/ /opt/isocost/app/model_store/
# Archives of the build context are used where they are up to date, else the models are packed here.
ARG MODELS="smollm2-135m minilm"
ENV PYTHONPATH=/opt/isocost/app ISOCOST_CACHE=/root/.cache/isocost
RUN --mount=type=cache,target=/root/.cache/isocost \
    mkdir -p /models \
    && for model in ${MODELS}; do \
         mv /opt/isocost/app/model_store/archives/${model}.mar /models/ 2>/dev/null; \
         /opt/isocost/bin/python -m model_store pack ${model} --archives /models || exit 1; \
       done \
    && rm -rf /opt/isocost/app/model_store/archives /models/.*.lock \
    && /opt/isocost/bin/python -m compileall -q /opt/isocost/app

FROM ${PYTHON} AS base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Isocost" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# No entry in /etc/passwd is needed: what asks for a name is told one.
ENV PATH=/opt/isocost/bin:$PATH PYTHONPATH=/opt/isocost/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp USER=isocost LOGNAME=isocost
RUN mkdir -p /etc/isocost /var/lib/isocost && chown 65532:65532 /var/lib/isocost
WORKDIR /var/lib/isocost
STOPSIGNAL SIGTERM

FROM base AS torchserve
LABEL org.opencontainers.image.title="Isocost TorchServe" \
      org.opencontainers.image.description="Local models in TorchServe under a supervisor"
COPY --from=build-torchserve /opt/isocost /opt/isocost
COPY --from=build-torchserve /models /models
USER 65532:65532
EXPOSE 8084 8085
HEALTHCHECK --interval=10s --timeout=5s --start-period=240s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8084/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--archives", "/models", "--state", "/var/lib/isocost/serving", "--host", "0.0.0.0", "--key-file", "/run/secrets/isocost/inference.key"]

FROM base AS router
LABEL org.opencontainers.image.title="Isocost router" \
      org.opencontainers.image.description="Cost-aware routing of AI calls: local models first, paid APIs where they are needed"
COPY --from=build-router /opt/isocost /opt/isocost
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/livez', timeout=4)"]
ENTRYPOINT ["isocost"]
CMD ["serve", "--config", "/etc/isocost/isocost.yaml", "--state", "/var/lib/isocost"]
