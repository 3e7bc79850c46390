#!/usr/bin/env bash
# `ttt train` from outside: interruptions of every kind, bad input, a full disk. A tiny model on text
# that this script makes up; what matters is that nothing is lost and every message is one line.
set -u

TTT=$TTT_BUILD_DIR/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"
mounted=""
background=""

cleanup() {
    [ -n "$background" ] && kill -9 "$background" 2>/dev/null
    [ -n "$mounted" ] && umount -l "$mounted" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

case_begin() { echo "== $1" >&2; }

# ---- the model, the data, the ways to run ---------------------------------------------------------

steps=240
tiny=(+experiment=tiny/pretrain-tiny-e2e model.num_hidden_layers=3 model.hidden_size=32
    model.num_attention_heads=2 model.intermediate_size=48 model.suffix_len=1
    model.mini_batch_size=16 model.sliding_window_size=24 training.seq_length=64
    training.global_batch_size=4 training.optimizer_outer.lr_warmup_steps=5
    training.optimizer_outer.lr_decay_steps=$steps training.total_steps=$steps
    training.save_milestone_freq=40 training.dataset_path="$work/data" training.exp_folder=f
    training.exp_dir="$work/runs")

train=("$TTT" train --config-dir "$TTT_SOURCE_DIR/configs" --threads 1 "${tiny[@]}")

# Runs, and wants exit status 1 and a last line on stderr that matches. The line must be one line.
expect_fault() { # PATTERN overrides...
    local pattern=$1 status=0
    shift
    "${train[@]}" "$@" >"$work/out" 2>"$work/err" || status=$?
    [ $status -eq 1 ] || fail "exit status $status instead of 1: $*: $(tail -n1 "$work/err")"
    tail -n 1 "$work/err" | grep -qE "^ttt train: .*$pattern" ||
        fail "no '$pattern' in: $(tail -n 1 "$work/err")"
}

expect_done() { # overrides...
    "${train[@]}" "$@" >"$work/out" 2>"$work/err" || fail "exit status $?: $*: $(tail -n 3 "$work/err")"
}

run_dir() { echo "$work/runs/f/$1"; }

# Starts a run in the background, and returns once CONDITION holds or it has ended.
train_until() { # CONDITION overrides...
    local condition=$1
    shift
    "${train[@]}" "$@" >"$work/out" 2>"$work/err" &
    background=$!
    while kill -0 "$background" 2>/dev/null && ! eval "$condition"; do sleep 0.002; done
    kill -0 "$background" 2>/dev/null || fail "the run ended before '$condition'"
}

lines() { [ -f "$1" ] && wc -l <"$1" || echo 0; }

# The same weights, and the same losses at the same steps, as the run without interruptions.
expect_same() { # NAME
    cmp "$(run_dir straight)/model/model.safetensors" "$(run_dir "$1")/model/model.safetensors" ||
        fail "$1 has other weights than the run without interruptions"
    diff <(losses straight) <(losses "$1") >/dev/null || fail "$1 has another log of losses"
}

losses() { sed -E 's/"(lr|inner_lr|tokens_per_second|seconds|peak_rss_mb)":[^,}]*,?//g' \
    "$(run_dir "$1")/log.jsonl"; }

# The numbers of one key, a line per step.
column() { sed -E "s/.*\"$2\":([^,}]*).*/\1/" "$(run_dir "$1")/log.jsonl"; }
loss_column() { column "$1" loss; }

mkdir "$work/text"
for i in 1 2 3 4; do
    awk -v seed=$i 'BEGIN { srand(seed); for (i = 0; i < 700; i++)
        printf "%s%s", substr("the rain falls on hills and far away sea", 1 + int(rand() * 30), 9),
               i % 12 ? " " : "\n" }' >"$work/text/$i.txt"
done
"$TTT" data encode "$work/text" --out "$work/data" >/dev/null 2>"$work/err" || {
    cat "$work/err" >&2
    fail "cannot encode the text"
    exit 1
}

# ---- a run without interruptions ------------------------------------------------------------------

case_begin "a run from beginning to end"
expect_done training.exp_name=straight
dir=$(run_dir straight)
[ "$(lines "$dir/log.jsonl")" -eq $steps ] || fail "the log has $(lines "$dir/log.jsonl") lines"
for file in config.yaml log.jsonl summary.json model/config.yaml model/model.safetensors \
    checkpoints/step-00000240/COMPLETE checkpoints/step-00000240/optimizer.safetensors; do
    [ -f "$dir/$file" ] || fail "$file is missing"
done
(cd "$dir/checkpoints/step-00000240" && sha256sum --quiet -c COMPLETE) || fail "seal is not right"
[ "$(ls "$dir/checkpoints" | tr '\n' ' ')" = "step-00000200 step-00000240 " ] ||
    fail "kept checkpoints: $(ls "$dir/checkpoints" | tr '\n' ' ')"
cmp "$dir/model/model.safetensors" "$dir/checkpoints/step-00000240/model.safetensors" ||
    fail "the model is not the last checkpoint's"
