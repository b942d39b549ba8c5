# The commands of the project. `make demo` and `make test` are all that a newcomer needs; each prepares the machine first.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# full: 108 units, 878 nodes, 3,000,818 rows. small: a hundredth of the rows.
SCALE ?= full
# EXIT=1: end with the verdict as exit status instead of staying up until Ctrl-C.
EXIT ?=
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
RELEASE := cargo build --release -p hutong-hub -p hutong-agent -p hutong-tests
CITY := $(TARGET_DIR)/release/hutong-city

.PHONY: help setup demo test bench instructions soak fuzz lint docs packages old-hosts

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

setup: ## Install what is missing and build RocksDB's archive once (about 16 minutes the first time)
	@deploy/setup.sh

demo: setup ## Run the reference city: SCALE=full (default) or small; EXIT=1 to end by itself
	@$(RELEASE)
	$(CITY) demo --scale $(SCALE) $(if $(EXIT),--exit)

test: ## Run all tests at CI size
	@deploy/setup.sh --packages
	@# The whole-system tests start the programs, so these are built first: with the tests, so that
	# features, and thus all compiled packages, are the same.
	cargo build --workspace --all-targets
	HUTONG_BIN_DIR="$(abspath $(TARGET_DIR))/debug" cargo test --workspace

# Parts of the benchmarks: ready csv lookup fanout idle city curve; all when empty.
BENCH ?=

bench: setup ## Measure what the exchange reaches beside its limits ; writes tests/BENCHMARKS.md
	@$(RELEASE)
	$(CITY) bench $(foreach part,$(BENCH),--only $(part)) --out tests/BENCHMARKS.md

instructions: ## Count the instructions of the functions on a row's way; fails when one takes 3 % more than tests/INSTRUCTIONS.md says (HUTONG_BLESS=1 writes it)
	@deploy/setup.sh --instructions
	$(RELEASE) --bin hutong-instructions
	$(TARGET_DIR)/release/hutong-instructions count --table tests/INSTRUCTIONS.md --notes $(TARGET_DIR)/instructions.callgrind

soak: setup ## 1,000 kills of hubs, 200 power cuts, 200 kills and 200 power cuts of agents (50 minutes on two cores), all damage to a hub's folder, and 10,000 histories of the model; writes tests/SOAK.md, tests/DAMAGE.md and tests/MODEL.md
	@$(RELEASE)
	HUTONG_BIN_DIR="$(abspath $(TARGET_DIR))/release" cargo test --release -p hutong-tests -- --ignored --nocapture soak

fuzz: ## Fuzz each reader of foreign bytes for FUZZ_SECONDS (needs a nightly toolchain)
	@deploy/setup.sh --fuzz
	export PATH="$${HUTONG_CACHE:-$$HOME/.cache/hutong}/tools/bin:$$PATH"
	for target in $$(cargo +nightly fuzz list --fuzz-dir fuzz); do
		echo "fuzz: $$target"
		# What is newly found goes to a folder of its own; the corpus in git stays small.
		mkdir -p "fuzz/target/corpus/$$target"
		cargo +nightly fuzz run --fuzz-dir fuzz "$$target" "fuzz/target/corpus/$$target" "fuzz/corpus/$$target" -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=512 -verbosity=0
	done

lint: ## Formatting, lints, documentation, licences
	@deploy/setup.sh --lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace
	deploy/check-licences.sh

docs: setup ## Build the API documentation
	@cargo doc --no-deps --workspace
	echo "open $(TARGET_DIR)/doc/hutong_hub/index.html"

packages: ## Build the .deb of agent and hub into target/packages
	@deploy/setup.sh --packages
	deploy/packages.sh

old-hosts: ## Build the agent for hosts with an old C library (2.17) into target/packages
	@deploy/setup.sh --old-hosts
	deploy/old-hosts.sh
