# Two commands are all that a newcomer needs, as root on a Debian machine with Rust stable:
#   make demo   sets up what is missing, deploys a lab of three nodes, switches it live there and back, prints the proof
#   make test   everything that must pass
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/debug
RELEASE := $(TARGET)/release

.PHONY: help setup build demo test interop lint rfc-table bench fuzz recordings clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what is missing: Debian packages; names a missing toolchain and its cure
	@deploy/setup

build: setup ## the two binaries
	$(CARGO) build --locked -p biplaned -p biplane

demo: build ## three nodes move from VXLAN to BGP and back while every packet is counted
	$(BIN)/biplane lab demo

test: build ## lints, unit, property, kernel and topology tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	BIPLANE_BIN_DIR=$(abspath $(BIN)) $(CARGO) test --locked --workspace --no-fail-fast

interop: build ## what works with FRR, BIRD and GoBGP, feature by feature
	BIPLANE_BIN_DIR=$(abspath $(BIN)) $(CARGO) test --locked -p biplane-testbed --test interop -- --nocapture

lint: ## formatting and clippy alone
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

rfc-table: ## write CONFORMANCE.md anew: the RFC checklist, and the tests that prove each line
	BIPLANE_BLESS=1 $(CARGO) test --locked -q -p biplane-node --test conformance

bench: setup ## ratios against iproute2, BIRD and FRR in the same run
	$(CARGO) build --locked --release -p biplaned -p biplane
	$(CARGO) bench --locked -p biplane-kernel
	BIPLANE_BIN_DIR=$(abspath $(RELEASE)) $(RELEASE)/biplane lab bench

FUZZ_SECONDS ?= 600
fuzz: ## every fuzz target of the repository, FUZZ_SECONDS (600) each; stops at the first find
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@for manifest in $$(find . -path ./target -prune -o -path '*/fuzz/Cargo.toml' -print | sort); do \
		cd $(CURDIR)/$${manifest%/fuzz/Cargo.toml}; \
		for target in $$($(CARGO) fuzz list); do \
			echo "== $${manifest%/fuzz/Cargo.toml} $$target"; \
			RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run -s none $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10; \
		done; \
	done

recordings: build ## record the daemons of every topology anew, for the replay test; with BLESS=1 only bless what today's core makes of them
	$(if $(BLESS),,BIPLANE_BIN_DIR=$(abspath $(BIN)) BIPLANE_RECORDINGS=$(abspath lib/node/tests/recordings) $(CARGO) test --locked -p biplane-testbed --test topologies --test restart)
	BIPLANE_BLESS=1 $(CARGO) test --locked -p biplane-node --test cluster recorded_runs

clean: ## remove what was built
	$(CARGO) clean
