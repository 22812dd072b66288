# CodeHealer with its embedded PostgreSQL and sandbox. Build: docker build -t codehealer .
# BASE needs Python 3.11 or newer with venv and pip, and no more; name it by digest to have the very one you examined.
# Slim and not distroless: the embedded PostgreSQL's initdb starts its server through a shell. Nothing else here does.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
# Without pip: the environment is all that the second stage takes over.
RUN python3 -m venv --without-pip /opt/codehealer
WORKDIR /src
# The locked packages are a layer of their own: they change less often than the program.
COPY requirements/runtime.txt requirements/
RUN python3 -m pip --python /opt/codehealer/bin/python install --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY bot bot
COPY handlers handlers
COPY remediation remediation
COPY knowledge knowledge
COPY migrations migrations
RUN python3 -m pip --python /opt/codehealer/bin/python install --no-deps --no-build-isolation .

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="CodeHealer" \
      org.opencontainers.image.description="Diagnoses failing deployments, proposes one fix, carries it out after approval and verifies it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A fixed number, so that a volume's owner and a cluster's runAsUser can name it.
RUN groupadd --system --gid 10001 codehealer \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/codehealer \
       --shell /usr/sbin/nologin codehealer \
    && install -d -o codehealer -g codehealer -m 0700 /var/lib/codehealer
COPY --from=build /opt/codehealer /opt/codehealer
ENV PATH=/opt/codehealer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CODEHEALER_DATA_DIR=/var/lib/codehealer \
    CODEHEALER_HTTP_HOST=0.0.0.0 \
    CODEHEALER_HTTP_PORT=8321
USER 10001:10001
VOLUME /var/lib/codehealer
EXPOSE 8321
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['CODEHEALER_HTTP_PORT']}/healthz\", timeout=4)"]
# SIGTERM's orderly stop waits for running jobs and the database.
STOPSIGNAL SIGTERM
ENTRYPOINT ["codehealer"]
CMD ["run"]
