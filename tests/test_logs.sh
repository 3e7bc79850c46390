#!/usr/bin/env bash
# What a training run writes down: JSON lines, evaluations, TensorBoard's events, history and report;
# across interruptions, without gnuplot, with logs that cannot be written. Then, where build/oracles
# has them, the real tensorboard and wandb read it all (tests/fetch_oracles).
set -u

TTT=$TTT_BUILD_DIR/ttt
ORACLE=${TTT_ORACLE_PYTHON:-$TTT_SOURCE_DIR/build/oracles/bin/python}
. "$TTT_SOURCE_DIR/tests/shell.sh"
background=""

cleanup() {
    [ -n "$background" ] && kill -9 "$background" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

case_begin() { echo "== $1" >&2; }
tiny=(+experiment=tiny/pretrain-tiny-e2e model.num_hidden_layers=2 model.hidden_size=16
    model.num_attention_heads=2 model.intermediate_size=24 model.suffix_len=1
    model.mini_batch_size=16 model.sliding_window_size=24 training.seq_length=128
    training.global_batch_size=2 training.eval_batch_size=3 training.optimizer_outer.lr_warmup_steps=5
    training.optimizer_outer.lr_decay_steps=60 training.total_steps=60
    training.save_milestone_freq=20 training.eval_freq=20 training.eval_sequences=5
    training.dataset_path=data training.exp_dir=runs training.exp_folder=f)
train=("$TTT" train --config-dir "$TTT_SOURCE_DIR/configs" --threads 1 "${tiny[@]}")

expect_done() { # overrides...
    "${train[@]}" "$@" >out 2>err || fail "exit status $?: $*: $(tail -n 2 err)"
}
lines() { [ -f "$1" ] && wc -l <"$1" || echo 0; }
has() { grep -qE -- "$2" "$1" || fail "no '$2' in $1"; }

mkdir text
for i in 1 2 3 4 5 6; do
    awk -v seed=$i 'BEGIN { srand(seed); for (i = 0; i < 300; i++)
        printf "%s ", substr("the rain falls on hills and far away sea", 1 + int(rand() * 30), 9)
        }' >text/$i.txt
done
printf '1.txt\n2.txt\n' >val-files
"$TTT" data encode text --val-files val-files --out data >/dev/null 2>err || {
    cat err >&2
    exit 1
}

case_begin "a whole run"
expect_done training.exp_name=whole training.wandb_project=tests training.wandb_key=hidden-key
run=runs/f/whole
for file in config.yaml log.jsonl eval.jsonl history.jsonl summary.json report.md \
    curves/loss.tsv curves/loss.gp curves/loss_by_position.tsv curves/speed.tsv \
    curves/gradient_norm.tsv curves/learning_rate.tsv curves/memory.tsv; do
    [ -s $run/$file ] || fail "$file is missing"
done
[ "$(lines $run/log.jsonl)" -eq 60 ] || fail "log.jsonl has $(lines $run/log.jsonl) lines"
[ "$(grep -o '^{"step":[0-9]*' $run/eval.jsonl | tr -dc '0-9\n' | tr '\n' ' ')" = "20 40 60 " ] ||
    fail "evaluations: $(cut -c1-20 $run/eval.jsonl | tr '\n' ' ')"
[ "$(grep -c '"inner_grad_norm":[0-9]' $run/log.jsonl)" -eq 6 ] || fail "inner norms are missing"
has $run/history.jsonl '"event":"start".*"command":"ttt train .*"revision":".*"cpu":".*"libraries"'
has $run/history.jsonl '"event":"end".*"outcome":"finished"'
has $run/report.md '^Step 60 of 60\. It finished'
has $run/report.md '^\| best held-out loss \|'
has $run/report.md '^\| 64-127 \| [0-9.]+ \|$'
has $run/report.md 'tensorboard --logdir runs/f/whole'
grep -rq hidden-key runs && fail "a secret was written: $(grep -rl hidden-key runs)"
has $run/config.yaml 'wandb_project: "?tests'
if command -v gnuplot >/dev/null; then
    for name in loss gradient_norm speed learning_rate memory loss_by_position; do
        [ -s $run/curves/$name.png ] || fail "curves/$name.png is missing"
        has $run/report.md "\(curves/$name.png\)"
    done
else
    echo "skipped: gnuplot is not here, no pictures" >&2
fi
[ -z "$(find runs -name '*.tmp-*')" ] || fail "temporary files are left"

case_begin "the evaluation changes nothing"
expect_done training.exp_name=quiet training.eval_sequences=0
cmp runs/f/quiet/model/model.safetensors $run/model/model.safetensors ||
    fail "a run with evaluations has other weights"
[ "$(lines runs/f/quiet/eval.jsonl)" -eq 0 ] || fail "eval_sequences=0 evaluates"

case_begin "SIGTERM, kill -9, and on: each step once"
run=runs/f/cut
for signal in TERM KILL; do
    wanted=$([ $signal = TERM ] && echo 25 || echo 47)
    "${train[@]}" training.exp_name=cut >out 2>err &
    background=$!
    while kill -0 $background 2>/dev/null && [ "$(lines $run/log.jsonl)" -lt $wanted ]; do
        sleep 0.002
    done
    kill -s $signal $background 2>/dev/null
    wait $background 2>/dev/null
    background=""
    if [ $signal = TERM ]; then
        has $run/report.md 'It was interrupted on '
        has err 'interrupted after step'
        has $run/history.jsonl '"outcome":"interrupted"'
    else
        [ "$(grep -c '"event":"end"' $run/history.jsonl)" -eq 1 ] || fail "a killed run has an end"
        "$TTT" report $run >out 2>err || fail "ttt report: $(tail -n 1 err)"
        has $run/report.md 'still running, or was killed'
    fi
