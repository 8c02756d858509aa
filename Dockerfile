# One image for the web server and the worker. It runs with a read-only root file system and writes
# to /tmp, to /dev/shm and to the volumes that its settings name.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /app
COPY requirements.txt .
RUN python -m venv /opt/venv \
    && pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY . .
# The settings need keys. These two are used in this step only.
RUN SECRET_KEY=unused FERNET_KEYS=unused python manage.py collectstatic --no-input

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin orderflow \
    && install --directory --owner=orderflow var
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app .
# A number, because an orchestrator cannot see from a name that the user is not root.
USER 10001
EXPOSE 8000
# The health check of the web server. That of the worker is: python manage.py worker_health
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz')"]
# GUNICORN_CMD_ARGS adds options. The worker's command is: python manage.py worker
CMD ["gunicorn", "orderflow.wsgi", "--bind=0.0.0.0:8000", "--workers=3", "--threads=4", "--worker-tmp-dir=/dev/shm", "--no-control-socket"]
