# Set up, check and run Orderflow. It needs GNU make, bash and Python 3.11 or newer.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:

BIN := .venv/bin
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o=Dpkg::Use-Pty=0
SCHEMA := manage.py spectacular --validate --fail-on-warn
PYTEST := $(BIN)/pytest -n auto --dist worksteal
LOCK := uv pip compile --quiet --generate-hashes --python-version 3.11 --no-header

.PHONY: help
help: ## List what `make` can do
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: .venv
.venv: .venv/installed ## Install the locked packages into .venv

.venv/installed: requirements.txt requirements-dev.txt
	@for name in python3.11 python3 python3.12 python3.13 none; do
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi
	done
	if [ "$$name" = none ]; then
		echo "Python 3.11 or newer is missing. Install it, on Debian: apt-get install python3" >&2
		exit 1
	fi
	if ! "$$name" -c 'import ensurepip' 2>/dev/null; then
		package=$$("$$name" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			echo "$$name cannot make virtual environments. Install the package $$package." >&2
			exit 1
		fi
		$(APT) update && $(APT) install --no-install-recommends "$$package" >/dev/null
	fi
	"$$name" -m venv .venv
	$(BIN)/pip --quiet --disable-pip-version-check install --require-hashes \
		-r requirements.txt -r requirements-dev.txt
	touch $@

.env: | .venv/installed ## Make random keys for development, if there are none yet
	@mkdir -p var/dropzone
	umask 077
	$(BIN)/python - > .env <<-END
		from secrets import token_urlsafe
		print("SECRET_KEY=" + token_urlsafe(50))
		print("FERNET_KEYS=" + token_urlsafe(32))
		print("DEBUG=true")
		print("DROPZONE_ROOTS=$(CURDIR)/var/dropzone")
	END

.PHONY: demo
demo: .venv/installed .env ## Approve and send six orders to an SFTP server on this machine
	@exec $(BIN)/python manage.py demo

.PHONY: run
run: .venv/installed .env ## As demo; then serve the admin and deliver until Ctrl-C; PORT=8000
	@exec $(BIN)/python manage.py demo --serve $(if $(PORT),--port $(PORT))

.PHONY: programs
programs:
	@packages=
	PATH=$$PATH:/usr/sbin command -v sshd >/dev/null || packages+=" openssh-server"
	PATH=$$PATH:/usr/sbin command -v pgbouncer >/dev/null || packages+=" pgbouncer"
	for name in strace faketime curl jq openssl; do command -v $$name >/dev/null || packages+=" $$name"; done
	PATH=$$PATH:/usr/sbin command -v proftpd >/dev/null || packages+=" proftpd-core proftpd-mod-crypto"
	command -v systemd-analyze >/dev/null || packages+=" systemd"
	command -v chromium >/dev/null || packages+=" chromium"
	if [ -n "$$packages" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		echo "installing$$packages"
		$(APT) update && $(APT) install --no-install-recommends $$packages >/dev/null
	fi

.PHONY: test
test: .venv/installed programs ## Run the tests on PostgreSQL, then those of the ledger on SQLite
	@$(PYTEST) --real-parts -m "not long"
	TEST_DATABASE=sqlite $(PYTEST) -m "ledger and not long" -k "not ssh and not s3"

.PHONY: test-long
test-long: .venv/installed programs ## Run the tests that take minutes, before a release
	@$(PYTEST) -m long -rs -o faulthandler_timeout=0
	TEST_DATABASE=sqlite $(PYTEST) -m "ledger and long" -k "not ssh and not s3"

.PHONY: check
check: .venv/installed ## Lint, format, types, imports, unused code, migrations, OpenAPI, settings for production
	@random() { $(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))'; }
	export SECRET_KEY=$$(random) FERNET_KEYS=$$(random)
	export DEBUG=false ALLOWED_HOSTS=orders.example.com DATABASE_URL=sqlite://:memory:
	set -x
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/python $(SCHEMA) | diff openapi.yaml - || { set +x; echo "openapi.yaml does not match the code. Run: make openapi" >&2; exit 1; }

.PHONY: openapi
openapi: .venv/installed .env ## Write openapi.yaml, the contract of the API
	@$(BIN)/python $(SCHEMA) --file openapi.yaml

.PHONY: pictures
pictures: .venv/installed ## Take new pictures for the operator guide
	@PICTURES=1 $(BIN)/pytest tests/pages/test_operator_guide.py

.PHONY: format
format: .venv/installed ## Format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format

.PHONY: bench
bench: .venv/installed ## Measure the speed; ONLY=steps,engine,ledger,fairness,acks,api,dashboard,scale
	@exec $(BIN)/python -m bench

.PHONY: chaos
chaos: .venv/installed ## Deliver orders under faults and check the results; MODE, ORDERS, KILLS, SEED, SOAK=1
	@exec $(BIN)/python -m chaos

.PHONY: mutate
mutate: .venv/installed programs ## Make 300 changes that break the code; list those no test notices; SEED, SAMPLE
	@exec $(BIN)/python -m mutate

.PHONY: explore
explore: .venv/installed programs ## Search for failures with random input; MINUTES, SEED, ONLY=state,acks,contract,servers,people
	@exec $(BIN)/python -m tests.explore

.PHONY: image
image: .venv/installed ## Build the images and test them; ENGINE=podman, BASE=another base image
	@export BUILDAH_FORMAT=docker IMAGE_ENGINE=$${ENGINE:-docker}
	"$$IMAGE_ENGINE" build $(BASE:%=--build-arg=BASE=%) --tag orderflow .
	"$$IMAGE_ENGINE" build $(BASE:%=--build-arg=BASE=%) --tag orderflow-sftp deploy/sftp
	$(BIN)/pytest tests/servers/test_image.py

.PHONY: lock
lock: .venv/installed ## Pin the newest packages that requirements*.in allow
	@$(BIN)/$(LOCK) --upgrade requirements.in -o requirements.txt
	$(BIN)/$(LOCK) --upgrade requirements-dev.in -o requirements-dev.txt

.PHONY: clean
clean: ## Remove .venv, caches and collected files; .env and var/ stay
	@rm -rf .venv staticfiles .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
