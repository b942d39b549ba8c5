#!/usr/bin/env bash
# deploy/check-glibc.sh PROGRAM VERSION: fails when the program needs a newer C library than VERSION, with the
# functions that do.
set -euo pipefail

readonly PROGRAM="$1" NEWEST="$2"

# Lines of `objdump -T` such as "0000 DF *UND* 0000 (GLIBC_2.34) pthread_create", as "2.34 pthread_create".
needed() {
    objdump -T "$PROGRAM" | sed -n 's/.*\*UND\*.*[( ]GLIBC_\([0-9.]*\))\{0,1\} *\(.*\)$/\1 \2/p' | sort -V
}

all=$(needed)
if [ -z "$all" ]; then
    echo "$PROGRAM: no function of a C library of GNU is named; is it a dynamic program?" >&2
    exit 1
fi
too_new=$(while read -r version name; do
    if [ "$(printf '%s\n%s\n' "$version" "$NEWEST" | sort -V | tail -n 1)" != "$NEWEST" ]; then
        echo "  GLIBC_$version $name"
    fi
done <<<"$all")
if [ -n "$too_new" ]; then
    printf '%s: needs more than GLIBC_%s:\n%s\n' "$PROGRAM" "$NEWEST" "$too_new" >&2
    exit 1
fi
echo "$PROGRAM: needs GLIBC_$(tail -n 1 <<<"$all" | cut -d' ' -f1), at most $NEWEST is allowed"
