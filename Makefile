# One verb per task. `make run` and `make test` are the two commands a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip compiles on one core, and thousands of files that are never imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile
SELDOM := /kubernetes/(aio/)?client/(api|models)/|/tests?/
PACKAGES := bot handlers knowledge migrations remediation
UV_COMPILE := $(BIN)/uv pip compile pyproject.toml --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-annotate --quiet

.PHONY: help install install-dev installed run test tools lint types check lock train quality harm bench soak chaos histories rolling claims tour gallery demo-pictures manifests image-check sbom audit clean

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "CodeHealer needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 run" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Could not make the environment; on Debian or Ubuntu: apt-get install python3-venv (for another Python its own, such as python3.12-venv)" >&2; exit 1; }

$(VENV)/.runtime: $(VENV)/bin/python requirements/runtime.txt pyproject.toml
	@echo "Installing CodeHealer into $(VENV) ..." >&2
	@$(PIP) --require-hashes -r requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 -x '$(SELDOM)' $$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') || true
	@touch $@

# Apart from all else: moto needs botocore, and that an older python-dateutil than kubernetes' client does.
$(VENV)/.moto: $(VENV)/bin/python requirements/moto.txt
	@rm -rf $(VENV)/moto
	@$(PIP) --no-deps --require-hashes --target $(VENV)/moto -r requirements/moto.txt
	@touch $@

# Slack's framework for Node, for one test, which skips without it; npm is not everywhere.
$(VENV)/.bolt-js: $(VENV)/bin/python tests/sandbox/bolt_js/package-lock.json
	@if command -v npm >/dev/null; then mkdir -p $(VENV)/bolt-js && cp tests/sandbox/bolt_js/package*.json $(VENV)/bolt-js && \
	npm ci --prefix $(VENV)/bolt-js --ignore-scripts --no-audit --no-fund --silent && touch $@ || echo "Could not install @slack/bolt; the test that needs it skips." >&2; fi

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "Installing the test tools ..." >&2
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

install: $(VENV)/.runtime  ## make the environment and nothing else
	@$(BIN)/python -m compileall -q $(PACKAGES)

installed: install $(VENV)/.dev $(VENV)/.moto $(VENV)/.bolt-js

# Side by side, as each waits for the network or the disk at times; no two of them write to the same folder.
install-dev:  ## the environment with test tools
	@$(MAKE) -s --no-print-directory -j 4 installed

run: install  ## start CodeHealer: without Slack tokens with its sandbox; prints the address
	@exec $(BIN)/codehealer run

# The checks go on beside the tests, which wait more than they compute; what they say comes last.
test:  ## everything, browser tests included
	@$(MAKE) -s --no-print-directory -j 4 installed tools
	@$(MAKE) -s check > $(VENV)/check.log 2>&1 & checking=$$!; \
	$(BIN)/python -m pytest -n 4 --dist worksteal $(PYTEST_ARGS); tested=$$?; \
	wait $$checking; checked=$$?; cat $(VENV)/check.log; [ $$tested$$checked = 00 ]

tools:  ## system programs that some tests need (as root or with passwordless sudo)
	@sh tests/tools.sh

check: lint types  ## linters, types and import contracts

lint: install-dev
	@$(BIN)/ruff check --no-cache . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache >/dev/null || { $(BIN)/lint-imports --no-cache; exit 1; }

types: install-dev
	@$(BIN)/mypy

lock: install-dev  ## lock the versions with hashes, without addresses
	@$(BIN)/python -m pip install --quiet uv
	@$(UV_COMPILE) --upgrade --extra dev --extra train -o requirements/dev.txt
	@$(UV_COMPILE) requirements/build.in --extra redis --extra otel -c requirements/dev.txt -o requirements/runtime.txt
	@$(UV_COMPILE:pyproject.toml=requirements/moto.in) --upgrade -o requirements/moto.txt

