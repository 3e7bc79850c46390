#!/usr/bin/env bash
# `ttt tokenize` as a user meets it; and, where tests/fetch_oracles was run, against tiktoken and
# tokenizers with the vocabularies that are published.
set -u
root=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
ttt=$build/ttt
small=$root/tests/fixtures/tokenizer/small.json
. "$TTT_SOURCE_DIR/tests/shell.sh"

tokenize() { "$ttt" tokenize --tokenizer "$@"; }

# --- there and back, byte for byte, also what is not UTF-8
head -c 100000 /dev/urandom >noise
cat "$small" "$root"/docs/*.md noise >text
for tokenizer in bytes "$small" "${small%.json}.model"; do
    tokenize "$tokenizer" --ids <text >ids && tokenize "$tokenizer" --decode <ids >back
    cmp -s text back || fail "$tokenizer: other bytes came back"
    [ "$(tokenize "$tokenizer" --count <text)" -eq "$(wc -l <ids)" ] || fail "--count: $tokenizer"
done
{ cat "$small"; sleep 0.2; cat noise; } | tokenize "$small" --ids >parts
cat "$small" noise | tokenize "$small" --ids | cmp -s - parts || fail "a slow pipe changes the ids"
printf 'a<|end_of_text|>b' >names
[ "$(tokenize "$small" --special <names | tr '\n' ' ')" = "97 639 98 " ] || fail "--special"
[ "$(tokenize "$small" --special <names | tokenize "$small" --decode)" = "$(cat names)" ] ||
    fail "special tokens do not come back"
[ "$(tokenize "$small" <names | wc -l)" -gt 5 ] || fail "special tokens without being asked"
[ "$(tokenize "$small" --bos </dev/null)" = 638 ] || fail "--bos"
[ -z "$(tokenize "$small" </dev/null)" ] || fail "ids of nothing"
[ "$(printf '%s' '  104 105  ' | tokenize bytes --decode)" = hi ] || fail "ids without a line end"
expect 0 'vocabulary +640' tokenize "$small" --info
expect 0 '"bos": 638' tokenize "$small" --info --json

# --- training: the same file every time, and it opens
expect 0 '400 tokens' "$ttt" tokenize --train "$root/docs" --ext .md --vocab 400 --out a.json
expect 0 '400 tokens' "$ttt" tokenize --train "$root/docs" --ext .md --vocab 400 --out b.json
cmp -s a.json b.json || fail "training twice gives two files"
expect 0 'vocabulary +400' tokenize b.json --info
printf 'ab' >tiny
expect 0 'pairs for 259 tokens only' "$ttt" tokenize --train tiny --vocab 300 --out c.json
expect 1 'neither a file nor a folder' "$ttt" tokenize --train /dev/null --vocab 300 --out d.json
expect 1 'nowhere' "$ttt" tokenize --train nowhere --vocab 300 --out d.json
[ ! -e d.json ] || fail "a failed training left a file"

# --- what is wrong is said in a line
expect 2 'vocab' "$ttt" tokenize --train tiny --vocab 20 --out d.json
expect 2 '--out' "$ttt" tokenize --train tiny
expect 2 '--tokenizer' "$ttt" tokenize --ids
expect 2 'one of' tokenize bytes --ids --decode
expect 1 "no tokenizer 'llama3'" tokenize llama3 --info
printf '12 x' >bad
expect 1 "'x' is no id" tokenize bytes --decode <bad
printf '258' >bad
expect 1 'outside the tokenizer.s vocabulary of 258' tokenize bytes --decode <bad
printf '9999999999999999999999' >bad
expect 1 'outside' tokenize bytes --decode <bad
head -c 3000 "$small" >cut.json
expect 1 'cut.json:[0-9]+: not JSON' tokenize cut.json --info

# --- a data set keeps its tokenizer, and what does not fit is refused
expect 0 'wrote data' "$ttt" data encode "$root/docs" --ext .md --tokenizer "$small" --out data
cmp -s data/tokenizer.json "$small" || fail "the data set has no copy of the tokenizer"
expect 0 '^638$' "$ttt" data cat data --range 0:1
"$ttt" data cat data --text >all 2>err
grep -q 'Making and looking' all || fail "data cat --text: $(head -c 200 all err)"
expect 0 'wrote data' "$ttt" data encode "$root/docs" --ext .md --tokenizer "$small" --out data --force
sed 's/"version"/"Version"/' "$small" >data/tokenizer.json
expect 1 'not the tokenizer that belongs here' "$ttt" data cat data --text

# --- a normalizer can make more ids than the text has bytes: U+FDFA is 3 bytes, and 33 under NFKC
sed 's/"normalizer": null/"normalizer": {"type": "NFKC"}/' "$small" >nfkc.json
mkdir longer
for _ in $(seq 5000); do printf '\xef\xb7\xba'; done >longer/a.txt
expect 0 'wrote folded' "$ttt" data encode longer --tokenizer nfkc.json --val-fraction 0 --out folded
tokenize nfkc.json --ids <longer/a.txt >ids
[ "$(wc -l <ids)" -gt 15000 ] || fail "NFKC does not make that text longer"
"$ttt" data cat folded --range "1:$(($(wc -l <ids) + 1))" | cmp -s - ids ||
    fail "a normalized text has other ids in a data set"

# --- a model too: trained, read with, and no other tokenizer in its place
cp "$small" data/tokenizer.json
model=runs/tiny/words/model
expect 0 'steps' "$ttt" train +experiment=tiny/pretrain-tiny-e2e training.exp_dir=runs \
    training.exp_name=words training.dataset_path=data model.vocab_size=640 \
    model.bos_token_id=638 model.eos_token_id=639 training.total_steps=2 \
    training.optimizer_outer.lr_warmup_steps=1
cmp -s $model/tokenizer.json "$small" || fail "the model has no copy of the tokenizer"
expect 0 'memory +m' "$ttt" read $model "$root/README.md" --memory m
expect 0 'tokenizer.json@' "$ttt" memory info m
expect 0 '' "$ttt" generate $model --memory m --prompt 'The ' --max-tokens 5
cp b.json $model/tokenizer.json
expect 1 'not the tokenizer that belongs here' "$ttt" generate $model --prompt 'The '
sed -i 's/tokenizer_name:.*/tokenizer_name: a-published-name/' $model/config.yaml
expect 1 'made with another tokenizer' "$ttt" generate $model --memory m --prompt 'The '
expect 1 'do not fit together' "$ttt" eval $model --data data
rm $model/tokenizer.json
expect 1 'names no tokenizer' "$ttt" generate $model --prompt 'The '
cp c.json other.json
expect 1 'was made with the tokenizer' "$ttt" train +experiment=tiny/pretrain-tiny-e2e \
    training.exp_dir=runs training.exp_name=other training.dataset_path=data model.vocab_size=640 \
    model.bos_token_id=638 training.tokenizer_name=other.json training.total_steps=2 \
    training.optimizer_outer.lr_warmup_steps=1

# --- the published ones
oracles=${TTT_ORACLES:-$build/oracles}
if [ -x "$oracles/bin/python" ]; then
    "$oracles/bin/python" "$root/tests/compare_tokenizers.py" "$ttt" "$oracles" \
        "$root/tests/fixtures/tokenizer/llama3.json" || failures=$((failures + 1))
else
    echo "SKIPPED: Llama 3's ranks and tiktoken are not there: tests/fetch_oracles fetches them"
fi
exit $((failures > 0))
