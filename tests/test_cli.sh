#!/usr/bin/env bash
# read, generate and memory as a user meets them, on a small random model: what they keep, what they
# print, and one clear line for each kind of bad input.
set -u
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
ttt=$build/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"

tensors() { # what a memory holds but for its date, and the checksum that counts it
    LC_ALL=C sed 's/"created":"[^"]*"//; s/"crc32c":"[^"]*"//' "$1"
}

"$build/test_api" make-model model 1 meta || exit 1
"$build/test_api" make-model other 2 meta || exit 1
"$build/test_api" make-model plain 1 pretrain || exit 1
seq 1 4000 >a.txt
seq -s ' ' 7 7 9000 >b.txt
: >empty.txt

# --- the program itself
expect 0 '^  read ' "$ttt" help
expect 0 '^usage: ttt read' "$ttt" help read
expect 0 '^usage: ttt generate' "$ttt" generate --help
expect 0 '^ttt [0-9.]+ \(fp32\)' "$ttt" --version
expect 2 'usage: ttt COMMAND' "$ttt"
refuse 2 'did you mean generate\?' "$ttt" genrate
refuse 2 "unknown command 'nonsense'" "$ttt" help nonsense

# --- reading: the report, the memory, and going on from it
expect 0 '^last 10 %' "$ttt" read model a.txt --memory first.memory
expect 0 '^steps +[1-9]' "$ttt" memory info first.memory
expect 0 '^tokens +18894$' "$ttt" memory info first.memory
expect 0 '"nll_last_tenth": [0-9]' "$ttt" read model a.txt empty.txt b.txt --memory both.memory --json
expect 0 '25163 tokens read' "$ttt" read model b.txt --memory first.memory
[ "$("$ttt" memory sources first.memory | cut -f 3 | tr '\n' ' ')" = "a.txt b.txt " ] ||
    fail "the sources are not a.txt and b.txt"
[ "$("$ttt" memory sources first.memory | head -1 | cut -f 2)" = "$(sha256sum <a.txt | cut -c 1-64)" ] ||
    fail "the digest of a.txt is another one"
cmp -s <(tensors first.memory) <(tensors both.memory) ||
    fail "reading in two runs is not the same as in one, bit for bit"
"$ttt" read model - --memory piped.memory <a.txt >/dev/null 2>&1 || fail "standard input"
"$ttt" read model a.txt --memory a.memory >/dev/null 2>&1
"$ttt" read model b.txt --from a.memory --memory ab.memory >/dev/null 2>&1
"$ttt" read model a.txt --fresh --memory ab2.memory --save-every 1000 >/dev/null 2>&1
cmp -s <(tensors ab.memory) <(tensors both.memory) || fail "--from is not the same as going on"
cmp -s <(tensors ab2.memory) <(tensors a.memory) || fail "--save-every changes what is read"
[ "$("$ttt" memory info piped.memory | grep ^tokens)" = "$("$ttt" memory info a.memory | grep ^tokens)" ] ||
    fail "standard input is read differently"
expect 0 'learning is off' "$ttt" read model a.txt --no-learning
expect 0 'learning is off' "$ttt" read plain a.txt --memory plain.memory

# --- generating
expect 0 . "$ttt" generate model --prompt '12 13 ' --max-tokens 40 --seed 1
cp out one
expect 0 . "$ttt" generate model --prompt '12 13 ' --max-tokens 40 --seed 1
cmp -s out one || fail "same seed, another text"
expect 0 . "$ttt" generate model --prompt '12 13 ' --max-tokens 40 --seed 2
cmp -s out one && fail "another seed, same text"
expect 0 . "$ttt" generate model --memory a.memory --prompt '12 13 ' --max-tokens 40 --seed 1
cmp -s out one && fail "the memory makes no difference"
printf '12 13 ' | "$ttt" generate model --prompt - --max-tokens 40 --seed 1 >out 2>err
cmp -s out one || fail "a prompt from standard input is another one"
expect 0 'written: 40 tokens.*length' "$ttt" generate model --max-tokens 40 --temperature 0 --stats
cp out greedy
stop=$(LC_ALL=C grep -aoE '[a-zA-Z0-9]{2}' greedy | head -1)
if [ -n "$stop" ]; then
    expect 0 '"end": "stop"' "$ttt" generate model --max-tokens 40 --temperature 0 --stop "$stop" --json
    expect 0 'end: stop' "$ttt" generate model --max-tokens 40 --temperature 0 --stop "$stop" --stats
    cmp -s out <(head -c "$(stat -c %s out)" greedy) || fail "--stop changes what comes before"
    LC_ALL=C grep -aq "$stop" out && fail "the stop text was printed"
