#!/usr/bin/env bash
# ttt bench on tiny models: every figure is there and agrees with the others, the table sums to the
# step, and bad requests get one clear line. Nothing here depends on how fast the machine is.
set -u
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
export TTT_CONFIG_DIR=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}/configs
ttt=$build/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"
. "$TTT_SOURCE_DIR/tools/lib-json.sh"
tiny=(+experiment=tiny/pretrain-tiny-e2e model.num_hidden_layers=3 model.hidden_size=32
    model.num_attention_heads=2 model.intermediate_size=48 model.mini_batch_size=16
    model.sliding_window_size=24 training.seq_length=80 training.global_batch_size=2
    training.eval_batch_size=2)
shared=(--threads 1 --steps 3 --warmup 1)

# refused STATUS PATTERN ARGUMENTS...: of `ttt bench`
refused() { refuse "$1" "$2" "$ttt" bench "${@:3}"; }

# measure ARGUMENTS...: runs the benchmark for JSON into the file out.
measure() {
    "$ttt" bench "$@" --json >out 2>err </dev/null || fail "bench $* failed: $(cat err)"
    [ "$(head -c 1 out)$(tail -n 1 out)" = '{}' ] || fail "bench $*: not one JSON object"
    if command -v python3 >/dev/null; then
        python3 -m json.tool out >/dev/null || fail "bench $*: not JSON"
    fi
}

# value PATH: what stands there in out.
value() { json_get out "$1"; }

# total PATTERN: the sum of all numbers whose path it matches.
total() {
    json_flat out | awk -F '\t' -v path="^$1\$" '$1 ~ path { s += $2 } END { print s }'
}

# near A B TOLERANCE WHAT: relative difference.
near() {
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN {
        d = a - b; if (d < 0) d = -d; exit !(a != "" && b > 0 && d <= t * b) }' ||
        fail "$4: $1 is not $2"
}

# What every kind of work reports, and how its figures hang together.
check_work() {
    local key typical=$1 tokens mean
    for key in tokens_per_second seconds_median seconds_min seconds_max seconds_mean \
        floor_flops_per_token floor_gflops peak_gflops share_of_peak peak_rss_mb; do
        awk -v x="$(value $key)" 'BEGIN { exit !(x + 0 > 0) }' || fail "$2: no $key"
    done
    tokens=$(value step_tokens)
    near "$(value tokens_per_second)" \
        "$(awk -v n="$tokens" -v s="$(value "$typical")" 'BEGIN { print n / s }')" 1e-3 "$2: speed"
    near "$(value floor_gflops)" "$(awk -v f="$(value floor_flops_per_token)" \
        -v s="$(value tokens_per_second)" 'BEGIN { print f * s / 1e9 }')" 1e-3 "$2: GFLOP/s"
    near "$(value share_of_peak)" "$(awk -v f="$(value floor_gflops)" -v p="$(value peak_gflops)" \
        'BEGIN { print f / p }')" 1e-3 "$2: share"
    # The profile: operations, phases and the step are the same seconds.
    mean=$(value seconds_mean)
    near "$(total 'profile[.]ops[.][0-9]+[.]seconds')" "$mean" 0.05 "$2: operations"
    near "$(total 'profile[.]phases[.].*')" "$mean" 0.05 "$2: phases"
    near "$(total 'profile[.]ops[.][0-9]+[.]share')" 1 1e-3 "$2: shares"
    near "$(total 'profile[.]ops[.][0-9]+[.]phases[.].*')" "$mean" 0.05 "$2: operations by phase"
}

# calls NAME: calls per step of a row of the profile.
calls() {
    awk -v op="\"$1\"," '/"op": / { on = $2 == op } on && /"calls": / { print $2 + 0 }' out
}

# --- training: batches and their parts, learning or not
measure train "${tiny[@]}" "${shared[@]}"
check_work seconds_median train
[ "$(value step_tokens)" = 160 ] || fail "train: a step is not 160 tokens"
[ "$(value steps)" = 3 ] || fail "train: not 3 steps"
[ "$(value learning)" = true ] || fail "train: no learning"
# 5 chunks, weights of the first and the fourth kept: those of the second and third again
[ "$(calls inner_sgd_forward)" = 6 ] || fail "train: not an inner step per chunk but the last"
[ "$(calls inner_sgd_backward)" = 4 ] || fail "train: not a dual pass per chunk but the last"
for phase in 'lead forward' 'tail forward' 'inner step' reverse 'lead backward' optimizer; do
    [ "$(value "profile.phases.$phase")" != - ] || fail "train: no phase '$phase'"
