#!/usr/bin/env bash
# Prepares a Debian or Ubuntu machine for building Hutong. Safe to run again: it does only what is missing.
#
#   deploy/setup.sh           what `cargo build` and `cargo test` need
#   deploy/setup.sh --lint    the first and cargo-deny, which only `make lint` and CI use
#   deploy/setup.sh --fuzz    the first and cargo-fuzz, for `make fuzz`
#   deploy/setup.sh --packages   the first and cargo-deb, for `make packages` and its test in `make test`
#   deploy/setup.sh --old-hosts  what the build needs, cargo-zigbuild and zig, for `make old-hosts`
#   deploy/setup.sh --instructions   what the build needs and valgrind, for `make instructions`
#   deploy/setup.sh --key     print the cache key of the RocksDB archive and stop
#
# RocksDB's C++ takes a quarter of an hour to compile on two cores. It is compiled once per version, feature set
# and compiler into $HUTONG_CACHE (default ~/.cache/hutong), and every profile, clone and CI run links that archive:
# .cargo/config.toml, written at the end, tells Cargo where it is.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly CACHE="${HUTONG_CACHE:-$HOME/.cache/hutong}"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

main() {
    case "${1:-}" in
        --key) rocksdb_key; return ;;
        --lint | --fuzz | --instructions | --packages | --old-hosts | '') ;;
        *) fail "unknown option $1 (see the head of this file)" ;;
    esac
    install_packages "${1:-}"
    check_rust
    provide_rocksdb
    write_cargo_config
    case "${1:-}" in
        --lint) provide_tool cargo-deny 0.20.2 6 ;;
        --fuzz) provide_tool cargo-fuzz 0.13.2 2 ;;
        --packages) provide_tool cargo-deb 3.8.0 3 ;;
        --old-hosts)
            provide_tool cargo-zigbuild 0.24.1 3
            provide_zig 0.15.2
            ;;
    esac
    say "ready"
}

# ---------------------------------------------------------------- system packages

# libclang.so, libclang.so.1 or libclang-14.so.1; libclang-cpp.so.14, which other packages bring along, is not it.
have_libclang() {
    { compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || true; ldconfig -p 2>/dev/null || true; } |
        grep -qE 'libclang(-[0-9.]+)?\.so'
}

# gcc is enough for aws-lc and zstd (no cmake, no nasm); bindgen needs libclang to read RocksDB's C header.
install_packages() {
    local missing=()
    if ! command -v cc >/dev/null || ! command -v c++ >/dev/null || ! command -v make >/dev/null; then
        missing+=(build-essential)
    fi
    have_libclang || missing+=(libclang-dev)
    command -v git >/dev/null || missing+=(git)
    if [ "$1" = --instructions ] && ! command -v valgrind >/dev/null; then missing+=(valgrind); fi
    if [ "$1" = --packages ]; then
        # systemd-analyze checks the units; adduser is what the packages ask for.
        command -v systemd-analyze >/dev/null || missing+=(systemd)
        command -v adduser >/dev/null || missing+=(adduser)
        # Tests start servers of their own from these, on free ports in temporary folders.
        compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
        command -v mariadbd >/dev/null || missing+=(mariadb-server)
    fi
    if [ "$1" = --old-hosts ] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3-venv); fi
    # Tests give a program another clock with it.
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
    if [ ${#missing[@]} -eq 0 ]; then return; fi

    command -v apt-get >/dev/null || fail "install by hand what is missing here: ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "run as root, or install: ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]} (about a minute)"
    "${as_root[@]}" apt-get update -qq
    # The packages' own services are not wanted: nothing is started while this file is there (invoke-rc.d(8)).
    local policy=/usr/sbin/policy-rc.d ours=
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
    fi
    local failed=0
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
        failed=$?
    if [ -n "$ours" ]; then "${as_root[@]}" rm -f "$policy"; fi
    return "$failed"
}