fi
expect 0 '"pauses": [1-9]' "$ttt" generate model --max-tokens 40 --json --save-memory g.memory
expect 0 '\(generated\)' "$ttt" memory sources g.memory
expect 0 '"learning": false' "$ttt" generate model --max-tokens 40 --no-learning --json
expect 0 '"learning": false' "$ttt" generate plain --max-tokens 4 --json
expect 0 '"text": ""' "$ttt" generate model --max-tokens 0 --json

# --- several texts side by side: each is the one that it would be alone
# text K: the text of number K in out
text() {
    python3 -c 'import json, sys
sys.stdout.write(json.load(open("out"))["texts"][int(sys.argv[1])]["text"])' "$1"
}
if command -v python3 >/dev/null; then
    expect 0 '"pauses": [1-9]' "$ttt" generate model --prompt '12 13 ' --max-tokens 40 --seed 1 --batch 3 --json
    cp out three
    for k in 0 1 2; do
        cp three out
        text $k >text_$k
        "$ttt" generate model --prompt '12 13 ' --max-tokens 40 --seed $((k + 1)) --json >out
        python3 -c 'import json, sys
sys.stdout.write(json.load(open("out"))["text"])' | cmp -s - text_$k ||
            fail "text $k of a batch is not the one of its seed"
    done
    printf 'In the beginning\n\n7 8 9 10 11 12 13\n' >prompts
    expect 0 '"prompt_tokens": 33' "$ttt" generate model --prompts prompts --batch 2 --max-tokens 30 \
        --temperature 0 --memory a.memory --json
    text 3 >last
    "$ttt" generate model --prompt '7 8 9 10 11 12 13' --max-tokens 30 --temperature 0 \
        --memory a.memory --json >out
    python3 -c 'import json, sys
sys.stdout.write(json.load(open("out"))["text"])' | cmp -s - last || fail "a prompt of several"
else
    echo "SKIPPED without python3: texts of a batch"
fi
expect 0 '^--- 2 of 2, seed 6, 5 tokens, end: length' "$ttt" generate model --batch 2 --seed 5 --max-tokens 5
expect 0 'written: 10 tokens in 2 texts' "$ttt" generate model --batch 2 --max-tokens 5 --stats

# --- bad input
refuse 2 'is for one text' "$ttt" generate model --batch 2 --save-memory x
refuse 2 'exclude each other' "$ttt" generate model --prompt a --prompts prompts
refuse 2 'batch takes a whole number' "$ttt" generate model --batch 0
refuse 1 'holds no prompt' "$ttt" generate model --prompts empty.txt
refuse 1 'noprompts' "$ttt" generate model --prompts noprompts
refuse 2 'threads takes a whole number' "$ttt" read model a.txt --memory x --threads 1.5
refuse 2 'did you mean --memory' "$ttt" read model a.txt --memroy x
refuse 2 'memory FILE is missing' "$ttt" read model a.txt
refuse 2 'at least one text' "$ttt" read model --memory x
refuse 2 'exclude each other' "$ttt" read model a.txt --memory x --fresh --from a.memory
refuse 2 'fp32 or bf16' "$ttt" read model a.txt --memory x --compute int4
refuse 2 'temperature takes a number' "$ttt" generate model --temperature hot
refuse 2 'top-p takes a number' "$ttt" generate model --top-p 1.5
refuse 2 'exclude each other' "$ttt" generate model --learn --no-learning
refuse 2 'one model folder' "$ttt" generate
refuse 2 'info FILE' "$ttt" memory show a.memory
refuse 1 'nowhere' "$ttt" read nowhere a.txt --memory x
refuse 1 'no\.txt' "$ttt" read model no.txt --memory x
refuse 1 'is a folder' "$ttt" read model . --memory x
refuse 1 'no inner weights' "$ttt" generate plain --learn
expect 1 'every text is empty' "$ttt" read model empty.txt --memory x
refuse 1 'no/such/folder' "$ttt" read model a.txt --memory no/such/folder/x
refuse 1 'folder' "$ttt" read model a.txt --memory model
refuse 1 'a\.txt' "$ttt" read model b.txt --memory a.txt --fresh
refuse 1 'other.*belongs to another model|belongs to another model.*other' \
    "$ttt" read other a.txt --memory a.memory
refuse 1 'belongs to another model' "$ttt" generate other --memory a.memory
refuse 1 'no memory file' "$ttt" memory info model/model.safetensors
refuse 1 'a\.txt' "$ttt" memory info a.txt
refuse 1 'cut\.memory' "$ttt" generate model --memory "$(head -c 9000 a.memory >cut.memory && echo cut.memory)"
cp -r model cut && head -c 5000 model/model.safetensors >cut/model.safetensors
refuse 1 'cut/model\.safetensors' "$ttt" read cut a.txt --memory x
cp a.txt cut/model.safetensors
refuse 1 'cut/model\.safetensors' "$ttt" generate cut
[ "$(sha256sum <a.txt)" = "$(seq 1 4000 | sha256sum)" ] || fail "a text was overwritten"
[ ! -e x ] || fail "a failed run left a memory"