loss_column straight | awk 'NR <= 10 { a += $1 } { last[NR % 10] = $1 }
    END { for (i in last) b += last[i]; exit !(b < 0.8 * a) }' || fail "the loss does not fall"
grep -q 'next, try: ttt eval' "$work/err" || fail "no next step at the end"

case_begin "the same command again has nothing to do"
expect_done training.exp_name=straight
grep -q "already at step $steps" "$work/err" || fail "it does not say so"
expect_same straight

# ---- interruptions --------------------------------------------------------------------------------

case_begin "SIGTERM and SIGINT finish the step, save, and say how to go on"
for signal in TERM INT; do
    name="stop-$signal"
    train_until "[ \$(lines '$(run_dir "$name")/log.jsonl') -ge 50 ]" training.exp_name="$name" \
        "model.name=\"it's tiny\""
    kill -s "$signal" "$background"
    wait "$background" || fail "exit status $? after SIG$signal: $(tail -n1 "$work/err")"
    background=""
    tail -n 1 "$work/err" | grep -qE "interrupted after step [0-9]+ of $steps, saved; to go on: ttt" ||
        fail "SIG$signal: $(tail -n 1 "$work/err")"
    [ ! -e "$(run_dir "$name")/model" ] || fail "an interrupted run has a final model"
    again=$(tail -n 1 "$work/err" | sed 's/.*to go on: ttt //')
    eval "\"$TTT\" $again" >"$work/out" 2>"$work/err" || fail "going on: $(tail -n 1 "$work/err")"
    grep -q 'going on from' "$work/err" || fail "it does not say that it goes on"
    expect_same "$name"
done

case_begin "kill -9 in the middle of a step, and while a checkpoint is written"
dir=$(run_dir killed)
train_until "[ \$(lines '$dir/log.jsonl') -ge 100 ]" training.exp_name=killed
kill -9 "$background"
wait "$background" 2>/dev/null
for i in 1 2 3; do
    train_until "[ -e '$dir/checkpoints/.writing' ]" training.exp_name=killed \
        training.save_milestone_freq=3
    kill -9 "$background"
    wait "$background" 2>/dev/null
done
background=""
expect_done training.exp_name=killed
expect_same killed

# ---- damaged checkpoints --------------------------------------------------------------------------

case_begin "a damaged newest checkpoint is passed over"
cp -r "$(run_dir straight)" "$(run_dir cut)"
truncate -s 1000 "$(run_dir cut)/checkpoints/step-00000240/optimizer.safetensors"
expect_done training.exp_name=cut
grep -q 'passing over a checkpoint: .*step-00000240/optimizer.safetensors' "$work/err" ||
    fail "it does not name the damaged file"
grep -q 'going on from .*step-00000200' "$work/err" || fail "it does not take the one before"
expect_same cut
rm "$(run_dir cut)"/checkpoints/step-*/COMPLETE
expect_fault 'none of the checkpoints in .* is whole; start over with --fresh' training.exp_name=cut

case_begin "--fresh keeps the old run"
expect_done --fresh training.exp_name=cut training.break_step=2
[ -d "$(run_dir cut).old-1/checkpoints" ] || fail "the old run is not there"
[ "$(lines "$(run_dir cut)/log.jsonl")" -eq 2 ] || fail "break_step does not stop at 2"
[ -f "$(run_dir cut)/checkpoints/step-00000002/COMPLETE" ] || fail "no checkpoint at the end"

# ---- going on with another configuration ----------------------------------------------------------

case_begin "a changed configuration is refused, a longer run is not"
expect_fault 'training.seq_length was 64 .* is 48 now' training.exp_name=straight \
    training.seq_length=48
expect_fault 'training.optimizer_outer.lr was .* is 0.5 now' training.exp_name=straight \
    training.optimizer_outer.lr=0.5
expect_fault 'model.intermediate_size was 48 .* is 64 now' training.exp_name=straight \
    model.intermediate_size=64
expect_done training.exp_name=cut training.break_step=5
[ "$(lines "$(run_dir cut)/log.jsonl")" -eq 5 ] || fail "the longer run did not go on"
mkdir "$work/other" && head -c 3000 "$work/text/1.txt" >"$work/other/a.txt"
"$TTT" data encode "$work/other" --out "$work/data2" --val-fraction 0 >/dev/null 2>&1
expect_fault 'the data set .* is not the one' training.exp_name=cut \
    training.dataset_path="$work/data2"

case_begin "starting from another run"
expect_done training.exp_name=child training.load_part=params training.resume_exp_name=straight \
    training.total_steps=3
awk -v first="$(loss_column child | head -n 1)" -v fresh="$(loss_column straight | head -n 1)" \
    'BEGIN { exit !(first < 0.8 * fresh) }' || fail "the child does not start from the weights"
expect_done training.exp_name=twin training.load_part=all training.resume_exp_name=f/straight \
    training.resume_step=200
cmp "$(run_dir straight)/model/model.safetensors" "$(run_dir twin)/model/model.safetensors" ||
    fail "load_part=all does not go on as the other run"
