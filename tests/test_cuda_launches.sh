#!/usr/bin/env bash
# Operations of CUDA graphs, which cost a GPU a microsecond or two each whatever they do: at most as
# many for a step of the published 125m as docs/speed.md says. The emulator writes them down and does
# nothing, so that the size does not matter.
set -u
. "$TTT_SOURCE_DIR/tests/shell.sh"
ttt=$TTT_BUILD_DIR/ttt
export TTT_CONFIG_DIR=$TTT_SOURCE_DIR/configs OMP_NUM_THREADS=1 TTT_EMULATOR_TRACE=trace
export TTT_CUDA_MODULE=$TTT_BUILD_DIR/libttt_emulated_fp32.so

# Operations of the largest record in a trace.
recorded() {
    awk '/^record$/ { on = 1; n = 0; next } /^recorded$/ { on = 0; if (n > most) most = n }
         on { n++ } END { print most + 0 }' trace
}
# at_most N COMMAND [arguments of ttt bench]
at_most() {
    expect 0 '' "$ttt" bench "${@:2}" +experiment=125m/pretrain/pretrain-125m-e2e \
        model.compute_dtype=bf16 --device cuda
    local n
    n=$(recorded)
    [ "$n" -gt 50 ] && [ "$n" -le "$1" ] || fail "$n operations are recorded, at most $1: ${*:2}"
}

one=(training.global_batch_size=1 training.accum_steps=1 training.eval_batch_size=1)
at_most 5195 train "${one[@]}" --steps 1
at_most 373 read --tokens 16384 --steps 1
at_most 70 generate --no-learning --tokens 64
late=$(awk '/^record$/ { on = 1 } /^recorded$/ { exit } on && !/early$/ { n++ } END { print n - 1 }' trace)
[ "$late" -le 4 ] || fail "$late of them wait for the one before to have ended"
exit $((failures > 0))
