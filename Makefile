# Two commands do it all on a fresh machine with Python 3.11 or newer, pip and make:
# `make demo` runs the pipeline in the sandbox, `make test` runs the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FXCI_SANDBOX_DIR ?= .sandbox

export FXCI_SANDBOX_DIR
export DAGSTER_DISABLE_TELEMETRY := 1

.PHONY: install demo dev test check format docs faults image-test bench lock clean

install: $(VENV)/installed

# The stamp is newer than what it was made from, so that a changed requirement installs again.
$(VENV)/installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV) || { echo 'Debian has venv in a package of its own: apt-get install python3-venv'; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Dagster ignores the dagster.yaml of the checkout when its home is elsewhere. No file here is a
# target, because make cannot have one with a space in its path.
WITH_DAGSTER = mkdir -p "$(FXCI_SANDBOX_DIR)/dagster" && \
	ln -sf "$(CURDIR)/dagster.yaml" "$(FXCI_SANDBOX_DIR)/dagster/dagster.yaml" && \
	DAGSTER_HOME="$$(cd "$(FXCI_SANDBOX_DIR)/dagster" && pwd)"

demo: install
	@$(WITH_DAGSTER) $(BIN)/fxci-etl sandbox demo

dev: install
	@$(WITH_DAGSTER) $(BIN)/dagster dev --host 127.0.0.1 --port 3000

test: install
	$(BIN)/python -m pytest

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages that are made from the code; tests fail while they are stale.
docs: install
	$(BIN)/python -m fxci_assets_tests.cli_reference
	$(BIN)/python -m fxci_assets_tests.table_reference

# Minutes of killing drains and rebuilds; the tests do a few seconds of it.
faults: install
	FXCI_FAULT_ROUNDS=60 FXCI_FAULT_KILLS=60 $(BIN)/python -m pytest --timeout 3000 \
		fxci_assets_tests/test_faults.py fxci_assets_tests/test_pipeline.py -k "drains_killed or are_killed"

# The container image, built from nothing, run and looked into: as root, with Debian's buildah and
# mmdebstrap.
image-test: install
	FXCI_IMAGE_TEST=1 $(BIN)/python -m pytest fxci_assets_tests/test_image.py

bench: install
	$(BIN)/python -m fxci_assets_tests.benchmark --messages 500000

# Versions and hashes of everything, for every supported Python.
lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--custom-compile-command 'make lock' pyproject.toml -o requirements.txt
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--custom-compile-command 'make lock' --extra dev -c requirements.txt pyproject.toml \
		-o requirements-dev.txt
	for file in requirements.txt requirements-dev.txt; do \
		awk "$$PIN_WITHOUT_EXTRAS" $$file > $$file.new && mv $$file.new $$file; \
	done

# pip does not take name[extra]==1 for a pin of name, and then finds a newer one without a hash. So
# each pin with an extra is there without it too.
define PIN_WITHOUT_EXTRAS
/^[A-Za-z0-9._-]+\[/ { pin = $$0; hashes = ""; next }
pin && /^    --hash/ { hashes = hashes $$0 "\n"; next }
pin { bare = pin; sub(/\[[^]]*\]/, "", bare); printf "%s\n%s%s\n%s", bare, hashes, pin, hashes; pin = "" }
{ print }
endef
export PIN_WITHOUT_EXTRAS

# All state of the sandbox and of local runs.
clean:
	rm -rf "$(FXCI_SANDBOX_DIR)"