train: install-dev  ## make train DATA=failures.jsonl: fit the built-in classifier and write its weights
	@$(BIN)/python -m knowledge.language_models.train $(DATA)

quality: install-dev  ## make quality DATA=failures.jsonl: measure the diagnosis and rewrite the tables of docs/quality.md
	@$(BIN)/python -m bot.quality_page $(DATA)

harm: install-dev  ## judge whole cases again: how many are answered right, and that none gets an action that would harm
	@$(BIN)/python -m pytest -n 0 -q -s tests/knowledge/test_diagnosis.py tests/knowledge/test_live_evidence.py

bench: install  ## measure what docs/performance.md states
	@$(BIN)/codehealer bench

soak: install  ## make soak MINUTES=60: a hundred alerts a second, and what the bot's memory grows by
	@$(BIN)/codehealer bench soak --minutes $(or $(MINUTES),60)

histories: install-dev  ## make histories HISTORIES=1000: two processes decide about the same requests, and each history is checked
	@HISTORIES=$(or $(HISTORIES),1000) $(BIN)/python -m pytest -q tests/handlers/test_histories_of_approvals.py

chaos: install-dev  ## make chaos KILLS=1000: kill three bots at random moments all along the path, and count what is lost or doubled (OF=approvals: one bot while fixes run)
	@$(BIN)/python -m tests.chaos$(if $(filter approvals,$(OF)),,_path) --kills $(or $(KILLS),200)

rolling: install-dev  ## make rolling FROM=REF ROUNDS=1: replace two replicas of an older revision while alerts flow, and count what is lost or doubled
	@$(BIN)/python -m tests.rolling --from $(or $(FROM),HEAD) --rounds $(or $(ROUNDS),1)

claims: install-dev  ## prove what docs/claims.md says, or one of it: make claims ONLY=once
	@$(BIN)/python -m tests.claims $(ONLY)

tour: install-dev tools  ## see every remediator heal its scenario on the sandbox page; pictures in artifacts/tour
	@$(BIN)/python -m tests.tour $(STOPS)

gallery: install-dev tools  ## a picture of every card and reply, light, dark and on a phone, in artifacts
	@GALLERY=1 $(BIN)/python -m pytest -n 0 -q tests/browser/test_gallery.py

demo-pictures: install-dev  ## redraw the pictures of the README from the sandbox page
	@$(BIN)/python -m tests.pictures

manifests: install-dev  ## write the chart's roles and deploy/kubernetes anew
	@$(BIN)/python -m bot.roles > $(VENV)/roles.yaml && mv $(VENV)/roles.yaml deploy/chart/files/roles.yaml
	@$(BIN)/python -m tests.chart

image-check: install-dev  ## replay the Dockerfile's build steps in a folder of their own, and start what they installed
	@$(BIN)/python -m tests.image

# Tools of their own environment, as they are of no use to the tests.
$(VENV)/.audit: $(VENV)/bin/python
	@$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit
	@touch $@

sbom: $(VENV)/.audit  ## write what is in the image, from the lock, as CycloneDX JSON
	@mkdir -p artifacts && $(VENV)/audit/bin/cyclonedx-py requirements --of JSON -o artifacts/codehealer.cdx.json requirements/runtime.txt
	@echo "artifacts/codehealer.cdx.json"

audit: $(VENV)/.audit  ## ask OSV for known weaknesses of the locked packages (needs the network)
	@$(VENV)/audit/bin/pip-audit --requirement requirements/runtime.txt --disable-pip --require-hashes --vulnerability-service osv > $(VENV)/audit.log 2>&1; \
	answered=$$?; \
	if grep -q -E 'ConnectionError|NameResolution|Timeout' $(VENV)/audit.log; then echo "Not audited: api.osv.dev cannot be reached from here." >&2; exit 2; fi; \
	cat $(VENV)/audit.log; exit $$answered

clean:
	rm -rf $(VENV) artifacts build dist .mypy_cache .ruff_cache .pytest_cache
