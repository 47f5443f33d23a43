# turnpike: `make lab` shows it working, `make test` proves it. Both install the Debian packages that they
# need and say so; NO_INSTALL=1 turns that off.

SHELL := /bin/sh
.DELETE_ON_ERROR:
CARGO ?= cargo

.PHONY: help lab test test-clock conformance lint advisories bench bench-long bench-pure bench-policy mutants policy-mutants \
	fuzz soak policy-soak clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: ## raise a hub and three councils in network namespaces and show that the policy holds (root)
	@scripts/packages lab
	$(CARGO) build --release --locked
	target/release/turnpike lab demo

test: ## everything that must hold: lints, unit tests, and scenarios in network namespaces (root)
	@scripts/packages test
	@scripts/test

test-clock: ## the tunnel's time limits of 90, 120, 180 and 540 s, on a clock that the test advances
	$(CARGO) test --locked --features mock-clock --test clock

# Who is tried, the first of whom must hold everything; SUBJECT_COMMAND='wireguard-go -f {name}' adds any other.
SUBJECTS ?= turnpike,wireguard-go,boringtun-cli
export SUBJECT_COMMAND

conformance: ## turnpike, wireguard-go and boringtun-cli side by side: the kernel's own checks, hostile input (root)
	@scripts/packages test
	$(CARGO) test --release --locked --test conformance -- --include-ignored --subjects "$(SUBJECTS)"

lint: ## formatting, lints, documentation; licences where cargo-deny is installed
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check licenses bans sources; \
	else echo "SKIP cargo deny: install it with 'cargo install --locked cargo-deny'"; fi

advisories: ## known vulnerabilities in dependencies (fetches the RustSec database; needs cargo-deny)
	$(CARGO) deny --locked check advisories

# ONLY=relay,direct,small,ping SUBJECTS=turnpike,wireguard-go,boringtun-cli ROUNDS=5 choose; without them, all of it.
# The other implementations are had once, into target/bench/tools; what cannot be had is left out by name.
bench: ## turnpike tunnel beside wireguard-go and boringtun-cli, in under ten minutes (root)
	@scripts/packages bench
	@scripts/subjects || [ $$? -eq 69 ]
	$(CARGO) bench --locked --bench side_by_side

# ONLY=many,configured,handshakes,gateways
bench-long: ## the same with 388 and 5,000 peers, handshakes, and gateways with their whole policy (root)
	@scripts/packages bench-long
	@scripts/subjects || [ $$? -eq 69 ]
	$(CARGO) bench --locked --bench side_by_side -- long

bench-pure: ## criterion benchmarks of the pure parts
	$(CARGO) bench --locked --bench pure

# ONLY=check,diff,explain,load,traffic,revoke,relay ROUNDS=5 choose; JSON=1 prints JSON.
bench-policy: ## policy at the size of a country: 388 councils, 50,000 agreements, a hub of 100,000 rules (root)
	@scripts/packages bench
	$(CARGO) bench --locked --bench policy -- $(if $(JSON),--json)

mutants: ## break each rule of tests/mutants on purpose and see that its test notices
	@scripts/mutants

policy-mutants: ## the same by cargo-mutants for each line of the policy's compiler, evaluator and ruleset: hours (root)
	@scripts/packages test
	@scripts/policy-mutants

fuzz: ## 30 s of fuzzing for each parser of foreign bytes (needs a nightly toolchain and cargo-fuzz)
	@scripts/fuzz 30

# SOAK=600 for ten minutes
SOAK ?= 1800
soak: ## half an hour of load, roaming and rekeys, also against wireguard-go: no leak, no stuck session (root)
	@scripts/packages test
	TURNPIKE_SOAK_SECONDS=$(SOAK) $(CARGO) test --release --locked --test wireguard -- --nocapture --include-ignored soak

# DURATION=3600 seconds
DURATION ?= 3600
policy-soak: ## an hour of random definitions and packets: what kernels do against what the evaluator says (root)
	@scripts/packages test
	TURNPIKE_SECONDS=$(DURATION) $(CARGO) test --release --locked --test policy -- --nocapture the_kernel_decides

clean: ## remove what was built
	$(CARGO) clean
