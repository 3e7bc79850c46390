#!/usr/bin/env bash
# The demo in miniature, on text that this script makes up: everything it promises is there and agrees
# with itself; a second run leaves the first alone; bad text is refused in one line.
set -u

export TTT=$TTT_BUILD_DIR/ttt
demo=$TTT_SOURCE_DIR/tools/demo
. "$TTT_SOURCE_DIR/tests/shell.sh"
export TTT_DEMO_FROM=$work

# Sentences of few words by a fixed rule, a blank line now and then.
write_text() { # FILE SEED BYTES
    awk -v seed="$2" -v bytes="$3" 'BEGIN {
        n = split("the river old stone under a bridge of grey water runs to sea", w, " ")
        x = seed
        while (length(text) < bytes) {
            x = (x * 1103 + 12345) % 65536
            text = text w[x % n + 1] (x % 89 == 0 ? ".\n\n" : x % 7 == 0 ? "\n" : " ")
        }
        printf "%s", substr(text, 1, bytes) }' >"$1"
}

expect_refused() { # PATTERN arguments...
    local pattern=$1 status=0
    shift
    "$demo" --quick --out refused "$@" >out 2>err || status=$?
    [ "$status" -eq 1 ] || fail "exit status $status instead of 1: $*"
    grep -qE "^demo: .*$pattern" err || fail "no '$pattern' for $*: $(cat err)"
    same "lines that complain of $*" "$(wc -l <err)" 1
    [ ! -e refused ] || fail "a refused text left a folder: $*"
    rm -rf refused
}

value() { # FILE PATH
    (. "$TTT_SOURCE_DIR/tools/lib-json.sh" && json_get "$1" "$2")
}

same() { # WHAT A B
    [ "$2" = "$3" ] || fail "$1: $2 and $3 differ"
}

check_files() { # FOLDER
    local file
    for file in commands.sh summary.txt data/dataset.json runs/demo/e2e/model/model.safetensors \
        runs/demo/swa/model/model.safetensors eval/summary.json eval/loss_by_position.tsv \
        memory/memory.tsv example.memory generated/with.txt generated/without.txt \
        generated/side-by-side.txt logs/train-e2e.log; do
        [ -s "$1/$file" ] || fail "$1/$file is missing"
    done
    if command -v gnuplot >/dev/null; then
        for file in png svg; do
            [ -s "$1/eval/loss_by_position.$file" ] || fail "loss_by_position.$file is missing"
        done
    fi
    [ -z "$(find "$1" -name '*.part')" ] || fail "half-written files are left in $1"
}

check_numbers() { # FOLDER
    local weights_e2e weights_swa columns
    same "bytes trained on" "$(value "$1/runs/demo/e2e/summary.json" tokens)" \
        "$(value "$1/runs/demo/swa/summary.json" tokens)"
    weights_e2e=$(stat -c %s "$1/runs/demo/e2e/model/model.safetensors")
    weights_swa=$(stat -c %s "$1/runs/demo/swa/model/model.safetensors")
    awk -v a="$weights_e2e" -v b="$weights_swa" 'BEGIN { exit a > 1.02 * b || b > 1.02 * a }' ||
        fail "the models differ in size: $weights_e2e and $weights_swa bytes"
    columns=$(cut -f 2 "$1/eval/loss_by_position.tsv" | sed 1d | sort -u | wc -l)
    same "columns of the evaluation" "$columns" 3
    same "documents read from memory" "$(sed 1d "$1/memory/memory.tsv" | wc -l)" \
        "$(find "$1/memory" -type f -name memory | wc -l)"
    same "the model of the memory" "$("$TTT" memory info "$1/example.memory" --json | grep -c demo-e2e)" 1
    same "first line of the table" "$(awk -F '\t' 'NR == 2 { printf "%.6f", $2 }' "$1/memory/memory.tsv")" \
        "$(printf '%.6f' "$(value "$1/memory/1/fresh.json" nll)")"
    bash -n "$1/commands.sh" || fail "$1/commands.sh is no script"
}

# The summary's first number is the evaluation's.
check_summary() { # FOLDER
    local mean
    mean=$(value "$1/eval/summary.json" columns.0.all.mean)
    mean=$(awk -v x="$mean" 'BEGIN { printf "%.3f", x / log(2) }')
    grep -q "learning on  *$mean bits per byte" "$1/summary.txt" || fail "the summary lacks $mean"
    grep -qE 'Learning while reading (beats|is)' "$1/summary.txt" || fail "the summary draws no conclusion"
}

echo "== one file, cut into parts" >&2
write_text one.txt 7 30000
"$demo" --quick --out one one.txt >one.log 2>&1 || fail "one file: $(tail -n 3 one.log)"
grep -q 'cut into' one.log || fail "nothing said of the cutting"
check_files one
check_numbers one
check_summary one

echo "== a folder with spaces in its name; outputs are never written over" >&2
mkdir -p "some texts/in it"
for i in 1 2 3 4 5 6 7 8 9; do write_text "some texts/in it/no $i.txt" $((i * 77)) 2500; done
printf '\0\1\2' >"some texts/picture.bin"
"$demo" --quick --steps 2 --out "my out" "some texts" >folder.log 2>&1 ||
    fail "a folder: $(tail -n 3 folder.log)"
grep -q '9 documents' folder.log || fail "not 9 documents: $(grep documents folder.log | head -n 1)"
grep -q '1 files left out' folder.log || fail "the binary file was not left out"
check_files "my out"
check_numbers "my out"
"$demo" --quick --out one one.txt >again.log 2>&1 && fail "a folder that exists was taken"
grep -q 'it exists' again.log || fail "no word of the folder that exists"

echo "== bad text" >&2
write_text short.txt 3 500
: >empty.txt
expect_refused 'too few' short.txt
expect_refused 'too few' empty.txt
expect_refused 'no such file' absent.txt
expect_refused 'takes a number' --steps none one.txt
if [ "$(id -u)" -ne 0 ]; then
    cp one.txt locked.txt && chmod 0 locked.txt
    expect_refused 'permission denied' locked.txt
fi

[ $failures -eq 0 ] || exit 1
echo "demo: all as promised" >&2
