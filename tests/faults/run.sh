#!/usr/bin/env bash
# Plants a bug in a copy of the sources and shows that a test catches it.
#
#   tests/faults/run.sh acknowledge-before-fsync
#
# The head of the patch names the test and the words that it must fail with (a regular expression).
# Ends with 0 only if it failed so. The copy is a temporary worktree of the last commit; it is built
# in HUTONG_FAULTS_TARGET (default: target/faults), which may be any other target folder as well:
# then dependencies are not compiled again.
set -euo pipefail

cd "$(dirname "$0")/../.."
name=$(basename "${1:?name a patch in tests/faults}" .patch)
patch=$PWD/tests/faults/$name.patch
[ -f "$patch" ] || { echo "there is no $patch" >&2; exit 2; }

said() { sed -n "s/^$1: *//p" "$patch" | head -n 1; }
read -r file test <<<"$(said Test)"
expect=$(said Expect)

export CARGO_TARGET_DIR=${HUTONG_FAULTS_TARGET:-$PWD/target/faults}
mkdir -p "$CARGO_TARGET_DIR"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/hutong-fault-XXXXXX")
root=$PWD
clean() {
    cd "$root"
    git worktree remove --force "$work/tree" || true
    rm -rf "$work"
}
trap clean EXIT

git worktree add --quiet --detach "$work/tree" HEAD
cd "$work/tree"
git apply "$patch"
# Where the prepared RocksDB archive lies; without it RocksDB is compiled.
if [ -f "$root/.cargo/config.toml" ]; then
    mkdir -p .cargo
    cp "$root/.cargo/config.toml" .cargo/
fi
cargo build --quiet --workspace --bins
cargo test --quiet -p hutong-tests --test "$file" --no-run

mkdir "$work/tmp"
export HUTONG_BIN_DIR=$CARGO_TARGET_DIR/debug
if TMPDIR=$work/tmp RUST_BACKTRACE=0 cargo test --quiet -p hutong-tests --test "$file" -- --exact "$test" >"$work/out" 2>&1; then
    echo "$name: NOT CAUGHT by $file $test"
    exit 1
fi
# What the test says stands behind its name; before it stand the ends of the programs' logs.
sed -n '/^failures:/,$p' "$work/out" | grep -v '^different: ' | tee "$work/said"
if grep -qE "$expect" "$work/said"; then
    echo "$name: caught by $file $test"
else
    echo "$name: $file $test failed, but not with: $expect"
    exit 1
fi
