# SPDX-License-Identifier: MIT OR Apache-2.0

# List what there is to do.
default:
    @just --list

# Fuzz all sound variants at once; builds the instrumented target itself.
fuzz *ARGS:
    cargo run --release -- fuzz {{ARGS}}

# All tests.
test:
    cargo test

# What CI runs.
ci:
    .ci/run

# Format, lints, docs.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Steps and runs a second; executions a second under libFuzzer beside an empty target.
bench:
    cargo bench -p shootdown --bench speed
    scripts/fuzz-speed

# Compare the machine with published verdicts on litmus tests.
litmus *ARGS:
    cargo run --release -- litmus {{ARGS}}

# Ignore each call site of each port in turn.
sabotage *ARGS:
    cargo run --release -- sabotage {{ARGS}}

# The time to each defect, over ten seeds: docs/zoo.md.
zoo *ARGS:
    cargo run --release -- zoo --markdown docs/zoo.md {{ARGS}}

# How many findings of the corpus still break after an edit of the ports.
robustness:
    scripts/robustness

# Accept changed report snapshots, after reading them.
snapshots:
    INSTA_UPDATE=always cargo test -p shootdown --test report
