#!/usr/bin/env bash
# `ttt eval` from outside: what it writes agrees with itself, bounds hold, bad input is refused.
# Tiny models on text that this script makes up; nothing here depends on how well they predict.
set -u

TTT=$TTT_BUILD_DIR/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"

# Words drawn from few by a fixed rule, so that there is something to predict.
write_text() { # FILE SEED BYTES
    awk -v seed="$2" -v bytes="$3" 'BEGIN {
        n = split("the river old stone under a bridge of grey water runs to sea", w, " ")
        x = seed
        while (length(text) < bytes) {
            x = (x * 1103 + 12345) % 65536
            text = text w[x % n + 1] " "
        }
        printf "%s", substr(text, 1, bytes) }' >"$1"
}

train() { # NAME overrides...
    local name=$1
    shift
    "$TTT" train --config-dir "$TTT_SOURCE_DIR/configs" --threads 1 model.num_hidden_layers=3 \
        model.hidden_size=32 model.num_attention_heads=2 model.intermediate_size=48 \
        model.mini_batch_size=32 model.sliding_window_size=48 training.seq_length=256 \
        training.global_batch_size=4 training.eval_batch_size=3 training.total_steps=12 \
        training.optimizer_outer.lr_warmup_steps=2 training.optimizer_outer.lr_decay_steps=12 \
        training.dataset_path="$work/data" training.exp_dir="$work/runs" training.exp_folder=f \
        training.exp_name="$name" "$@" >"$name.log" 2>&1 ||
        fail "train $name: $(tail -n 1 "$name.log")"
}

ttt_eval() { "$TTT" eval --threads 1 "$@"; }

expect_done() { # arguments...
    ttt_eval "$@" >out 2>err || fail "exit status $?: $*: $(tail -n 1 err)"
}

expect_status() { # STATUS PATTERN arguments...
    local wanted=$1 pattern=$2 status=0
    shift 2
    ttt_eval "$@" >out 2>err || status=$?
    [ $status -eq "$wanted" ] || fail "exit status $status instead of $wanted: $*"
    tail -n 1 err | grep -qE "^ttt eval: .*$pattern" || fail "no '$pattern' in: $(tail -n 1 err)"
    [ ! -s out ] || fail "a failure wrote to standard output: $*"
}

mkdir train-text val-text
for i in 1 2 3 4; do write_text train-text/$i.txt $((i * 77)) 3000; done
# Two long documents of equal length, shorter ones, one that is too short.
i=0
for size in 400 400 256 255 150 90 40; do
    i=$((i + 1))
    write_text val-text/v$i.txt $((i * 991)) $size
done
(cd val-text && ls) >val-files
"$TTT" data encode train-text val-text --val-files val-files --out data >data.log 2>&1 ||
    fail "data encode: $(tail -n 1 data.log)"
train e2e +experiment=tiny/pretrain-tiny-e2e model.suffix_len=1
train swa +experiment=tiny/pretrain-tiny-swa
e2e=runs/f/e2e/model swa=runs/f/swa/model
[ $failures -eq 0 ] || exit 1

echo "== files and tables" >&2
expect_done $e2e $swa --data data --out both
for file in loss_by_position.tsv loss_by_position.gp summary.json token_nll_e2e_on.npy \
    token_nll_e2e_off.npy token_nll_swa.npy; do
    [ -s both/$file ] || fail "both/$file is missing"
done
if command -v gnuplot >/dev/null; then
    for ending in png svg; do
        [ -s both/loss_by_position.$ending ] || fail "no picture .$ending: $(tail -n 3 err)"
    done
fi
ls -A both | grep -q tmp && fail "temporary files are left: $(ls -A both)"
grep -q "^0-63 " out || fail "no table on standard output"
grep -qE "^e2e: (learning|with learning)" out || fail "nothing is said about learning"
grep -q "tokens/s" err || fail "no speed on standard error"
cut -f1-6 both/loss_by_position.tsv | head -n 1 |
    grep -qx "$(printf 'bin\tcolumn\tmean\tlo\thi\tn')" || fail "the table's first line changed"
