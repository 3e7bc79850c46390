#!/usr/bin/env bash
# Pretraining at a short context, then extension from its checkpoint at a longer one, by the recipes
# of the tiny family made smaller: what is loaded, what is not, and what is refused.
set -u

TTT=$TTT_BUILD_DIR/ttt
export TTT_CONFIG_DIR=$TTT_SOURCE_DIR/configs OMP_NUM_THREADS=1
. "$TTT_SOURCE_DIR/tests/shell.sh"
kept=20 # steps of pretraining

shape=(model.num_hidden_layers=3 model.hidden_size=32 model.num_attention_heads=2
    model.intermediate_size=48 training.dataset_path=data training.eval_sequences=4)
declare -A short=([e2e]="model.suffix_len=1 model.mini_batch_size=16 model.sliding_window_size=32"
    [swa]="model.mini_batch_size=16 model.sliding_window_size=32" [fa]="")

# train MODE RECIPE overrides...: the shapes above, 64 tokens in pretraining and 256 in extension.
train() {
    local mode=$1 recipe=$2 length=64 batch=8
    shift 2
    [[ $recipe == *extension* ]] && length=256 batch=2
    # shellcheck disable=SC2086
    "$TTT" train --threads 1 +experiment="$recipe" "${shape[@]}" ${short[$mode]} \
        training.seq_length=$length training.global_batch_size=$batch "$@" >out 2>err
}
pretrain() { # MODE overrides...
    train "$1" "tiny/pretrain-tiny-$1" training.optimizer_outer.lr_warmup_steps=4 \
        training.optimizer_outer.lr_decay_steps=40 training.total_steps=$kept "${@:2}"
}
extend() { train "$1" "tiny/extension/ext-tiny-$1-4K" "${@:2}"; }

expect_done() { "$@" || fail "exit status $?: $*: $(tail -n 2 err)"; }

refuse_train() { # PATTERN COMMAND...: exit status 1, and the last line says why
    local pattern=$1 status=0
    shift
    "$@" || status=$?
    [ $status -eq 1 ] || fail "exit status $status instead of 1: $*"
    tail -n 1 err | grep -qE "^ttt train: .*$pattern" || fail "no '$pattern' in: $(tail -n 1 err)"
}

# value RUN KEY STEP: a number of the log.
value() { sed -nE "s/^\{\"step\":$3,.*\"$2\":([^,}]*).*/\1/p" "experiments/tiny/$1/log.jsonl"; }
weights() { echo "experiments/tiny/$1/model/model.safetensors"; }
checkpoint() { printf 'experiments/tiny/%s/checkpoints/step-%08d' "$1" "$2"; }
near() { awk -v a="$1" -v b="$2" -v by="$3" 'BEGIN { exit !(a - b < by && b - a < by) }'; }

"$TTT" data encode "$TTT_SOURCE_DIR/src/base" --ext .c --out data >out 2>err || fail "$(cat err)"

for mode in e2e fa swa; do
    echo "== $mode" >&2
    from=pretrain-tiny-$mode
    expect_done pretrain $mode
    before=$(value $from loss $kept)

    # params: the weights and nothing else. The first update has learning rate 0: it leaves them.
    expect_done extend $mode training.total_steps=1
    to=ext-tiny-$mode-4K
    grep -q "starting from the weights of .*$from/checkpoints/step-000000$kept" err ||
        fail "the checkpoint is not named: $(cat err)"
    cmp "$(weights $from)" "$(weights $to)" || fail "$mode: the weights are not the pretrained ones"
    grep -q "^It started from the weights of .*$from/checkpoints/step-000000$kept" experiments/tiny/$to/report.md ||
        fail "$mode: the report does not say what was loaded"
    near "$(value $to loss 1)" "$before" 0.4 || fail "$mode: loss $before, then $(value $to loss 1)"
    [ "$(value $to lr 1)" = 0.0 ] || fail "$mode: the schedule does not start anew"
    expect_done extend $mode training.total_steps=8 # goes on from its own checkpoint
    grep -q 'going on from .*step-00000001' err || fail "$mode: does not go on: $(cat err)"
    near "$(value $to loss 8)" "$before" 0.4 || fail "$mode: loss $(value $to loss 8) at step 8"
    cmp -s "$(weights $from)" "$(weights $to)" && fail "$mode: nothing is learned"

    # none: nothing is brought
    expect_done extend $mode training.load_part=none training.exp_name=none-$mode training.total_steps=1
    near "$(value none-$mode loss 1)" 5.55 0.1 || fail "$mode: none starts at $(value none-$mode loss 1)"

    # all: weights, moments and step: the same as if the run had gone on under its own name
    expect_done pretrain $mode training.exp_name=all-$mode training.load_part=all \
        training.resume_exp_name=$from training.total_steps=$((kept + 2))
    [ "$(head -n 1 "experiments/tiny/all-$mode/log.jsonl" | cut -c1-10)" = '{"step":21' ] ||
        fail "$mode: all does not go on at the step"
    expect_done pretrain $mode training.total_steps=$((kept + 2))
    cmp "$(weights all-$mode)" "$(weights $from)" || fail "$mode: all is another run"
    cmp "$(checkpoint all-$mode $((kept + 2)))/optimizer.safetensors" \
        "$(checkpoint $from $((kept + 2)))/optimizer.safetensors" || fail "$mode: other moments"
    expect_done extend $mode training.load_part=all training.exp_name=far-$mode \
        training.resume_step=$kept training.total_steps=$((kept + 1))
    near "$(value far-$mode loss $((kept + 1)))" "$before" 0.4 || fail "$mode: all at a longer context"
    [ "$(value far-$mode lr $((kept + 1)))" != 0.0 ] ||
        fail "$mode: all starts the schedule anew"
done

echo "== refusals" >&2
new=(training.exp_name=new training.total_steps=1)
refuse_train 'nowhere/checkpoints.*training.resume_exp_name' extend swa "${new[@]}" training.resume_exp_name=nowhere
refuse_train 'no complete checkpoint of step 7; choose another training.resume_step' extend swa "${new[@]}" training.resume_step=7
refuse_train 'training.resume_exp_name=NAME' extend swa "${new[@]}" 'training.resume_exp_name=""'
refuse_train 'load_part = some .*none, params or all' extend swa "${new[@]}" training.load_part=some
refuse_train "safetensors: .*wte.weight' has shape \\(258, 32\\), this configuration needs \\(258, 48\\)" extend swa "${new[@]}" model.hidden_size=48
refuse_train 'safetensors: .*prime' extend e2e "${new[@]}" training.resume_exp_name=pretrain-tiny-swa
printf 'x' | dd of="$(checkpoint pretrain-tiny-fa 22)/model.safetensors" bs=1 seek=5000 conv=notrunc 2>/dev/null
expect_done extend fa "${new[@]}" # passes over the damaged one
grep -q 'step-00000020' err || fail "a damaged checkpoint is not passed over: $(cat err)"
refuse_train 'no complete checkpoint of step 22' extend fa "${new[@]}" training.exp_name=new2 training.resume_step=22

[ $failures -eq 0 ] && echo "all as expected" || echo "$failures problems"
exit $((failures > 0))
