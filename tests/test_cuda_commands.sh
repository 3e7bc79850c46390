#!/usr/bin/env bash
# The commands on a GPU, by the emulator: what the CPU says is what the GPU says, in fp32 and bf16, and
# what one has written the other goes on from.
set -u
. "$TTT_SOURCE_DIR/tests/shell.sh"
export TTT_CUDA_MODULE=$TTT_BUILD_DIR/libttt_emulated_fp32.so OMP_NUM_THREADS=1
export TTT_CONFIG_DIR=$TTT_SOURCE_DIR/configs
ttt=$TTT_BUILD_DIR/ttt
cd "$work" || exit 1
tiny=(+experiment=tiny/pretrain-tiny-e2e model.num_hidden_layers=2 model.hidden_size=16
    model.num_attention_heads=2 model.intermediate_size=24 model.suffix_len=1
    model.mini_batch_size=8 model.sliding_window_size=12 training.seq_length=32
    training.global_batch_size=2 training.optimizer_outer.lr_warmup_steps=1
    training.optimizer_outer.lr_decay_steps=6 training.total_steps=6 training.eval_sequences=0
    training.save_milestone_freq=3 training.exp_folder=f training.exp_dir=runs
    training.dataset_path=data)

near() { # FILE FILE: numbers of the two agree to 1e-4
    paste "$1" "$2" | awk '{ d = $1 - $2; if (d < 0) d = -d; if (!(d <= 1e-4 * $2)) exit 1; n++ }
        END { exit !n }' || fail "$1 and $2 differ: $(paste "$1" "$2" | head -n 3)"
}
losses() { sed -n 's/.*"loss":\([0-9.e+-]*\).*/\1/p' "runs/f/$1/log.jsonl"; }

cat "$TTT_SOURCE_DIR"/src/ops/*.c >text
expect 0 '' "$ttt" data encode text --out data

# --- training: the first half on one, the second on the other ---
expect 0 ' 6 steps' "$ttt" train "${tiny[@]}" training.exp_name=cpu
expect 0 ' 3 steps' "$ttt" train "${tiny[@]}" training.exp_name=gpu training.break_step=3 --device cuda
expect 0 ' 6 steps' "$ttt" train "${tiny[@]}" training.exp_name=gpu
expect 0 ' 3 steps' "$ttt" train "${tiny[@]}" training.exp_name=back training.break_step=3
expect 0 ' 6 steps' "$ttt" train "${tiny[@]}" training.exp_name=back backend=gpu
for name in cpu gpu back; do losses "$name" >"$name.loss"; done
near gpu.loss cpu.loss
near back.loss cpu.loss

# --- reading and generating, across inner steps, with memories handed over ---
model=runs/f/cpu/model
head -c 100 text >some
for device in cpu cuda; do
    expect 0 'steps taken' "$ttt" read "$model" some --memory "$device.ttt" --device "$device"
done
# Where copies read the host's memory late, nothing of it is changed before: the same memory.
undated() { LC_ALL=C sed 's/"created":"[^"]*"//; s/"crc32c":"[^"]*"//' "$1"; }
TTT_EMULATOR_FAIL=late-reads expect 0 'steps taken' "$ttt" read "$model" some --memory late.ttt --device cuda
cmp <(undated late.ttt) <(undated cuda.ttt) || fail "memory was changed before it was read"

say() { # MEMORY OPTIONS...
    "$ttt" generate "$model" --memory "$1" --prompt 'static ' --max-tokens 30 --seed 3 "${@:2}" 2>/dev/null
}
say cpu.ttt >want
[ -s want ] || fail "nothing was generated"
for memory in cpu cuda; do
    for device in cpu cuda; do
        say $memory.ttt --device $device | cmp - want || fail "$memory's memory on $device says something else"
    done
done
# A GPU lost in mid-text leaves the memory as it was.
cp cuda.ttt kept.ttt
head -c 400 text >more
TTT_EMULATOR_FAIL=sync:40 refuse 1 '^ttt read: .*the GPU failed .*unspecified launch failure' \
    "$ttt" read "$model" more --memory kept.ttt --device cuda
cmp kept.ttt cuda.ttt || fail "a lost GPU changed the memory"
expect 0 'steps taken' "$ttt" read "$model" more --memory kept.ttt --device cuda

printf 'int a\nfor (\nreturn' >prompts
for device in cpu cuda; do
    "$ttt" generate "$model" --prompts prompts --batch 3 --max-tokens 20 --device $device >many.$device 2>&1 ||
        fail "three at once on $device: $(cat many.$device)"
done
cmp many.cpu many.cuda || fail "three at once differ"

# --- evaluation and benchmarks ---
for device in cpu cuda; do
    "$ttt" eval "$model" --data data --split train --max-sequences 2 --length 32 --json \
        --device $device 2>err >eval.json || fail "eval on $device: $(cat err)"
    sed -n 's/.*"token_mean": *\([0-9.e+-]*\).*/\1/p' eval.json >eval.$device
done
near eval.cuda eval.cpu
expect 0 '"tokens_per_second": [0-9]' "$ttt" bench train "${tiny[@]}" --device cuda --steps 1 --json
exit $((failures > 0))
