#!/usr/bin/env bash
# Data races of the CUDA kernels, found on the emulator (tests/emulator/race.h): kernels against the
# CPU's, parts of the op table and of attention's cases, a recorded case, training, reading and
# generation. `./run race` sets TTT_RACE=all: all cases, in other orders too.
set -u
. "$TTT_SOURCE_DIR/tests/shell.sh"
ttt=$TTT_BUILD_DIR/ttt
fixtures=$TTT_SOURCE_DIR/tests/fixtures
export OMP_NUM_THREADS=1 TTT_CONFIG_DIR=$TTT_SOURCE_DIR/configs
for precision in fp32 fp64; do
    [ -e "$TTT_BUILD_DIR/libttt_emulated_races_$precision.so" ] || {
        echo "SKIPPED: no module that finds races; cmake --build $TTT_BUILD_DIR --target races" >&2
        exit 77
    }
done

# watched fp32|fp64 PATTERN COMMAND...: no race, and what is computed is right, as the command says.
watched() {
    TTT_CUDA_MODULE=$TTT_BUILD_DIR/libttt_emulated_races_$1.so TTT_TEST_DEVICE=cuda \
        expect 0 "$2" "${@:3}"
}
parity() { # fp32|fp64 CASE
    local program=ttt
    [ "$1" = fp64 ] && program=ttt-fp64
    watched "$1" ' 0 failed' "$TTT_BUILD_DIR/$program" parity --device cuda "$fixtures/$2.json"
}

# tiny EXPERIMENT NAME [overrides]: two steps, two layers; heads of 64 in bf16 use tensor cores.
tiny() {
    watched fp32 ' 2 steps' "$ttt" train +experiment="tiny/$1" training.exp_name="$2" \
        model.num_hidden_layers=2 model.hidden_size=64 model.num_attention_heads=1 \
        model.intermediate_size=40 training.seq_length=32 training.global_batch_size=2 \
        training.optimizer_outer.lr_warmup_steps=1 training.optimizer_outer.lr_decay_steps=2 \
        training.total_steps=2 training.eval_sequences=0 training.exp_folder=f \
        training.exp_dir=runs training.dataset_path=data --device cuda "${@:3}"
}
sliding=(model.sliding_window_size=12)
inner=("${sliding[@]}" model.suffix_len=1 model.mini_batch_size=8)

table='PASSED .* [0-9]+ test'
if [ "${TTT_RACE:-}" = all ]; then
    orders='forward reverse 3' every=1
    cases='A_meta_clip C_full_attention D_sliding_window F_meta_accum H_long_eval'
else
    orders=forward every=6
    cases=F_meta_accum
fi
cat "$TTT_SOURCE_DIR"/src/ops/*.c >text
expect 0 '' "$ttt" data encode text --out data
for order in $orders; do
    export TTT_EMULATOR_ORDER=$order
    watched fp32 "$table" "$TTT_BUILD_DIR/test_cuda_ops"
    for test in test_cuda_rows test_cuda_ends test_attention; do
        TTT_TEST_EVERY=$every watched fp32 "$table" "$TTT_BUILD_DIR/$test"
    done
    TTT_TEST_EVERY=$((every == 1 ? 1 : 20)) watched fp64 "$table" "$TTT_BUILD_DIR/test_ops"
    for name in $cases; do
        parity fp32 "$name"
        [ $every = 1 ] && parity fp64 "${name}_f64"
    done
    tiny pretrain-tiny-e2e "inner-$order" model.compute_dtype=bf16 "${inner[@]}"
    if [ $every = 1 ]; then
        tiny pretrain-tiny-e2e "inner32-$order" "${inner[@]}"
        tiny pretrain-tiny-swa "sliding-$order" model.compute_dtype=bf16 "${sliding[@]}"
        tiny pretrain-tiny-fa "full-$order" model.compute_dtype=bf16
    fi
    head -c 60 text >some
    watched fp32 'steps taken' "$ttt" read "runs/f/inner-$order/model" some --memory m.ttt --device cuda
    watched fp32 '' "$ttt" generate "runs/f/inner-$order/model" --memory m.ttt --prompt 'int ' \
        --max-tokens 8 --device cuda
done
exit $((failures > 0))
