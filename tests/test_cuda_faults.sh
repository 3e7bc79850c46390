#!/usr/bin/env bash
# What a GPU does to a run when it fails, by the emulator's faults on demand (tests/emulator/faults.h):
# no driver, one too old, no device, no memory, a kernel refused, a GPU lost in mid-run, NaN. One line
# for each, and the last checkpoint goes on to what an undisturbed run ends with, bit for bit.
set -u
. "$TTT_SOURCE_DIR/tests/shell.sh"
export TTT_CUDA_MODULE=$TTT_BUILD_DIR/libttt_emulated_fp32.so OMP_NUM_THREADS=1

tiny=(+experiment=tiny/pretrain-tiny-e2e model.num_hidden_layers=2 model.hidden_size=16
    model.num_attention_heads=2 model.intermediate_size=24 model.suffix_len=1
    model.mini_batch_size=8 model.sliding_window_size=12 training.seq_length=32
    training.global_batch_size=2 training.optimizer_outer.lr_warmup_steps=1
    training.optimizer_outer.lr_decay_steps=4 training.total_steps=4
    training.save_milestone_freq=2 training.dummy_dataset=true training.exp_folder=f
    training.exp_dir="$work/runs")

train() { # FAULT NAME [overrides]
    TTT_EMULATOR_FAIL=$1 "$TTT_BUILD_DIR/ttt" train --config-dir "$TTT_SOURCE_DIR/configs" \
        --threads 1 "${tiny[@]}" training.exp_name="$2" "${@:3}"
}
checkpoints() { ls "$work/runs/f/$1/checkpoints" 2>/dev/null | tr '\n' ' '; }

# fault FAULT PATTERN [overrides]: the run named after the fault ends with one line that matches.
fault() {
    expect 1 "^ttt train: .*$2" train "$1" "${1%%:*}" --device cuda "${@:3}"
    [ "$(grep -c '^ttt' err)" -eq 1 ] || fail "$1: not one line: $(cat err)"
}

fault driver 'no GPU can be used: CUDA driver version is insufficient.*nvidia-smi'
fault old-driver 'no GPU can be used: CUDA driver version is insufficient.*nvidia-smi'
fault device 'no GPU can be used: no CUDA-capable device.*nvidia-smi'
expect 1 "device 'cuda:1' is not there" train '' x --device cuda:1
expect 1 "device 'cuda:x' is not there" train '' x --device cuda:x
fault memory:20 'MB free.*nvidia-smi'
fault memory:60 'a step needs .* MB are free'
fault malloc:3 'memory is full.*lower training.activation_mb'
[ -z "$(checkpoints malloc)" ] || fail "checkpoints without a step: $(checkpoints malloc)"
fault launch:300 'the GPU failed \(kernel: too many resources.*run the command again'

# Lost after the first checkpoint, which is whole and which the same command goes on from.
expect 0 ' 4 steps' train '' whole --device cuda
waits=28
until [ -n "$(checkpoints sync)" ] || [ $waits -gt 60 ]; do
    waits=$((waits + 2))
    fault "sync:$waits" 'the GPU failed .*unspecified launch failure'
done
[ "$(checkpoints sync)" = "step-00000002 " ] || fail "checkpoints after a loss: $(checkpoints sync)"
grep -q 'step-00000002, is whole' err || fail "the checkpoint is not named: $(cat err)"
expect 0 ' steps' train '' sync --device cuda
diff -r -x config.yaml "$work/runs/f/whole/model" "$work/runs/f/sync/model" >&2 || fail "not what it would have been"

# Where operations cannot be recorded they are started one by one, which is said, to the same bits.
expect 0 ' 4 steps' train capture:1 capture --device cuda
[ "$(grep -c 'no record of them could be made' err)" -eq 1 ] || fail "one line on records: $(cat err)"
diff -r -x config.yaml "$work/runs/f/whole/model" "$work/runs/f/capture/model" >&2 || fail "not what a record makes"

# Where copies read the host's memory late, nothing of it is changed before.
expect 0 ' 4 steps' train late-reads late --device cuda
diff -r -x config.yaml "$work/runs/f/whole/model" "$work/runs/f/late/model" >&2 || fail "memory was changed before it was read"

expect 1 'step 3: the loss .* is NaN; lower .*step-00000002, is whole' \
    train '' nan --device cuda training.optimizer_outer.lr=1e30
[ "$(checkpoints nan)" = "step-00000002 " ] || fail "checkpoints after NaN: $(checkpoints nan)"
exit $((failures > 0))
