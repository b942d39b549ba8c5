#!/usr/bin/env bash
# Builds the agent for hosts that are too old for the package: one program that needs no more than version 2.17 of
# the C library (CentOS 7, Kylin V10, UOS), packed with what belongs to it into <target folder>/packages.
# `make old-hosts` installs cargo-zigbuild and zig first. Zig is the C compiler and the linker here: it knows which
# function came with which version of the library.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly GLIBC=2.17
readonly TARGET="${CARGO_TARGET_DIR:-target}"
readonly CACHE="${HUTONG_CACHE:-$HOME/.cache/hutong}"
MACHINE=$(uname -m)
readonly MACHINE TRIPLE="$MACHINE-unknown-linux-gnu"

zig=$(find "$CACHE/tools" -maxdepth 1 -name 'zig-*' | sort -V | tail -n 1)
[ -n "$zig" ] || { echo "zig is missing: deploy/setup.sh --old-hosts" >&2; exit 1; }
PATH="$CACHE/tools/bin:$zig/bin:$PATH"

# A folder of its own: what is compiled for an old library must not mix with what other targets made.
CARGO_TARGET_DIR="$TARGET/old-hosts" cargo zigbuild --release --locked -p hutong-agent --target "$TRIPLE.$GLIBC"
program="$TARGET/old-hosts/$TRIPLE/release/hutong-agent"
deploy/check-glibc.sh "$program" "$GLIBC"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name="hutong-agent-$version-$MACHINE-glibc$GLIBC"
folder="$TARGET/packages/$name"
rm -rf "$folder" "$folder.tar.gz"
mkdir -p "$folder"
strip --strip-all -o "$folder/hutong-agent" "$program"
cp deploy/systemd/old-hosts/hutong-agent.service deploy/deb/agent/agent.toml deploy/agent.sample.toml \
    docs/agent-guide.md LICENSE "$folder"
tar --create --gzip --file "$folder.tar.gz" --owner=0 --group=0 --sort=name -C "$TARGET/packages" "$name"
rm -rf "$folder"
echo "$folder.tar.gz: $(stat -c %s "$folder.tar.gz") bytes"
