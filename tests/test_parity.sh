#!/usr/bin/env bash
# `ttt parity` from outside: every recorded case in float64 and float32, and that a wrong number, a
# missing quantity and bad input are noticed.
set -u

TTT=$TTT_BUILD_DIR/ttt
WIDE=$TTT_BUILD_DIR/ttt-fp64
fixtures=$TTT_SOURCE_DIR/tests/fixtures
. "$TTT_SOURCE_DIR/tests/shell.sh"
export OMP_NUM_THREADS=2

# Runs, and wants that exit status; what it printed is in $work/out and $work/err.
expect_status() { # STATUS command...
    local wanted=$1 status=0
    shift
    "$@" >"$work/out" 2>"$work/err" || status=$?
    [ $status -eq "$wanted" ] ||
        fail "exit status $status instead of $wanted: $*: $(grep FAIL "$work/out" | head -n 3)$(tail -n 1 "$work/err")"
}

expect_pass() { # KEYS command...: at least so many keys, none failed
    local keys=$1
    shift
    expect_status 0 "$@"
    tail -n 1 "$work/out" | awk -v keys="$keys" '{ exit !($1 >= keys && $2 == "keys," && $3 == 0) }' ||
        fail "$*: $(tail -n 1 "$work/out")"
}

expect_fail() { # KEY command...: that key fails, and only keys that begin with it
    local key=$1
    shift
    expect_status 1 "$@"
    grep -q "^$key.* FAIL" "$work/out" || fail "$key does not fail: $*"
    grep ' FAIL' "$work/out" | grep -v "^$key" && fail "other keys fail too: $*"
}

expect_fault() { # PATTERN command...: one clear line, nothing else
    local pattern=$1
    shift
    expect_status 1 "$@"
    [ "$(wc -l <"$work/err")" -eq 1 ] && [ ! -s "$work/out" ] ||
        fail "not one line: $*: $(cat "$work/out" "$work/err")"
    grep -qE "^ttt parity: .*$pattern" "$work/err" || fail "no '$pattern' in: $(cat "$work/err")"
}

case_copy() { # NAME...: fresh copies in $work/case
    rm -rf "$work/case" && mkdir "$work/case"
    for name in "$@"; do cp "$fixtures/$name.json" "$fixtures/$name.safetensors" "$work/case"; done
    chmod -R u+w "$work/case"
}

json_edit() { sed -i "$2" "$work/case/$1.json"; } # NAME SED-SCRIPT

# ---- the recorded cases ---------------------------------------------------------------------------

while read -r name keys; do
    expect_pass "$keys" "$TTT" parity "$fixtures/$name.json" --compute fp32
    expect_pass "$keys" "$TTT" parity "$fixtures/$name.json" --compute fp64
    expect_pass "$keys" "$WIDE" parity "$fixtures/$name.json"
    expect_pass "$keys" "$TTT" parity "$fixtures/$name.json"
done <<END
A_meta_clip 19
A_meta_clip_f64 66
C_full_attention 18
C_full_attention_f64 48
D_sliding_window 18
D_sliding_window_f64 48
F_meta_accum 160
F_meta_accum_f64 100
H_long_eval 9
H_long_eval_f64 9
END
expect_pass 160 "$TTT" parity "$fixtures/F_meta_accum.json" --threads 1 --isa portable

# Products in bf16 are far from float32 but still the same model.
expect_pass 100 "$TTT" parity "$fixtures/F_meta_accum_f64.json" --compute bf16
expect_status 0 "$TTT" parity "$fixtures/F_meta_accum_f64.json" --compute bf16 --json
grep -q '"compute": "bf16"' "$work/out" || fail "--json does not name the compute type"

# ---- what it writes is what it compared -----------------------------------------------------------

case_copy F_meta_accum F_meta_accum_f64
expect_pass 100 "$WIDE" parity "$work/case/F_meta_accum_f64.json" --out "$work/case/mine.safetensors"
mv "$work/case/mine.safetensors" "$work/case/F_meta_accum_f64.safetensors"
expect_pass 100 "$WIDE" parity "$work/case/F_meta_accum_f64.json"
grep -E '/' "$work/out" | awk '$2 != 0 { bad = 1 } END { exit bad }' ||
    fail "what was written is not what is computed again"
expect_pass 100 "$TTT" parity "$work/case/F_meta_accum_f64.json"

# Without a reference everything is computed, written, and nothing fails.
rm "$work/case/F_meta_accum_f64.safetensors"
expect_pass 100 "$WIDE" parity "$work/case/F_meta_accum_f64.json" --out "$work/case/all.safetensors"
for key in token_nll fast/ fast_final/ inner_grad0/ outer_grad/ step1/mu/ step3/params/; do
    grep -aq "\"$key" "$work/case/all.safetensors" || fail "$key was not written"
done
expect_fault 'no-folder' "$TTT" parity "$fixtures/H_long_eval.json" --out "$work/no-folder/x"

# ---- wrong numbers are noticed --------------------------------------------------------------------

# The last number of the file (of the tensor whose data is last) is replaced.
case_copy F_meta_accum F_meta_accum_f64
size=$(stat -c %s "$work/case/F_meta_accum_f64.safetensors")
printf '\0\0\0\0\0\0\x59\x40' | dd of="$work/case/F_meta_accum_f64.safetensors" bs=1 conv=notrunc \
    seek=$((size - 8)) status=none