done
expect_done training.exp_name=cut
[ "$(grep -o '^{"step":[0-9]*' $run/log.jsonl | sort -u | wc -l)" -eq 60 ] &&
    [ "$(lines $run/log.jsonl)" -eq 60 ] || fail "log.jsonl does not have each step once"
has $run/report.md 'left no end: it was killed'
diff <(sed 's/"seconds.*//' $run/eval.jsonl) <(sed 's/"seconds.*//' runs/f/whole/eval.jsonl) ||
    fail "the evaluations differ from those of an uninterrupted run"
[ "$(find $run -name 'events.out.tfevents.*' | wc -l)" -eq 3 ] || fail "not a file per start"

case_begin "without gnuplot"
mkdir empty
PATH=$work/empty "${train[@]}" training.exp_name=plain training.total_steps=20 >out 2>err ||
    fail "no gnuplot: $(tail -n 1 err)"
has runs/f/plain/report.md 'gnuplot is not installed here'
grep -q '!\[' runs/f/plain/report.md && fail "the report shows pictures that are not there"
[ -s runs/f/plain/curves/loss.gp ] || fail "no script without gnuplot"

case_begin "logs that cannot grow: the run goes on, and says so"
if grep -q '^SANITIZE:STRING=thread' "$TTT_BUILD_DIR/CMakeCache.txt"; then
    echo "skipped: ThreadSanitizer's own files meet the limit too" >&2
else
    (
        ulimit -f 90 # KiB: more than any file of this run but its logs
        "${train[@]}" training.exp_name=small model.hidden_size=8 model.intermediate_size=12 \
            training.total_steps=600 training.optimizer_outer.lr_decay_steps=600 \
            training.save_milestone_freq=200 training.eval_freq=0 >out 2>err
    ) || fail "a log that is full ended the run: $(tail -n 1 err)"
    [ -s runs/f/small/model/model.safetensors ] || fail "no model"
    [ -f runs/f/small/checkpoints/step-00000600/COMPLETE ] || fail "no checkpoint"
    [ "$(grep -c 'log.jsonl: .*training goes on' err)" -eq 1 ] ||
        fail "not told once: $(grep -c 'training goes on' err)"
    [ "$(grep -c 'TensorBoard will lack' err)" -eq 1 ] || fail "the events are not told once"
    has err 'log.jsonl lacks [0-9]+ lines'
    [ "$(tail -c 1 runs/f/small/log.jsonl | od -An -c | tr -d ' ')" = '\n' ] || fail "half a line"
fi

case_begin "a run's folder that cannot be read or written"
"$TTT" report nowhere >out 2>err && fail "ttt report nowhere"
has err 'ttt report: nowhere is not the folder of a run'
"$TTT" report >out 2>err
[ $? -eq 2 ] || fail "ttt report without a run is not a usage error"
cp -r runs/f/whole damaged
printf 'not json\n{"step": 3, "lo' >damaged/log.jsonl
printf '\377\376[]{}\n{"event":"start"}\n7\n' >damaged/history.jsonl
printf '{"step":"x","loss":[],"loss_by_position":7}\n' >damaged/eval.jsonl
printf '{' >damaged/eval_summary.json
"$TTT" report damaged >out 2>err || fail "damaged logs: $(tail -n 1 err)"
cp damaged/report.md before.md
chmod a-w damaged damaged/curves
if touch damaged/x 2>/dev/null; then
    rm damaged/x
    echo "skipped: root writes into any folder" >&2
else
    "$TTT" report damaged >out 2>err && fail "a folder that cannot be written"
    has err 'cannot '
fi
chmod u+w damaged damaged/curves

case_begin "tensorboard"
if ! "$ORACLE" -c 'import tensorboard' 2>/dev/null; then
    echo "skipped: no tensorboard in $ORACLE; tests/fetch_oracles brings it" >&2
else
    "$ORACLE" "$TTT_SOURCE_DIR/tests/read_events.py" runs/f >out 2>err ||
        fail "tensorboard: $(tail -n 3 err)"
fi

case_begin "wandb"
if ! "$ORACLE" -c 'import wandb, yaml, PIL' 2>/dev/null; then
    echo "skipped: no wandb in $ORACLE; tests/fetch_oracles brings it" >&2
else
    export TTT_WANDB_PYTHON=$ORACLE
    "$TTT_SOURCE_DIR/tools/wandb_sync" runs/f/whole runs/f/cut >out 2>err ||
        fail "wandb_sync: $(tail -n 2 err)"
    has out 'runs/f/whole: 60 steps, now, to send them: wandb sync runs/f/whole/wandb/offline-run-'
    "$ORACLE" "$TTT_SOURCE_DIR/tests/read_wandb.py" runs/f/whole runs/f/cut >out 2>err ||
        fail "wandb: $(tail -n 3 err)"
    sed -i 's/log_wandb: true/log_wandb: false/' runs/f/plain/config.yaml
    "$TTT_SOURCE_DIR/tools/wandb_sync" runs/f/plain >out 2>err || fail "log_wandb=false fails"
    has out 'log_wandb is false; left out'
    [ ! -e runs/f/plain/wandb ] || fail "log_wandb=false is not honoured"
    "$TTT_SOURCE_DIR/tools/wandb_sync" nowhere >out 2>err && fail "wandb_sync nowhere"
    has err 'nowhere is not the folder of a run'
fi

echo "$failures failures" >&2
[ $failures -eq 0 ]
