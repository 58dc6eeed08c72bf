# One image for the command line (fxci-etl), Dagster's code location, its webserver and its daemon.
# `make image-test` builds it, runs it and looks into it.

# Give a digest for what is to be published: --build-arg PYTHON=…@sha256:…
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build

WORKDIR /src
RUN python3 -m venv /opt/fxci
COPY requirements.txt requirements-dev.txt ./
# Where an index is reached by a configuration or certificates of one's own, these come as secrets,
# which are in no layer: --secret id=pip,src=… --secret id=certificates,src=…
# The lists are complete, so that nothing is looked for beside them; whether they fit together is for
# `pip check` to say. What builds the project is among the development's requirements, and is taken
# away again.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/run/secrets/certificates \
    if [ -s /run/secrets/certificates ]; then export PIP_CERT=/run/secrets/certificates; fi \
    && awk '/^[^ #]/ { ours = /^setuptools==/ } ours' requirements-dev.txt > requirements-build.txt \
    && /opt/fxci/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        -r requirements.txt -r requirements-build.txt \
    && /opt/fxci/bin/pip check
COPY pyproject.toml README.md ./
COPY fxci_assets fxci_assets
# A fifth of it is packages' own tests, and descriptions of all of Google's APIs.
RUN /opt/fxci/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation . \
    && /opt/fxci/bin/pip uninstall --yes setuptools pip \
    && find /opt/fxci/lib -depth -type d \( -name tests -o -path '*/discovery_cache/documents' \) \
        -exec rm -r {} +

FROM ${PYTHON}

# Nothing is left to install with: ensurepip brings pip along, as wheels that Debian keeps in a folder
# of their own. Nothing to write to but /tmp and the user's home, and no way to another user.
RUN if python3 -m pip --version; then python3 -m pip uninstall --yes setuptools wheel pip; fi \
    && rm -r "$(python3 -c 'import ensurepip; print(*ensurepip.__path__)')" \
    && rm -rf /usr/share/python-wheels \
    && groupadd --gid 10001 fxci \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin --no-log-init fxci \
    && install --directory --owner fxci --group fxci /home/fxci/state \
    && chmod o-w /run/lock /var/tmp \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY --from=build /opt/fxci /opt/fxci
COPY deploy/dagster.yaml deploy/workspace.yaml /opt/fxci/dagster/

ENV PATH=/opt/fxci/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DAGSTER_DISABLE_TELEMETRY=1 \
    FXCI_SANDBOX_DIR=/home/fxci/state \
    FXCI_DEPLOYMENT=production

# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /home/fxci

# No entrypoint: jobs name the whole command. Without one this is the code location, and healthy is
# what it says of itself; for the other roles deploy/compose.yaml has checks of their own.
CMD ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", "4000", "--module-name", "fxci_assets.definitions"]
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
    CMD ["dagster", "api", "grpc-health-check", "--port", "4000"]