check_rust() {
    command -v cargo >/dev/null ||
        fail "no cargo: install rustup (from your distribution or from its own site) and run this again"
    cargo --version >/dev/null ||
        fail "the toolchain named in rust-toolchain.toml is missing: 'rustup toolchain install' fetches it"
}

# ---------------------------------------------------------------- RocksDB

locked_version() {
    awk -v name="\"$1\"" '$1 == "name" { hit = ($3 == name) } hit && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' \
        Cargo.lock
}

# Hardware CRC32C; every x86-64 server since 2011 and every 64-bit ARM server has it.
rocksdb_flags() {
    case "$(uname -m)" in
        x86_64) echo "-msse4.2 -mpclmul" ;;
        aarch64) echo "-march=armv8-a+crc+crypto" ;;
        *) echo "" ;;
    esac
}

rocksdb_features() {
    sed -n 's/^rocksdb = .*features = \[\(.*\)\].*/\1/p' Cargo.toml | tr -d '" ' | tr ',' '\n' |
        grep -v '^bindgen-' | sort | paste -sd+ -
}

# Everything that decides the archive's bytes; written beside the archive as well.
rocksdb_description() {
    echo "librocksdb-sys $(locked_version librocksdb-sys)"
    echo "features $(rocksdb_features)"
    echo "headers lz4-sys $(locked_version lz4-sys), zstd-sys $(locked_version zstd-sys)"
    echo "compiler $("${CXX:-c++}" --version | head -n 1), $("${CXX:-c++}" -dumpmachine)"
    echo "flags -O3 $(rocksdb_flags)"
}

rocksdb_key() {
    echo "$(locked_version librocksdb-sys)-$(rocksdb_features)-$(rocksdb_description | sha256sum | cut -c1-12)"
}

provide_rocksdb() {
    ROCKSDB_HOME="$CACHE/rocksdb/$(rocksdb_key)"
    if [ -s "$ROCKSDB_HOME/librocksdb.a" ]; then
        say "RocksDB archive found: $ROCKSDB_HOME"
        return
    fi
    mkdir -p "$CACHE/rocksdb"
    # Two runs at once (two clones, say) would otherwise compile the same thing twice.
    exec 9>"$CACHE/rocksdb/lock"
    if ! flock -n 9; then
        say "another setup is compiling RocksDB: waiting for it"
        flock 9
    fi
    if [ ! -s "$ROCKSDB_HOME/librocksdb.a" ]; then compile_rocksdb; fi
    exec 9>&-
}

compile_rocksdb() {
    local work sources total started
    work="$CACHE/rocksdb/build-$(rocksdb_key)"
    started=$SECONDS
    say "compiling RocksDB once (about 16 minutes on 2 cores; log: $work/build.log)"
    mkdir -p "$work"
    # An interrupted build starts over: librocksdb-sys' build script cannot resume, and its objects' names are
    # reused, so that a half-written one could slip in.
    rm -rf "$work/target"

    ROCKSDB_COMPILE=1 CXXFLAGS="$(rocksdb_flags)" CARGO_TARGET_DIR="$work/target" \
        CARGO_PROFILE_RELEASE_DEBUG=false CARGO_TERM_COLOR=never \
        cargo build --release --locked -p librocksdb-sys >"$work/build.log" 2>&1 9>&- &
    local build=$!
    # shellcheck disable=SC2064
    trap "kill $build 2>/dev/null || true" EXIT
    sources=$(cargo metadata --locked --format-version 1 2>/dev/null |
        grep -o '"[^"]*/librocksdb-sys-[^"]*/Cargo.toml"' | head -n 1 | tr -d '"' || true)
    total=$(grep -c . "$(dirname "${sources:-/nowhere/x}")/rocksdb_lib_sources.txt" 2>/dev/null || echo 350)
    local shown=0 objects
    while kill -0 "$build" 2>/dev/null; do
        sleep 5
        objects=$(find "$work/target" -path '*librocksdb-sys*' -name '*.o' 2>/dev/null | wc -l)
        if [ $((SECONDS - shown)) -ge 30 ]; then
            shown=$SECONDS
            say "  RocksDB: $objects of about $total files, $(((SECONDS - started) / 60)) min"
        fi
    done
    if ! wait "$build"; then
        tail -n 30 "$work/build.log" >&2
        fail "RocksDB did not compile; the whole log: $work/build.log"
    fi
    trap - EXIT
    local archive
    archive=$(find "$work/target" -path '*librocksdb-sys*/out/librocksdb.a' | head -n 1)
    [ -s "$archive" ] || fail "the build left no librocksdb.a under $work/target"
    install_archive "$archive"
    rm -rf "$work"
    say "RocksDB compiled in $(((SECONDS - started) / 60)) min: $ROCKSDB_HOME"
}

