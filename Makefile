# One door for everything. Set-up of a fresh machine is part of each target.
# Every cargo command goes through tools/cargo.sh and says --workspace --locked, so that
# environment and features never change between commands and no dependency is built twice.

SHELL := /bin/sh
CARGO := tools/cargo.sh
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
TWIN := $(TARGET)/debug/twin
ARGS ?=
# Kills in one run of the crash tests: `make test` and `make soak`.
TWIN_KILLS ?= 20
SOAK_KILLS ?= 200
# Power cuts of `make powercut`; SYNC=off is its counter-check, SEED repeats a plan.
CUTS ?= 20
SYNC ?= on
SEED ?=
# Steps of `make model`; a million take a while.
STEPS ?= 100000
# How long `make endurance` runs.
MINUTES ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo build where test lint bench peers soak powercut faults model endurance pictures clean
MAKEFLAGS += --no-print-directory

help: ## Say what there is.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: build ## Build, then run the national twin here; Ctrl-C ends it. ARGS="--http 127.0.0.1:9090" is passed on.
	@tools/setup.sh console map
	@exec tools/demo.sh "$(TWIN)" $(ARGS)

build: ## Build the binary that demo runs.
	@tools/setup.sh build
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --locked
	@tools/deps-cache.sh save build

where: ## Print the path of that binary.
	@echo "$(TWIN)"

# All targets, because the end-to-end tests run the binary, and test builds alone may leave it out.
# The test peers join the same features (checked with cargo's unit graph), so nothing is built twice.
test: ## Run every test, the end-to-end ones with foreign programs too.
	@tools/setup.sh build console map test
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --all-targets --locked
	@tools/deps-cache.sh save build test
	@TWIN_BIN="$(TWIN)" TWIN_KILLS=$(TWIN_KILLS) tools/test.sh

lint: ## Formatting, clippy, licences and sources of dependencies.
	@tools/setup.sh build lint
	@tools/deps-cache.sh restore
	@cargo fmt --all --check
	@tools/deny.sh
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@tools/deps-cache.sh save lint

bench: build ## Measure, each figure beside the same work by SurrealDB alone.
	@"$(TWIN)" bench $(ARGS)

peers: build ## Space beside PostGIS, tiles beside martin, imports beside osm2pgsql and ogr2ogr, readings beside Mosquitto with PostgreSQL.
	@tools/peers.sh "$(TWIN)"

soak: ## The crash tests at length.
	@tools/setup.sh build test
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --all-targets --locked
	@TWIN_BIN="$(TWIN)" TWIN_KILLS=$(SOAK_KILLS) tools/test.sh kill

powercut: ## Cut the power under load: CUTS=20, SYNC=off must lose, SEED=n repeats.
	@tools/setup.sh build test
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --all-targets --locked
	@TWIN_BIN="$(TWIN)" TWIN_CUTS=$(CUTS) TWIN_SYNC=$(SYNC) $(if $(SEED),TWIN_SEED=$(SEED)) \
		TWIN_SHOW=1 tools/test.sh a_power_cut_takes_nothing

faults: ## Let every call that changes the disk fail, SEED=n repeats; takes long.
	@tools/setup.sh build test
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --all-targets --locked
	@TWIN_BIN="$(TWIN)" TWIN_FAULTS=all $(if $(SEED),TWIN_SEED=$(SEED)) \
		TWIN_SHOW=1 tools/test.sh on_a_failing_disk

model: ## Hold the twin against a plain model: STEPS=1000000, SEED=n repeats.
	@tools/setup.sh build test
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --all-targets --locked
	@TWIN_STEPS=$(STEPS) $(if $(SEED),TWIN_SEED=$(SEED)) \
		TWIN_SHOW=1 tools/test.sh on_surrealdb_it_does_what_a_plain_nation_does

endurance: ## A day of devices, apps and followers in MINUTES=60: nothing is lost, memory stays flat.
	@tools/setup.sh build test
	@tools/deps-cache.sh restore
	@$(CARGO) build --workspace --all-targets --locked
	@TWIN_BIN="$(TWIN)" TWIN_MINUTES=$(MINUTES) \
		TWIN_SHOW=1 tools/test.sh a_day_of_load_loses_nothing

pictures: build ## Take the pictures of the map that README.md shows; wants the source data.
	@tools/pictures.sh "$(TWIN)" docs

clean: ## Remove what was built here; the cache outside the checkout stays.
	@rm -rf "$(TARGET)"