# 6 documents reach into 0-63 and 64-127, 5 into 128-255.
[ "$(awk -F'\t' '$2 == "swa" {printf "%s=%s ", $1, $6}' both/loss_by_position.tsv)" = \
    "0-63=6 64-127=6 128-255=5 " ] || fail "wrong bins or counts"

echo "== --json, and the same numbers again" >&2
expect_done $e2e $swa --data data --json
mv out again.json
expect_done $e2e --data data --modes off --batch 1 --out off
expect_done $e2e --data data --length 256 --out long
expect_done $e2e --data data --length 64 --out short
expect_done $e2e --data data --layout stream --length 128 --out stream
# Arrays without a list of documents, as published ones are, are read as a stream unasked.
cp -r data plain
rm plain/dataset.json plain/*.docs.jsonl
expect_done $e2e --data plain --length 128 --out plain-stream
grep -q "lists no documents" err || fail "the stream layout is not told: $(cat err)"
cmp -s stream/token_nll_e2e_on.npy plain-stream/token_nll_e2e_on.npy ||
    fail "a plain array has other losses than the data set that it is of"
"$TTT" eval $e2e --data plain --layout documents >/dev/null 2>err && fail "documents of a plain array"
expect_done $e2e $swa --data data --max-tokens 300 --names A,B --out bounded
expect_done $swa --data data --max-documents 2 --out two

if command -v python3 >/dev/null; then
    python3 - <<'CHECKS' || fail "the files do not agree with each other (above)"
import array, ast, json, math, statistics, struct, sys

def npy(path):
    data = open(path, "rb").read()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    size = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + size].decode())
    assert (10 + size) % 64 == 0 and head["descr"] == "<f4" and not head["fortran_order"]
    n, t = head["shape"]
    flat = array.array("f", data[10 + size:])
    assert len(flat) == n * t, path
    return [list(flat[i * t:(i + 1) * t]) for i in range(n)]

def tsv(path):
    lines = [l.rstrip("\n").split("\t") for l in open(path, encoding="utf-8")]
    return [dict(zip(lines[0], l)) for l in lines[1:]]

def load(folder):
    return json.load(open(folder + "/summary.json")), tsv(folder + "/loss_by_position.tsv")

def near(a, b, tol=2e-5):
    assert (a is None or math.isnan(a)) == (b is None or math.isnan(b)), (a, b)
    assert a is None or math.isnan(a) or abs(a - b) <= tol * max(1, abs(b)), (a, b)

def check(folder):
    """Table, arrays and summary of one evaluation tell the same."""
    summary, table = load(folder)
    rows = summary["data"]["rows"]
    assert len(rows) == summary["data"]["documents"]
    assert sum(r["positions"] for r in rows) == summary["data"]["positions"]
    for column in summary["columns"]:
        nll = npy(folder + "/" + column["token_nll"])
        assert len(nll) == len(rows) and len(nll[0]) == summary["data"]["length"]
        for row, losses in zip(rows, nll):
            assert all(math.isnan(x) for x in losses[row["positions"]:])
        good = [x for losses in nll for x in losses if not math.isnan(x)]
        assert len(good) == column["tokens"] and all(0 <= x < 50 for x in good)
        near(sum(good) / len(good), column["token_mean"])
        lines = [l for l in table if l["column"] == column["column"]]
        assert [l["bin"] for l in lines] == [b["bin"] for b in column["bins"]]
        for line, bin in zip(lines, column["bins"]):
            first, last = map(int, bin["bin"].split("-"))
            means = []
            for losses in nll:
                part = [x for x in losses[first:last + 1] if not math.isnan(x)]
                if part: means.append(sum(part) / len(part))
            assert len(means) == bin["n"] == int(line["n"])
            near(statistics.fmean(means), bin["mean"])
            for key in "mean", "lo", "hi":
                near(float(line[key]), math.nan if bin[key] is None else bin[key], 1e-7)
            near(bin["mean"] / math.log(2), bin["bits_per_byte"], 1e-9)
            if len(means) == 6:
                half = 2.570582 * statistics.stdev(means) / math.sqrt(6)
                near(bin["hi"] - bin["mean"], half, 1e-4)
    return summary

both = check("both")
again = json.load(open("again.json"))
for key in "data", "models", "learning": assert again[key] == both[key], key
for a, b in zip(again["columns"], both["columns"]): assert a["token_mean"] == b["token_mean"]
assert [c["column"] for c in both["columns"]] == ["e2e, learning on", "e2e, learning off", "swa"]
assert both["data"]["left_out"] == 1 and both["data"]["length"] == 256
by_name = {r["name"]: r["positions"] for r in both["data"]["rows"]}
assert sorted(by_name.values()) == [90, 150, 255, 256, 256, 256], by_name
on, off = npy("both/token_nll_e2e_on.npy"), npy("both/token_nll_e2e_off.npy")
for a, b in zip(on, off):
    for x, y in zip(a[:32], b[:32]): near(x, y, 1e-6)
assert any(abs(x - y) > 1e-7 for a, b in zip(on, off) for x, y in zip(a[32:], b[32:])), \
    "learning changed nothing"
means = [[statistics.fmean(x for x in row if not math.isnan(x)) for row in side]
         for side in (off, on)]
near(statistics.fmean(a - b for a, b in zip(*means)), both["learning"][0]["mean"])
near(both["columns"][1]["difference_all"]["mean"], both["learning"][0]["mean"], 1e-9)

alone = check("off")  # other batches, no other column: the same losses
assert len(alone["columns"]) == 1
for a, b in zip(npy("off/token_nll_e2e_off.npy"), off):
    for x, y in zip(a, b): near(x, y, 1e-4)
long = check("long")  # a document of exactly 256 tokens has 255 to predict
assert [r["positions"] for r in long["data"]["rows"]] == [256, 256, 256, 255]
check("short")  # nothing here is filled up, and what comes later has no effect on what was before
short = npy("short/token_nll_e2e_on.npy")
assert len(short) == len(on) == 6
for a, b in zip(short, on):
    for x, y in zip(a, b): near(x, y, 1e-4)
stream = check("stream")
tokens = 400 + 400 + 256 + 255 + 150 + 90 + 40 + 7
assert stream["data"]["layout"] == "stream"
assert stream["data"]["documents"] == (tokens - 1) // 128
begins = [401, 802, 1059, 1315, 1466]  # of documents, among the tokens scored
unscored = [i * 128 + p + 1 for i, row in enumerate(npy("stream/token_nll_e2e_on.npy"))
            for p, x in enumerate(row) if math.isnan(x)]
assert unscored == begins, ("BOS targets are scored, or sequences start elsewhere", unscored)
bounded = check("bounded")
assert bounded["data"]["positions"] <= 300 and bounded["models"][1]["name"] == "B"
assert check("two")["data"]["documents"] == 2
CHECKS
else
    echo "test_eval: python3 is not here: the files' contents were not compared" >&2
fi

echo "== as published: overrides name the run, the split is scored in sequences" >&2
overrides() { # as `train`, without its fixed words
    ttt_eval --config-dir "$TTT_SOURCE_DIR/configs" model.num_hidden_layers=3 model.hidden_size=32 \
        model.num_attention_heads=2 model.intermediate_size=48 model.mini_batch_size=32 \
        model.sliding_window_size=48 model.suffix_len=1 training.seq_length=256 \
        training.eval_batch_size=2 +experiment=tiny/pretrain-tiny-e2e training.exp_dir="$work/runs" \
        training.exp_folder=f "$@" >out 2>err
}
cp -r data val-only && rm val-only/train.*
overrides training.dataset_path=val-only training.exp_name=e2e ||
    fail "published evaluation on val alone: $(tail -n 1 err)"
run=runs/f/e2e
loss=$(sed -n 's|^Eval -- train_holdout/loss: ||p' out)
[ -n "$loss" ] || fail "no 'Eval -- train_holdout/loss: ' on standard output: $(cat out)"
for file in train_holdout_token_nll_loss.npy train_holdout_token_nll.npy eval_summary.json \
    eval_config.yaml; do
    [ -s $run/$file ] || fail "$file is missing"
done
grep -q '"outcome":"finished"' $run/history.jsonl || fail "no history of the evaluation"
grep -q '## Evaluation (training.eval_mode)' $run/report.md || fail "not in the report"
[ "$(wc -l <$run/log.jsonl)" -eq 12 ] || fail "an evaluation changed the log of training"
# Another name, the same weights; `ttt train` with the mode is the same; bounds hold.
overrides training.dataset_path=data training.exp_name=again training.load_part=params \
    training.resume_exp_name=e2e training.resume_step=12 || fail "resume_exp_name: $(tail -n 1 err)"
[ "$(sed -n 's|^Eval -- train_holdout/loss: ||p' out)" = "$loss" ] || fail "other losses: $(cat out)"
[ ! -e runs/f/again/model ] || fail "an evaluation left a model"
cmp $run/train_holdout_token_nll.npy runs/f/again/train_holdout_token_nll.npy || fail "other arrays"
overrides training.dataset_path=data training.exp_name=again training.resume_exp_name=e2e \
    --max-sequences 3 || fail "--max-sequences: $(tail -n 1 err)"
grep -q '"sequences": 3,' runs/f/again/eval_summary.json || fail "--max-sequences 3 is not kept"
expect_done $e2e --data data --length 256 --max-sequences 3 --out three
overrides training.dataset_path=data training.exp_name=new || fail "initial weights: $(tail -n 1 err)"
grep -q 'the initial weights are scored' err || fail "it does not say that nothing was trained"
# Results elsewhere, the named run's weights: by hydra.run.dir, and in each job of a sweep.
overrides training.dataset_path=data training.exp_name=e2e hydra.run.dir=elsewhere ||
    fail "hydra.run.dir: $(tail -n 1 err)"
cmp $run/train_holdout_token_nll.npy elsewhere/train_holdout_token_nll.npy || fail "other weights"
overrides -m training.dataset_path=val-only training.exp_name=e2e hydra.sweep.dir=swept \
    training.log_wandb=true,false training.eval_mode=true || fail "a sweep: $(tail -n 1 err)"
for job in 0 1; do
    cmp $run/train_holdout_token_nll.npy swept/$job/train_holdout_token_nll.npy || fail "job $job"
done
overrides training.dataset_path=data training.exp_name=again training.eval_split=none &&
    fail "a split that is not there"
tail -n 1 err | grep -q "none" || fail "the split is not named: $(tail -n 1 err)"
overrides training.dataset_path=data training.exp_name=lost training.resume_exp_name=nowhere &&
    fail "a run that is not there"
tail -n 1 err | grep -q "check training.resume_exp_name (nowhere)" ||
    fail "the run is not named: $(tail -n 1 err)"
overrides training.dataset_path=data training.exp_name=again training.resume_exp_name=e2e \
    training.seq_length=100000 && fail "a sequence longer than the split"
tail -n 1 err | grep -q "one sequence needs 100001" || fail "no length: $(tail -n 1 err)"
if command -v python3 >/dev/null; then
    python3 - "$loss" <<'CHECKS' || fail "the published files do not agree (above)"
import array, ast, json, math, struct, sys
def npy(path):
    data = open(path, "rb").read()
    size = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + size].decode())
    return head["shape"], array.array("f", data[10 + size:])
shape, all = npy("runs/f/e2e/train_holdout_token_nll.npy")
mean_shape, mean = npy("runs/f/e2e/train_holdout_token_nll_loss.npy")
n, t = shape
assert t == 256 and mean_shape == (256,), (shape, mean_shape)
summary = json.load(open("runs/f/e2e/eval_summary.json"))
assert summary["sequences"] == n and abs(summary["train_holdout/loss"] - float(sys.argv[1])) < 1e-6
assert all and not any(math.isnan(x) for x in all)  # masked targets too
for p in range(t):
    assert abs(sum(all[i * t + p] for i in range(n)) / n - mean[p]) < 1e-5, p
# The same sequences scored from the model folder: equal wherever a target is not masked.
(k, _), stream = npy("three/token_nll_e2e_on.npy")
assert k == 3
masked = 0
for a, b in zip(stream, all):
    masked += math.isnan(a)
    assert math.isnan(a) or abs(a - b) < 1e-4, (a, b)
assert masked > 0
# The loss is the mean over chunks of the chunks' masked means; chunk c has 32 positions.
bos = [math.isnan(x) for x in stream]
chunks = []
for i in range(3):
    for c in range(8):
        part = [all[i * t + p] for p in range(32 * c, 32 * c + 32) if not bos[i * t + p]]
        chunks.append(sum(part) / len(part))
three = json.load(open("runs/f/again/eval_summary.json"))
assert abs(sum(chunks) / len(chunks) - three["train_holdout/loss"]) < 1e-5
CHECKS
fi

echo "== without gnuplot" >&2
mkdir empty
PATH=$work/empty ttt_eval $swa --data data --out plain >out 2>err ||
    fail "no gnuplot: $(tail -n 1 err)"
grep -q "gnuplot is not installed" err || fail "the missing gnuplot is not mentioned"
[ -s plain/loss_by_position.gp ] && [ -s plain/loss_by_position.tsv ] ||
    fail "no script without gnuplot"

echo "== bad input" >&2
expect_status 1 "no model folder none" none --data data
expect_status 1 "dataset" $e2e --data none
expect_status 1 "long enough" $e2e --data data --length 5000
expect_status 1 "--names" $e2e $e2e --data data
touch file
expect_status 1 "file" $e2e --data data --out file
grep -q "tokens/s" err && fail "the output folder was looked at only after the computation"
expect_status 2 "no model" --data data
expect_status 2 "--data" $e2e
expect_status 2 "--modes" $e2e --data data --modes maybe
expect_status 2 "--max-tokens" $e2e --data data --max-tokens none
expect_status 2 "did you mean --length" $e2e --data data --lenght 8
mkdir broken
cp $e2e/config.yaml broken/
head -c 2000 $e2e/model.safetensors >broken/model.safetensors
expect_status 1 "model.safetensors" broken --data data
sed 's/tokenizer_name:.*/tokenizer_name: other-words/' $e2e/config.yaml >broken/config.yaml
cp $e2e/model.safetensors broken/
expect_status 1 "'other-words'.*'bytes'" broken --data data

# A weight that is NaN: the last four bytes belong to some tensor of the model.
cp $e2e/config.yaml broken/
size=$(stat -c %s broken/model.safetensors)
for at in $(seq 0 3); do
    printf '\377' |
        dd of=broken/model.safetensors bs=1 seek=$((size - 4 + at)) conv=notrunc 2>/dev/null
done
expect_status 1 "broken/model.safetensors: its bytes are not those" broken --data data
LC_ALL=C sed -i 's/"crc32c"/"no_sum"/' broken/model.safetensors # as if they had been written so
expect_status 1 "broken.*the loss is NaN in document v1.txt at position 0" broken --data data \
    --out nan
[ -z "$(ls -A nan 2>/dev/null)" ] || fail "a failed evaluation left files: $(ls -A nan)"

[ $failures -eq 0 ] && echo "test_eval: passed" >&2
exit $((failures > 0))
