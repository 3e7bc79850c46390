#!/usr/bin/env bash
# The CUDA backend without a GPU: its own sources on the emulator (tests/emulator), threads, warps and
# blocks in an order that a GPU may take as well, against the op table and the recorded cases; and
# what nvcc made of them, where there is a toolkit.
set -u
. "$TTT_SOURCE_DIR/tests/shell.sh"
fixtures=$TTT_SOURCE_DIR/tests/fixtures
cuda=$TTT_BUILD_DIR/libttt_cuda_fp32.so
export OMP_NUM_THREADS=2

emulated() { # fp32|fp64 COMMAND...
    TTT_CUDA_MODULE=$TTT_BUILD_DIR/libttt_emulated_$1.so "${@:2}"
}
table() { # ORDER: the op table
    TTT_TEST_DEVICE=cuda TTT_EMULATOR_ORDER=$1 emulated fp64 "$TTT_BUILD_DIR/test_ops"
}
parity() { # fp32|fp64 ORDER CASE [options]
    local program=ttt
    [ "$1" = fp64 ] && program=ttt-fp64
    TTT_EMULATOR_ORDER=$2 emulated "$1" "$TTT_BUILD_DIR/$program" parity --device cuda:0 "${@:4}" \
        "$fixtures/$3.json"
}

expect 0 'PASSED .* [0-9]+ test' table 1
for processors in 3 132; do # bfloat16 on tensor cores, of few processors and of an H100
    TTT_TEST_DEVICE=cuda TTT_EMULATOR_PROCESSORS=$processors expect 0 'PASSED .* [0-9]+ test' \
        emulated fp32 "$TTT_BUILD_DIR/test_attention"
done
TTT_TEST_DEVICE=cuda TTT_EMULATOR_FAIL=shared:99 TTT_EMULATOR_PROCESSORS=132 \
    expect 0 'PASSED .* [0-9]+ test' emulated fp32 "$TTT_BUILD_DIR/test_attention" # of an RTX GPU
TTT_EMULATOR_FAIL=algorithm expect 0 'PASSED .* [0-9]+ test' \
    emulated fp32 "$TTT_BUILD_DIR/test_cuda_products" # where the library has none
for name in A_meta_clip C_full_attention D_sliding_window F_meta_accum H_long_eval; do
    expect 0 ' 0 failed' parity fp64 forward "${name}_f64"
done
expect 0 ' 0 failed' parity fp32 forward F_meta_accum --out forward.safetensors

# Sums have an order of their own: the same bits, whichever way threads and blocks come.
expect 0 ' 0 failed' parity fp32 2 F_meta_accum --out shuffled.safetensors
cmp forward.safetensors shuffled.safetensors || fail "results depend on the order of threads"

# --- what nvcc made ---
if [ ! -e "$cuda" ]; then
    echo "SKIPPED: what nvcc makes: no CUDA toolkit 12.8 or newer was found, or it was left out" >&2
    refuse 1 'no CUDA backend .*install the CUDA toolkit' \
        "$TTT_BUILD_DIR/ttt" parity --device cuda:0 "$fixtures/F_meta_accum.json"
else
    names=$(nm -D --defined-only "$cuda" | awk '{ print $3 }')
    [ "$names" = ttt_cuda_machine ] || fail "the module shows more than its entry: $names"
    for part in sm_80 sm_90 compute_90; do
        grep -qa -e "-arch $part" -e "$part" "$cuda" || fail "no $part in $cuda"
    done
    if [ ! -e /dev/nvidia0 ]; then
        refuse 1 'no GPU can be used: .*nvidia-smi' \
            "$TTT_BUILD_DIR/ttt" parity --device cuda:0 "$fixtures/F_meta_accum.json"
    fi
fi
exit $((failures > 0))