# The folder appears whole or not at all, so that a reader never links half an archive.
install_archive() {
    # LZ4 and zstd come from their own crates; a second copy inside the archive would clash when linking.
    if nm --defined-only "$1" 2>/dev/null | grep -qE ' T (LZ4_compress_default|ZSTD_compress)$'; then
        fail "the archive carries its own LZ4 or zstd"
    fi
    local fresh
    fresh=$(mktemp -d "$CACHE/rocksdb/new.XXXXXX")
    chmod 755 "$fresh"
    cp "$1" "$fresh/librocksdb.a"
    rocksdb_description >"$fresh/BUILT-FROM"
    rm -rf "$ROCKSDB_HOME"
    mv -T "$fresh" "$ROCKSDB_HOME"
}

# Cargo reads this file in every call, so that a plain `cargo test` works as well as `make test`.
write_cargo_config() {
    local text
    text=$(
        cat <<CONFIG
# Written by deploy/setup.sh; not part of the sources. Run it again after an update of RocksDB or the compiler.
[env]
ROCKSDB_LIB_DIR = "$ROCKSDB_HOME"
ROCKSDB_STATIC = "1"
# The system's randomness is enough: measuring the processor's jitter as well costs each start 50 ms.
AWS_LC_SYS_NO_JITTER_ENTROPY = "1"
CONFIG
    )
    mkdir -p .cargo
    if [ "$(cat .cargo/config.toml 2>/dev/null)" != "$text" ]; then
        printf '%s\n' "$text" >.cargo/config.toml.new
        mv .cargo/config.toml.new .cargo/config.toml
        say "wrote .cargo/config.toml"
    fi
}

# ---------------------------------------------------------------- tools

# provide_tool NAME VERSION MINUTES. Unoptimised: it compiles in a third of the time and is quick enough.
provide_tool() {
    local stamp="$CACHE/tools/$1-$2"
    if [ ! -e "$stamp" ]; then
        say "compiling $1 once (about $3 minutes on 2 cores)"
        CARGO_PROFILE_DEV_DEBUG=false CARGO_TARGET_DIR="$CACHE/tools/build" \
            cargo install --quiet --locked --force --debug --root "$CACHE/tools" "$1@$2"
        rm -rf "$CACHE/tools/build"
        touch "$stamp"
    fi
    say "$1 found in $CACHE/tools/bin"
}

# provide_zig VERSION. The compiler and C library headers of Zig, as its package for Python brings them: a C
# compiler that links against any version of the C library. The environment's `python-zig` is on the PATH of
# deploy/old-hosts.sh only.
provide_zig() {
    local home="$CACHE/tools/zig-$1"
    if [ ! -e "$home/complete" ]; then
        say "installing zig $1"
        rm -rf "$home"
        python3 -m venv "$home"
        "$home/bin/pip" install --quiet --disable-pip-version-check "ziglang==$1"
        touch "$home/complete"
    fi
    say "zig $1 found in $home/bin"
}

main "$@"
