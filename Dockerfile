# The balancer's image: a virtual environment made from hash-pinned wheels, copied into a clean base.
#
#   docker build -t balancer .
#   docker run --rm -p 8080:8080 -v "$PWD/config:/etc/balancer:ro" balancer
#
# Pip's own settings (a mirror, a proxy) are taken from the base image or from the engine's proxy settings.
# COMPILED=0 leaves the data path to the interpreter, as it also is where no compiler can be fetched (the build says so).
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The compiler stays in this stage. Debian's own Python has its headers in a package, Docker's has them with it.
ARG COMPILED=1
RUN test "$COMPILED" != 1 || { \
      headers=$(python -c 'import sysconfig as s, os; print("" if os.path.exists(s.get_path("include") + "/Python.h") else "python3-dev")') \
   && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev $headers >/dev/null; } \
 || echo "NO COMPILER could be fetched: the data path of this image is interpreted" >&2
# Dependencies first: they change seldom, and this layer is then reused. Pip stays outside the environment that is shipped.
COPY requirements-run.lock requirements-build.lock requirements-compile.lock ./
RUN python -m venv --without-pip /opt/venv \
 && python -m venv --without-pip /opt/build \
 && python -m pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r requirements-run.lock \
 && python -m pip --python /opt/build/bin/python install --require-hashes --only-binary :all: \
      -r $(if [ "$COMPILED" = 1 ] && command -v gcc >/dev/null; then echo requirements-compile.lock; else echo requirements-build.lock; fi)
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY balancer balancer
RUN if [ "$COMPILED" = 1 ] && command -v gcc >/dev/null; then export HATCH_BUILD_HOOK_ENABLE_CUSTOM=1; fi \
 && python -m pip --python /opt/build/bin/python wheel --no-deps --no-index --no-build-isolation --wheel-dir /dist . \
 && python -m pip --python /opt/venv/bin/python install --no-deps --no-index /dist/*.whl

FROM ${BASE_IMAGE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="balancer" \
      org.opencontainers.image.description="A self-hosted reverse-proxy load balancer with zones, health checks and reasons" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Byte code was compiled when the wheels were installed; the root file system may be read-only from here on.
# BALANCER_STOP_GRACE is what docker waits after SIGTERM unless told otherwise, for `balancer check` to know.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    BALANCER_STOP_GRACE=10s
COPY --from=build /opt/venv /opt/venv
# A volume that is mounted where logs may go is this user's from the start.
RUN install -d -o 10001 -g 10001 /var/log/balancer
WORKDIR /
USER 10001:10001
EXPOSE 8080 9900
STOPSIGNAL SIGTERM
# Standard library only, so a check costs little. No start interval: engines before 25 refuse it.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["balancer", "health"]
ENTRYPOINT ["balancer"]
CMD ["run", "/etc/balancer"]