# --- no room at the end: one line, and the old memory is as it was
before=$(sha256sum <a.memory)
if [ -n "${TSAN_OPTIONS:-}" ]; then
    echo "skipped: ThreadSanitizer keeps files of its own and dies of the limit" >&2
else
    (
        trap '' XFSZ # the limit then shows as a failing write, like a full disk
        ulimit -f 8
        exec "$ttt" read model b.txt --memory a.memory
    ) >out 2>err </dev/null
    [ $? -eq 1 ] && grep -q 'ttt read: .*a.memory' err || fail "no room: $(cat err)"
fi
[ "$(sha256sum <a.memory)" = "$before" ] || fail "a failed save changed the old memory"
compgen -G '*.tmp-*' >/dev/null && fail "a temporary file was left"

# --- a tokenizer beside an export is another's, where the configuration names its own
cp "$TTT_SOURCE_DIR/tests/fixtures/tokenizer/small.json" tokenizer.json
expect 0 'are now exported' "$ttt" export model --out exported.safetensors
expect 0 'are now beside' "$ttt" import exported.safetensors --out beside
cmp -s model/config.yaml beside/config.yaml || fail "import took another configuration"
[ ! -e beside/tokenizer.json ] || fail "import took the tokenizer of something else"
refuse 1 'tokenizer\.json has [0-9]+ ids, the model' "$ttt" import exported.safetensors --out named --tokenizer tokenizer.json
rm tokenizer.json

# --- standard output full: every command that prints says so
while read -r words; do
    # shellcheck disable=SC2086
    "$ttt" $words >/dev/full 2>err
    [ $? -eq 1 ] && grep -q "^ttt ${words%% *}.*: cannot write to standard output" err ||
        fail "a full output: $words: $(cat err)"
done <<END
generate model --max-tokens 9
read model a.txt --no-learning
memory info a.memory
config
config --keys
train --cfg job
tokenize --tokenizer bytes --info
export model --out exported.safetensors
import exported.safetensors --out imported --json
parity $TTT_SOURCE_DIR/tests/fixtures/D_sliding_window.json
bench peak
help
--version
END

# --- a signal: what was read so far is saved
for signal in TERM INT; do
    rm -f kept.memory
    mkfifo pipe
    "$ttt" read model - --memory kept.memory --save-every 1000 <pipe >out 2>err &
    reader=$!
    exec 3>pipe
    for _ in 1 2 3 4 5; do cat a.txt; done >&3
    for _ in $(seq 200); do
        [ -e kept.memory ] && break
        sleep 0.05
    done
    kill -$signal $reader
    wait $reader
    status=$?
    exec 3>&-
    rm pipe
    [ $status -eq $((128 + $(kill -l $signal))) ] || fail "SIG$signal: status $status"
    grep -q 'interrupted.*kept.memory' err || fail "SIG$signal says nothing: $(cat err)"
    expect 0 '^tokens +[1-9]' "$ttt" memory info kept.memory
done

[ $failures -eq 0 ] && echo "all as expected"
# --- what was learned is not replaced by another reader of the same memory
"$ttt" read model a.txt --memory shared.memory >/dev/null 2>&1
mkfifo slowly
"$ttt" read model slowly --memory shared.memory >out 2>err &
reader=$!
exec 7>slowly # it has looked at the memory by now
"$ttt" read model b.txt --memory shared.memory >/dev/null 2>&1
cp shared.memory theirs
cat b.txt >&7
exec 7>&-
wait $reader
[ $? -eq 1 ] || fail "a memory that another process wrote was replaced"
cmp -s shared.memory theirs || fail "what another process learned is gone"
grep -q "written shared.memory meanwhile.* in shared.memory.$reader" err || fail "not told: $(cat err)"
expect 0 '^tokens +25163$' "$ttt" memory info "shared.memory.$reader"

# --- closed standard files, a full device, and names that would break a line
refuse 1 'cannot write to standard output' bash -c '"$0" help >&-' "$ttt"
refuse 1 'cannot write to standard output' bash -c '"$0" --version >/dev/full' "$ttt"
"$ttt" read model b.txt --memory closed.memory <&- >&- 2>&-
expect 0 '^tokens' "$ttt" memory info closed.memory
refuse 1 'cannot open no.such.memory' "$ttt" memory info $'no\nsuch\tmemory'
refuse 1 'cannot open a+\.\.\.: File name too long' "$ttt" memory info "$(printf 'a%.0s' {1..5000})"
exit $((failures > 0))
