#!/usr/bin/env bash
# The levels that know the machine compile for AArch64 (portable kernels, no oneDNN), without a
# warning, in both number types. Needs Debian's gcc-aarch64-linux-gnu; nothing is run.
set -u
source_dir=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}
cc=aarch64-linux-gnu-gcc
if ! command -v $cc >/dev/null; then
    echo "SKIPPED: no $cc here (Debian: gcc-aarch64-linux-gnu)"
    exit 77
fi
cd "$source_dir" || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/ttt-aarch64-XXXXXX")
trap 'rm -rf "$work"' EXIT

# The product library's header says the same on every machine.
blas=$(find /usr/include -name cblas.h -path '*openblas*' -exec dirname {} \; | head -1)
[ -n "$blas" ] || echo "SKIPPED: gemm_cpu.c, there is no cblas.h"
flags=(-std=gnu11 -O1 -D_GNU_SOURCE -DISA=portable -DHAVE_ISA_PORTABLE -Isrc -Iinclude -fopenmp
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fno-math-errno)
[ -n "$blas" ] && flags+=(-isystem "$blas" -DHAVE_OPENBLAS)

compile() {
    local object
    object=$(mktemp "$work/XXXXXX.o")
    $cc "${flags[@]}" ${2:+"$2"} -c "$1" -o "$object" || echo "FAILED: $1 $2" >>"$work/failed"
}
for file in src/base/*.c src/backend/*.c src/ops/*.c src/ops/composed/*.c; do
    [ -z "$blas" ] && [ "$file" = src/backend/gemm_cpu.c ] && continue
    compile "$file" "" &
    compile "$file" -DTTT_FP64
    wait
done
[ -s "$work/failed" ] || exit 0
cat "$work/failed"
exit 1
