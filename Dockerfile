# One image for the web server and the worker.
FROM python:3.11-slim AS packages
COPY requirements.txt .
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements.txt

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY . .
# Settings do not load without keys; these exist during this step only.
RUN SECRET_KEY=unused FERNET_KEYS=unused python manage.py collectstatic --no-input \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin orderflow \
    && install --directory --owner=orderflow var
USER orderflow
EXPOSE 8000
# GUNICORN_CMD_ARGS adds options. The worker's command is: python manage.py worker
CMD ["gunicorn", "orderflow.wsgi", "--bind=0.0.0.0:8000", "--workers=3", "--threads=4", "--worker-tmp-dir=/dev/shm", "--access-logfile=-"]