expect_fault 'no complete checkpoint; check training.resume_exp_name' training.exp_name=lost \
    training.load_part=params training.resume_exp_name=nowhere
expect_fault 'no complete checkpoint of step 7' training.exp_name=lost \
    training.load_part=params training.resume_exp_name=straight training.resume_step=7
expect_fault 'add training.resume_exp_name' training.exp_name=lost training.load_part=all

# ---- two at once ----------------------------------------------------------------------------------

case_begin "two trainers on one folder"
train_until "[ -s '$(run_dir shared)/log.jsonl' ]" training.exp_name=shared \
    training.total_steps=1000000 training.save_milestone_freq=1000000
expect_fault "process $background is training in .*/shared" training.exp_name=shared
expect_fault "process $background is training in .*/shared" --fresh training.exp_name=shared
kill -TERM "$background"
wait "$background" || fail "the first trainer was disturbed"
background=""

# ---- numbers --------------------------------------------------------------------------------------

case_begin "accumulation equals one big batch"
expect_done training.exp_name=one training.break_step=12
expect_done training.exp_name=four training.break_step=12 training.accum_steps=4
for key in loss outer_grad_norm; do
    paste <(column one $key) <(column four $key) | awk '{ d = $1 - $2; if (d < 0) d = -d
        if (!(d <= 1e-3 * $1)) bad = 1 } END { exit bad || NR != 12 }' || fail "$key differs"
done

case_begin "NaN names the step and what to lower"
expect_fault 'step [0-9]+: the .*(chunk|gradient).*training.optimizer_outer.lr \(now 1e\+30\)' \
    training.exp_name=outer training.optimizer_outer.lr=1e30 training.optimizer_outer.lr_warmup_steps=0
[ ! -e "$(run_dir outer)/model" ] || fail "a failed run has a final model"
expect_fault 'step 1: the loss of chunk [1-9].* is .*; lower training.optimizer_inner.lr \(now 1e\+30\) or set ' training.exp_name=inner \
    training.optimizer_inner.lr=1e30 training.optimizer_inner.clip_gradient=0
expect_fault 'the last checkpoint, .*step-0*[1-9][0-9]*, is whole' training.exp_name=late \
    training.optimizer_outer.lr=1e30 training.optimizer_outer.lr_warmup_steps=0 \
    training.save_milestone_freq=1

# ---- bad input ------------------------------------------------------------------------------------

case_begin "bad input"
expect_fault "unknown key 'training.total_stepz'; did you mean 'training.total_steps'" \
    training.total_stepz=3
expect_fault 'model.vocab_size is 100' training.exp_name=bad model.vocab_size=100 \
    model.bos_token_id=1 model.eos_token_id=2
expect_fault 'BOS is token 256, model.bos_token_id is 3; add model.bos_token_id=256' \
    training.exp_name=bad model.bos_token_id=3
expect_fault 'nowhere' training.exp_name=bad training.dataset_path="$work/nowhere"
expect_fault 'add training.dataset_path' training.exp_name=bad training.dataset_path=
expect_fault 'add training.exp_name' training.exp_name=
expect_fault 'too few for one sequence' training.exp_name=bad training.seq_length=1000000
expect_fault 'MB are free; training.accum_steps=[0-9]+ training.activation_mb=[0-9]+ would fit' training.exp_name=bad \
    training.global_batch_size=100000000
expect_fault 'cannot make the folder /proc/' training.exp_name=bad training.exp_dir=/proc/runs
[ ! -e "$(run_dir bad)" ] || fail "bad input left a run folder"
"${train[@]}" --threads 0 training.exp_name=bad >/dev/null 2>&1
[ $? -eq 2 ] || fail "--threads 0 is not a usage error"
expect_done training.exp_name=dummy training.dummy_dataset=true training.dataset_path= \
    training.break_step=2

case_begin "no space left, and a read-only folder"
mkdir "$work/small"
if mount -t tmpfs -o size=1100k tmpfs "$work/small" 2>/dev/null; then
    mounted=$work/small
    expect_fault "cannot write $work/small/.*: No space left on device.*checkpoint, .*, is whole" \
        training.exp_name=full training.exp_dir="$work/small" training.save_milestone_freq=20
    [ ! -e "$work/small/f/full/checkpoints/.writing" ] || fail "a half-written checkpoint is left"
    [ -z "$(find "$work/small" -name '*.tmp-*')" ] || fail "temporary files are left"
    mount -o remount,ro "$work/small" && expect_fault 'Read-only file system' \
        training.exp_name=full training.exp_dir="$work/small"
    mount -o remount,rw,size=20m "$work/small"
    expect_done training.exp_name=full training.exp_dir="$work/small"
    cmp "$work/small/f/full/model/model.safetensors" "$(run_dir straight)/model/model.safetensors" ||
        fail "after a full disk the run does not go on bit for bit"
else
    echo "skipped: mounting a tmpfs is not permitted here" >&2
fi

echo "$failures failures" >&2
[ $failures -eq 0 ]
