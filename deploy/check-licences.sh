#!/usr/bin/env bash
# Licences, bans and sources of all dependencies by deny.toml. Advisories only where their database is at hand, because it
# cannot be fetched everywhere; run `cargo deny fetch` once to have it.
set -euo pipefail

cd "$(dirname "$0")/.."
PATH="${HUTONG_CACHE:-$HOME/.cache/hutong}/tools/bin:$PATH"

checks=(licenses bans sources)
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
    checks+=(advisories)
else
    echo "check-licences: no advisory database at hand, advisories are not checked"
fi
cargo deny --log-level error check "${checks[@]}"
