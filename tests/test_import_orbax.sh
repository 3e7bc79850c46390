#!/usr/bin/env bash
# tools/import_orbax on a checkpoint that orbax wrote, on the forms that orbax has had, and on
# damaged ones; and what comes out with the safetensors library, `ttt eval` and `ttt train`. Needs a
# Python with tensorstore: build/oracles (tests/fetch_oracles makes it), or $TTT_IMPORT_PYTHON.
set -u
root=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
export TTT=$build/ttt TTT_IMPORT_PYTHON=${TTT_IMPORT_PYTHON:-$build/oracles/bin/python}
"$TTT_IMPORT_PYTHON" -c 'import tensorstore, numpy, ml_dtypes, safetensors' 2>/dev/null || {
    echo "skipped: no Python with tensorstore and safetensors; tests/fetch_oracles makes one"
    exit 77
}
fixtures=$root/tests/fixtures
. "$TTT_SOURCE_DIR/tests/shell.sh"

cases() { "$TTT_IMPORT_PYTHON" "$root/tests/orbax_cases.py" "$@"; }
convert() { "$root/tools/import_orbax" "$@"; }

# refused PATTERN arguments...: exit status 1, the reason in the last line, nothing left
refused() {
    local pattern=$1 status=0
    shift
    convert "$@" >out 2>err || status=$?
    [ $status -eq 1 ] || fail "status $status: $* ($(tail -n 1 err))"
    tail -n 1 err | grep -qE -e "$pattern" || fail "no '$pattern' for $*: $(cat err)"
    [ "$(ls -A places)" = "" ] || fail "$* left $(ls -A places)"
    rm -rf places && mkdir places
}

# taken NAME [bf16] arguments...: converts to models/NAME with the fixture's weights
taken() {
    local from=$1 kind=$2
    shift 2
    rm -rf model
    convert "$from" model "$@" >out 2>err || fail "$from: $(tail -n 1 err)"
    cases compare model/model.safetensors "$fixtures/A_meta_clip.safetensors" "$kind" ||
        fail "$from: other weights"
}

mkdir places theirs
tar xJf "$fixtures/import/orbax_A.tar.xz" -C theirs || fail "cannot unpack the checkpoint"
cases make "$fixtures/A_meta_clip.safetensors" made || fail "cannot make checkpoints"

# --- what orbax wrote: weights, moments, configuration, losses
taken theirs/A_meta_clip f32
grep -q 'shapes cannot tell .*model.rope_theta.*training.spec_inner' err || fail "not said: $(cat err)"
[ ! -e model/config.yaml ] && [ -e model/optimizer.safetensors ] || fail "files: $(ls model)"
(cd model && sha256sum --quiet -c COMPLETE) || fail "COMPLETE is wrong"
mapfile -t settings < <(cases overrides "$fixtures/A_meta_clip.json")
taken theirs/A_meta_clip/3 f32 "${settings[@]}"
cases dataset "$fixtures/A_meta_clip.safetensors" data
"$TTT" eval model --data data --layout stream --modes on --threads 1 --out eval >/dev/null 2>err ||
    fail "eval: $(tail -n 1 err)"
cases losses eval/token_nll_*.npy "$fixtures/A_meta_clip_f64.safetensors" || fail "other losses"
taken theirs/A_meta_clip/3/model_weights f32 --no-optimizer
[ ! -e model/optimizer.safetensors ] || fail "--no-optimizer has moments"

# --- going on from it, with its moments and its step
convert theirs/A_meta_clip "runs/f/theirs/checkpoints/step-00000003" "${settings[@]}" >/dev/null 2>err ||
    fail "as a checkpoint: $(tail -n 1 err)"
train=("$TTT" train --config-dir "$root/configs" --threads 1 "${settings[@]}" training.dummy_dataset=true
    model.eos_token_id=2 training.exp_dir=runs training.exp_folder=f training.exp_name=on training.total_steps=5
    training.resume_exp_name=theirs)
"${train[@]}" training.load_part=all >log 2>&1 || fail "going on: $(tail -n 1 log)"
[ -e runs/f/on/checkpoints/step-00000005 ] || fail "no step 5: $(ls runs/f/on/checkpoints)"
[ "$(grep -c '"loss"' runs/f/on/log.jsonl)" -eq 2 ] || fail "not two steps: $(cat runs/f/on/log.jsonl)"

# --- forms
for form in plain files zarr3 chunked prefixed marked; do taken made/$form f32; done
taken made/bf16 bf16
convert made/steps model2 >out 2>err || fail "steps: $(tail -n 1 err)"
grep -q 'passing over made/steps/20' err && grep -q 'made/steps/10:' err || fail "steps: $(cat err)"
taken made/steps/9 f32
taken made/unmarked f32 --uncommitted

# --- nothing is written
convert made/plain places/x --dry-run >out 2>err || fail "dry run: $(tail -n 1 err)"
grep -q '^language_model.model.ln_f.weight (32) F32 <- ' out || fail "no mapping: $(cat out)"
[ "$(ls -A places)" = "" ] || fail "a dry run left $(ls -A places)"
refused 'no commit marker' made/unmarked/7 places/x
refused 'no complete step' made/unmarked places/x
refused 'still the temporary one' made/steps/30.orbax-checkpoint-tmp-5 places/x
refused 'no commit time' made/steps/20 places/x
refused 'no part of the model language_model.model.adapter.weight' made/unknown places/x
refused 'missing language_model.model.ln_f.weight' made/less places/x
refused 'ln_f.weight: holds int32' made/ints places/x
refused "ln_f.weight' has nan" made/nan places/x
refused 'cannot be read' made/cut places/x
refused 'listed but not stored: language_model.model.ln_f.weight' made/gone places/x
refused '_METADATA: is damaged' made/garbled places/x
refused 'is not a folder' nowhere places/x
refused 'holds neither' made places/x
refused 'its tensors have model.hidden_size = 32' made/plain places/x model.hidden_size=64
refused "did you mean 'model.rope_theta'" made/plain places/x model.rope_thta=1

# --- the library reads what is exported, and what it writes is imported
"$TTT" export model --out ours.safetensors --dtype bf16 >/dev/null 2>&1 && fail "exported without a configuration"
taken made/plain f32 "${settings[@]}"
"$TTT" export model --out ours.safetensors --layout layers >/dev/null 2>err || fail "export: $(cat err)"
"$TTT_IMPORT_PYTHON" - <<'PY' || fail "the library and ttt do not agree"
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
with safe_open("ours.safetensors", "np") as f:
    assert f.metadata()["format"] == "ttt-model-1" and "rope_theta" in f.metadata()["config"]
save_file(load_file("ours.safetensors"), "theirs.safetensors")
PY
"$TTT" import theirs.safetensors --out again --config model/config.yaml >/dev/null 2>err || fail "import: $(cat err)"
cmp -s again/model.safetensors model/model.safetensors || fail "other bytes came back"

[ $failures -eq 0 ]
