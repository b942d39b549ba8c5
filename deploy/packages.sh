#!/usr/bin/env bash
# Builds the packages of agent and hub for Debian 12 and everything newer, into <target folder>/packages.
# `make packages` installs cargo-deb first.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly TARGET="${CARGO_TARGET_DIR:-target}"
# Debian 12 has this C library.
readonly GLIBC=2.36

PATH="${HUTONG_CACHE:-$HOME/.cache/hutong}/tools/bin:$PATH"
# The tests' programs as well: so that features, and thus all compiled packages, are those of the other targets.
cargo build --release --locked -p hutong-hub -p hutong-agent -p hutong-tests
mkdir -p "$TARGET/packages"
for name in agent hub; do
    deploy/check-glibc.sh "$TARGET/release/hutong-$name" "$GLIBC"
    rm -f "$TARGET/packages/hutong-${name}_"*.deb
    cargo-deb --package "hutong-$name" --no-build --locked --output "$TARGET/packages/"
done