expect_status 1 "$WIDE" parity "$work/case/F_meta_accum_f64.json"
[ "$(grep -c ' FAIL' "$work/out")" -eq 1 ] || fail "one wrong number: $(grep ' FAIL' "$work/out")"
tail -n 1 "$work/out" | grep -q ', 1 failed$' || fail "count: $(tail -n 1 "$work/out")"
expect_status 1 "$TTT" parity "$work/case/F_meta_accum_f64.json" --json
grep -q '"failed": 1' "$work/out" || fail "--json does not count the failure"

# NaN in the reference.
printf '\0\0\0\0\0\0\xf8\x7f' | dd of="$work/case/F_meta_accum_f64.safetensors" bs=1 conv=notrunc \
    seek=$((size - 8)) status=none
expect_status 1 "$WIDE" parity "$work/case/F_meta_accum_f64.json"

case_copy H_long_eval
json_edit H_long_eval 's/"eval_loss": 5.4/"eval_loss": 5.5/'
expect_fail eval_loss "$TTT" parity "$work/case/H_long_eval.json"
case_copy H_long_eval
json_edit H_long_eval 's/"eval_loss"/"mystery": 1, "eval_loss"/'
expect_fail mystery "$TTT" parity "$work/case/H_long_eval.json"

# A quantity that this configuration does not have.
case_copy H_long_eval
json_edit H_long_eval 's/\*\*.suffix_blocks.feed_forward_prime.\*\*/**.suffix_blocks.ffn_norm.**/'
expect_status 1 "$TTT" parity "$work/case/H_long_eval.json"
grep -q '^fast_final/.*w1.weight .* FAIL  training.spec_inner selects no' "$work/out" ||
    fail "no reason for a missing quantity: $(grep fast_final "$work/out")"
case_copy H_long_eval
sed -i 's/inner_gnorm/inner_gnurm/' "$work/case/H_long_eval.safetensors"
expect_fail inner_gnurm "$TTT" parity "$work/case/H_long_eval.json"

# ---- bad input ------------------------------------------------------------------------------------

expect_fault 'nothing.json' "$TTT" parity "$work/nothing.json"
expect_fault 'named by its .json' "$TTT" parity "$fixtures/H_long_eval.safetensors"
expect_status 2 "$TTT" parity
expect_status 2 "$TTT" parity "$fixtures/H_long_eval.json" --compute fp16
expect_status 2 "$WIDE" parity "$fixtures/H_long_eval.json" --compute fp32
expect_fault "'pentium'" "$TTT" parity "$fixtures/H_long_eval.json" --isa pentium

edit_fault() { # PATTERN SED-SCRIPT: of H's JSON
    case_copy H_long_eval
    json_edit H_long_eval "$2"
    expect_fault "$1" "$TTT" parity "$work/case/H_long_eval.json"
}
edit_fault 'H_long_eval.json:[0-9]+: not JSON' '2s/,$//'
edit_fault "H_long_eval.json: unknown key 'model.hidden_sise'; did you mean" \
    's/hidden_size/hidden_sise/'
edit_fault "unknown key 'training.optimizer_inner.momentum'" \
    's/"optimizer_type": "sgd"/"optimizer_type": "sgd", "momentum": 0.9/'
edit_fault 'model.vocab_size' 's/"vocab_size": 128/"vocab_size": "many"/'
edit_fault "no object 'training'" 's/"training"/"trainink"/'
edit_fault 'start_step' 's/"start_step": [0-9]*/"start_step": -1/'
edit_fault "params/.*w1.weight' has shape" 's/"intermediate_size": 64/"intermediate_size": 60/'
edit_fault "'tokens' holds the id" 's/"vocab_size": 128/"vocab_size": 100/;s/"output_size": 128/"output_size": 100/'
edit_fault "'tokens' has batches of 1 sequences of 1024" 's/"seq_length": 1024/"seq_length": 512/'
edit_fault "params/language_model.lm_head.weight' is missing" \
    's/"tie_word_embeddings": true/"tie_word_embeddings": false/'
edit_fault 'suffix_len' 's/"suffix_len": 2/"suffix_len": 5/'
edit_fault 'elsewhere.safetensors' 's/"case"/"inputs_from": "elsewhere.safetensors", "case"/'

case_copy H_long_eval
truncate -s 200000 "$work/case/H_long_eval.safetensors"
expect_fault 'H_long_eval.safetensors' "$TTT" parity "$work/case/H_long_eval.json"
case_copy H_long_eval
rm "$work/case/H_long_eval.safetensors"
expect_fault 'H_long_eval.safetensors' "$TTT" parity "$work/case/H_long_eval.json"
# A weight without a use.
case_copy H_long_eval
sed -i 's/"prime": true/"prime": false/; s/\*\*.suffix_blocks.feed_forward_prime/**.suffix_blocks.feed_forward/' \
    "$work/case/H_long_eval.json"
expect_status 1 "$TTT" parity "$work/case/H_long_eval.json"
grep -q '^params/.*ffn_prime_norm.weight .* FAIL  this weight belongs to no part' "$work/out" ||
    fail "a weight without a use is not reported"

[ $failures -eq 0 ] || { echo "$failures checks failed" >&2; exit 1; }
