#!/usr/bin/env bash
# The memory plan against the peak that the process reached: within 5 %, whatever is trained and
# whatever is computed again. Sanitizers keep shadow memory of their own: skipped there.
set -u
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
export TTT_CONFIG_DIR=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}/configs
grep -q '^SANITIZE:STRING=.' "$build/CMakeCache.txt" && echo "skipped: sanitizer" && exit 77
. "$TTT_SOURCE_DIR/tests/shell.sh"

# within ARGUMENTS...: one step; prints plan and peak in MB
within() {
    "$build/ttt" bench train "$@" --threads 2 --steps 1 --warmup 0 --json >"$work/out" 2>"$work/err" </dev/null
    plan=$(sed -n 's/^memory: \([0-9.]*\) MB in all.*/\1/p' "$work/err")
    peak=$(sed -n 's/.*"peak_rss_mb": \([0-9.]*\).*/\1/p' "$work/out")
    echo "plan $plan MB, peak $peak MB: $*"
    awk -v plan="${plan:-0}" -v peak="${peak:-0}" \
        'BEGIN { exit !(plan > 0 && peak > 0.95 * plan && peak < 1.05 * plan) }' && return
    fail "plan and peak differ by more than 5 %: $*"
}

e2e=+experiment=tiny/pretrain-tiny-e2e
within $e2e
within $e2e model.compute_dtype=bf16
within $e2e training.activation_mb=60
within $e2e training.activation_mb=1
within $e2e training.global_batch_size=2 training.seq_length=2048
within +experiment=tiny/pretrain-tiny-fa
exit $((failures > 0))
