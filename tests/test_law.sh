#!/usr/bin/env bash
# The source keeps its own law (tools/check_includes), and the check can fail: each breach below is
# made in a copy and must be named.
set -euo pipefail
root=${TTT_SOURCE_DIR:-$(cd "$(dirname "$0")/.." && pwd)}
check=$root/tools/check_includes
copy=$(mktemp -d "${TMPDIR:-/tmp}/ttt-law.XXXXXX")
trap 'rm -rf "$copy"' EXIT
failed=0

mkdir "$copy/tests"
cp -r "$root/src" "$root/include" "$copy"
for part in "$root"/tests/*; do
    [ "${part##*/}" = fixtures ] || cp -r "$part" "$copy/tests"
done

# breach FILE TEXT WORDS: with TEXT added to FILE the check fails and says WORDS of FILE.
breach() {
    local file=$1 text=$2 words=$3 said
    printf '%b\n' "$text" >>"$copy/$file"
    if said=$("$check" "$copy" 2>/dev/null); then
        echo "not noticed: $file with ${text:0:60}"
        failed=1
    elif ! grep -E "^($file|src:)" <<<"$said" | grep -qF "$words"; then
        echo "not named: $file: $words"
        failed=1
    fi
    cp "$root/$file" "$copy/$file"
}

long_function="int f(void)\n{\n$(printf ';\\n%.0s' {1..101})}"
breach src/base/log.c '#include "ops/ops.h"' 'is above base/'
breach src/backend/cpu.c '#include "model/model.h"' 'is above backend/'
breach src/ops/rope.c '#include "cli/command.h"' 'is above ops/'
breach src/model/tail.c '#  include "run/train.h"' 'is above model/'
breach src/data/loader.c '#include "model/config.h"' 'is not for data/'
breach src/run/train.c '#include "api/memory_file.h"' 'is not for run/'
breach src/api/ttt.c '#include "run/train.h"' 'is not for api/'
breach src/ops/rope.c '#include "opps/rope.h"' 'is not a folder of src'
breach src/ops/rope.c '#include <cblas.h>' 'is for backend/ only'
breach src/model/tail.c '#include <cuda_runtime.h>' 'is for .cu and .cuh files only'
breach src/backend/cpu.c '#include <cuda_runtime.h>' 'is for .cu and .cuh files only'
breach src/backend/cpu.c '#include "backend/launch.cuh"' 'is for .cu and .cuh files only'
breach src/ops/ops.h '#include "ops/kernel.cuh"' 'is for .cu and .cuh files only'
breach src/ops/rope.cu '#include <cublasLt.h>' 'is for backend/ only'
breach src/ops/rope.cu '#include "model/model.h"' 'is above ops/'
breach src/ops/kernel.cuh '#include "model/model.h"' 'is above ops/'
breach src/ops/rope.cu "$(printf ';\\n%.0s' {1..500})" 'lines, at most 500'
breach src/backend/cuda.cu 'static int calls;' 'a mutable global'
breach src/cli/cmd_read.c '#include "model/model.h"' 'through ttt.h only'
breach src/cli/session.c '#include "model/reader.h"' 'through ttt.h only'
breach src/base/log.c "$(printf ';\\n%.0s' {1..500})" 'lines, at most 500'
breach src/base/log.c "$long_function" 'a function of'
breach src/base/log.c "// $(printf 'x%.0s' {1..98})" 'columns, at most 100'
breach src/base/log.c 'static int calls;' 'a mutable global'
breach src/base/log.c 'static char *names[3] = {0};' 'a mutable global'
breach src/base/log.c 'unsigned long last_seen = 0;' 'a mutable global'
breach src/base/log.c "$(printf '#define M%d(x) x\\n' {1..15})" 'function-like macros'

"$check" "$copy" >/dev/null || { echo "the copy did not heal"; failed=1; }
"$check" "$root" || failed=1
exit $failed
