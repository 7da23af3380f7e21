# The front door. `make` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
PROFILE ?= release
HOST := tests/host/host
# Tests and demo find this image in the test host, which reaches no registry.
HOST_BASE_IMAGE := localhost/debian:trixie
# What is in the tested program only: points at which it is killed, or an act fails.
TEST_FEATURES := fault-points
# Most of what tests do is to wait for Podman.
TEST_THREADS ?= $(shell echo $$(($$(nproc) + 1)))

target := $(or $(CARGO_TARGET_DIR),target)
# cargo calls the directory of its `dev` profile `debug`.
BIN ?= $(target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/taskspace
bindir := $(HOME)/.local/bin
unitdir := $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/systemd/user
units := taskspaced.socket taskspaced.service taskspace-gc.service taskspace-gc.timer

.PHONY: help build check test test-deep test-unit test-reboot test-vm fault-walk soak contention bench demo install install-files \
	uninstall host-up host-down host-destroy shell clean cargo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

cargo:
	@command -v $(CARGO) >/dev/null || { echo 'cargo is missing: install Rust 1.88 or newer, with rustup or from your distribution' >&2; exit 1; }

build: cargo ## build the program, for debugging
	$(CARGO) build --locked

check: cargo ## formatting, lints, documentation, dependencies, the description of the API
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --features $(TEST_FEATURES) --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --document-private-items --locked
	@environment=$$(tests/api/environment); set -x; "$$environment/bin/openapi-spec-validator" openapi.json
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		set -x; $(CARGO) deny --offline --locked check bans licenses sources; \
	else \
		echo 'note: cargo-deny is not installed, so the dependencies were not checked'; \
	fi

# Prepares the shell for end-to-end tests, on this machine or in the test host.
define test_environment
where=$$(tests/host/select); \
if [[ $$where == host ]]; then \
	triple=$$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_); \
	export "CARGO_TARGET_$${triple}_RUNNER=$(HOST) runner"; \
	export TASKSPACE_TEST_BASE_IMAGE=$(HOST_BASE_IMAGE); \
fi
endef

# The test host boots while the tests are built.
test: cargo ## all tests, end to end too, on this machine or in the test host
	@tests/host/select >/dev/null & host=$$!; \
	$(CARGO) test --locked --features $(TEST_FEATURES) --tests --no-run; \
	wait $$host
	@# Apart, for they run from a directory that only this machine has.
	$(CARGO) test --locked --features $(TEST_FEATURES) --doc
	@$(test_environment); \
	$(CARGO) test --locked --features $(TEST_FEATURES) --tests -- --test-threads $(TEST_THREADS)
	@$(test_environment); tests/api/conformance $(target)/debug/taskspace

test-deep: ## all tests, with every variant that `make test` samples (an hour)
	@TASKSPACE_TEST_DEEP=1 $(MAKE) test

fault-walk: cargo ## kill the service at every point, and print the outcomes
	@$(test_environment); \
	export TASKSPACE_TEST_DEEP=1; \
	$(CARGO) test --locked --features $(TEST_FEATURES) --test end_to_end -- fault_walk:: --nocapture

test-unit: cargo ## the tests that need nothing but cargo
	$(CARGO) test --locked --features $(TEST_FEATURES) --lib --bins

soak: cargo ## random operations, kills and acts of others (SOAK_MINUTES=10, SOAK_SEED=any)
	@$(test_environment); \
	export TASKSPACE_SOAK_MINUTES=$(or $(SOAK_MINUTES),10) TASKSPACE_SOAK_SEED=$(SOAK_SEED); \
	$(CARGO) test --locked --features $(TEST_FEATURES) --test end_to_end -- --nocapture soak::

contention: cargo ## 50 agents that act on the same 8 containers (CONTENTION_SECONDS=60)
	@$(test_environment); \
	export TASKSPACE_CONTENTION_SECONDS=$(or $(CONTENTION_SECONDS),60); \
	$(CARGO) test --locked --features $(TEST_FEATURES) --test end_to_end -- --nocapture coordination::agents

test-reboot: build ## log out, shut down and cut the power of a test host of its own (root only, a minute)
	@tests/reboot $(target)/debug/taskspace

test-vm: build ## hard storage limits on ext4 and XFS, in an emulated machine (root only, a quarter of an hour)
	@tests/vm/quotas $(target)/debug/taskspace

bench: cargo ## what the registry, admissions, collections, names, and taskspaces of projects of several sizes cost
	$(CARGO) bench --locked --bench registry --bench admission --bench collect --bench dns
	@$(test_environment); \
	$(CARGO) bench --locked --bench storage --bench network

demo: build ## the main job from end to end, shown step by step
	@where=$$(tests/host/select jq tmux); \
	if [[ $$where == host ]]; then \
		export TASKSPACE_TEST_BASE_IMAGE=$(HOST_BASE_IMAGE); \
		$(HOST) run -- tests/demo --real $(target)/debug/taskspace; \
	else \
		tests/demo $(target)/debug/taskspace; \
	fi

install: cargo ## build (PROFILE=dev: for debugging) and install for this user
	$(CARGO) build --locked --profile $(PROFILE)
	@$(MAKE) install-files

install-files: ## install what is built already (BIN=target/debug/taskspace)
	@install -d "$(bindir)" "$(unitdir)"
	@install -m 0755 "$(BIN)" "$(bindir)/.taskspace.new"
	@mv -f "$(bindir)/.taskspace.new" "$(bindir)/taskspace"
	@cd systemd && install -m 0644 $(units) "$(unitdir)"
	@echo "installed $(bindir)/taskspace and $(units) in $(unitdir)"
	@if systemctl --user show-environment >/dev/null 2>&1; then \
		systemctl --user daemon-reload; \
		systemctl --user enable --now taskspaced.socket taskspace-gc.timer; \
		systemctl --user enable taskspaced.service; \
		systemctl --user try-restart taskspaced.service; \
		if [[ $$(loginctl show-user "$$(id -un)" --property Linger --value 2>/dev/null) == no ]]; then \
			echo 'note: your systemd ends at your last log-out, and starts at your next login, not at boot;'; \
			echo '      so do taskspaces. To let them run on, and come back at boot:'; \
			echo "      sudo loginctl enable-linger $$(id -un)"; \
		fi; \
	else \
		echo 'no systemd user manager answers: the program starts its service itself'; \
	fi
	@[[ ":$$PATH:" == *":$(bindir):"* ]] || echo "note: $(bindir) is not in your PATH"

uninstall: ## remove what install installed
	@if systemctl --user show-environment >/dev/null 2>&1 && [[ -e "$(unitdir)/taskspaced.socket" ]]; then \
		systemctl --user disable --now --quiet $(units) || true; \
	fi
	@rm -f "$(bindir)/taskspace" $(foreach unit,$(units),"$(unitdir)/$(unit)")
	@! systemctl --user show-environment >/dev/null 2>&1 || systemctl --user daemon-reload
	@echo "removed $(bindir)/taskspace and $(units)"

host-up: ## make and boot the test host (root only)
	@$(HOST) up

host-down: ## stop the test host
	@$(HOST) down

host-destroy: ## stop the test host and remove its files
	@$(HOST) destroy

shell: ## a shell in the test host, as its ordinary user
	@$(HOST) up
	@$(HOST) shell

clean: cargo ## remove what was built
	$(CARGO) clean