done
with=$(value floor_flops_per_token)
measure train "${tiny[@]}" "${shared[@]}" --no-learning training.accum_steps=2
check_work seconds_median 'train without learning'
[ "$(value step_tokens)" = 160 ] || fail "accumulation changes the step"
[ -z "$(calls inner_sgd_forward)" ] || fail "--no-learning learns"
awk -v a="$(value floor_flops_per_token)" -v b="$with" 'BEGIN { exit !(a < b) }' ||
    fail "learning costs nothing"

# --- evaluation, reading, generation
measure eval "${tiny[@]}" "${shared[@]}"
check_work seconds_median eval
[ -z "$(calls adamw)" ] || fail "eval updates weights"
measure read "${tiny[@]}" "${shared[@]}" --tokens 100
check_work seconds_median read
[ "$(value tokens_before)" = 100 ] || fail "read: 100 tokens are not read first"
[ "$(calls inner_sgd_forward)" = 5 ] || fail "read: a piece is not five chunks"
awk -v x="$(value speed_over_fresh)" 'BEGIN { exit !(x > 0) }' || fail "read: no comparison"
measure read "${tiny[@]}" "${shared[@]}" training.train_mode=pretrain
check_work seconds_median 'read without inner weights'
[ "$(value learning)" = false ] || fail "a pretrained model learns"
measure read "${tiny[@]}" "${shared[@]}" model.seq_modeling_block=self_attention
check_work seconds_median 'read with full attention'
measure generate "${tiny[@]}" --threads 1 --steps 40
check_work seconds_mean generate
grep -q '"pause_seconds": {' out || fail "generate: no pause in 40 tokens"
measure generate "${tiny[@]}" --threads 1 --steps 40 --batch 3
check_work seconds_mean 'generate three'
[ "$(value step_tokens)" = 3 ] || fail "--batch 3 is not three tokens a step"
grep -q '"pause_seconds": {' out || fail "generate three: no pause in 40 tokens"
for key in read_bytes read_gbs read_seconds token_over_read; do
    awk -v x="$(value $key)" 'BEGIN { exit !(x + 0 > 0) }' || fail "generate: no $key"
done

# --- the instruction sets, and bfloat16 where there is none of it
measure eval "${tiny[@]}" "${shared[@]}" --isa portable model.compute_dtype=bf16
[ "$(grep -c 'no bf16 instructions; products run in float32' err)" = 1 ] ||
    fail "not said once that bf16 runs in float32: $(cat err)"
[ "$(value isa)" = portable ] || fail "--isa is not heard"
[ "$(value compute)" = bf16 ] || fail "bf16 is not told"

measure generate "${tiny[@]}" --threads 1 --steps 20 --isa portable model.compute_dtype=bf16
[ "$(grep -c 'no bf16 instructions' err)" = 1 ] || fail "generate: not said once: $(cat err)"
measure eval "${tiny[@]}" "${shared[@]}" --isa portable
grep -q 'bf16' err && fail "float32 talks about bf16"

# --- the machine, and single operations
measure peak --threads 1
grep -q '"all_threads": [0-9]' out || fail "no peak"
for key in products_gflops bf16_gflops memory_gbs; do
    json_flat out | grep -q "^$key[.	]" || fail "peak: no $key"
done
measure ops --shape tiny --threads 1 model.vocab_size=300
grep -q '"op": "attention gradient, dual"' out || fail "ops: attention is missing"
awk '/"share_of_peak": / && !($2 + 0 > 0) { bad = 1 } END { exit bad }' out ||
    fail "ops: a row without a share"

# --- tables for people
"$ttt" bench train "${tiny[@]}" "${shared[@]}" >out 2>err || fail "no table: $(cat err)"
grep -qE '^gemm +[0-9.]+ +[0-9.]+' out || fail "no row of products"
grep -qE '^all +[0-9.]+ +100\.0' out || fail "the table does not sum to 100"

# --- bad requests
refused 2 'say what' --json
refused 2 "'tain' is none of" tain
refused 2 'peak takes no overrides' peak model.hidden_size=32
refused 2 'are for train, eval' peak --steps 3
refused 2 'tokens is for read, generate and data' train --tokens 10
refused 2 'batch is for generate' read --batch 2
refused 2 'shape is for ops' train --shape small
refused 2 'whole number from 1' train --steps 0
refused 2 'unknown option' eval --setps 3
refused 1 "instruction set 'avx1024'" eval "${tiny[@]}" --isa avx1024
refused 1 'hidden_siz' train model.hidden_siz=32
refused 1 'not a multiple' train "${tiny[@]}" model.hidden_size=33
refused 1 'MB are free' train "${tiny[@]}" training.global_batch_size=10000000
refused 1 'MB are free' eval "${tiny[@]}" training.eval_batch_size=10000000
refused 1 'full attention' read "${tiny[@]}" model.seq_modeling_block=self_attention --tokens 100
refused 1 '[Nn]othere-e2e' ops --shape nothere

exit $((failures > 0))
