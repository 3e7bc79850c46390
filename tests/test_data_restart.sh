#!/usr/bin/env bash
# `ttt data encode` killed with -9 again and again gives, byte for byte, what it gives undisturbed; two
# of them do not mix; another number of threads changes nothing.
set -u

TTT=$TTT_BUILD_DIR/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"

# 60 documents, one of them large enough to be encoded in pieces.
mkdir texts
for i in $(seq 60); do
    seq $((i * 1000)) $((i * 1000 + 3000)) >"texts/$i.txt"
done
seq 2000000 >texts/large.txt
options=(texts --shard-tokens 65536 --chunk-tokens 4096 --val-fraction 0.03)

"$TTT" data encode "${options[@]}" --threads 1 --out whole >/dev/null 2>said || fail "$(cat said)"
"$TTT" data encode "${options[@]}" --threads 3 --out threads >/dev/null 2>said || fail "$(cat said)"
diff -r whole threads >/dev/null || fail "another number of threads, other bytes"

# killed OUT FILES COMMAND...: the command again and again until there is OUT, each time killed when
# it is FILES files of train further. How often, and how often one went on, is in kills and resumed.
killed() {
    local out=$1 files=$2 next=0 pid
    shift 2
    kills=0 resumed=0
    for _ in $(seq 200); do
        "$@" --out "$out" >/dev/null 2>said &
        pid=$!
        while [ -e "$out.partial/train/c/$next" ]; do next=$((next + 1)); done
        next=$((next + files))
        while kill -0 $pid 2>/dev/null && [ ! -e "$out.partial/train/c/$next" ]; do sleep 0.001; done
        if kill -9 $pid 2>/dev/null; then kills=$((kills + 1)); fi
        wait $pid 2>/dev/null
        grep -q "going on after" said && resumed=$((resumed + 1))
        [ -d "$out" ] && return
    done
}

killed parts 20 "$TTT" data encode "${options[@]}"
[ "$kills" -ge 3 ] || fail "only $kills kills: the test is too quick to say anything"
[ "$resumed" -ge $((kills / 2)) ] || fail "no run went on where another stopped"
diff -r whole parts || fail "other bytes after $kills kills"
if ls -d parts.* 2>/dev/null; then fail "something was left behind"; fi
"$TTT" data check parts >/dev/null 2>said || fail "check: $(cat said)"

# Interrupted, it says how to go on; other options start anew; a second process is refused.
"$TTT" data encode "${options[@]}" --out second >/dev/null 2>said &
pid=$!
while kill -0 $pid 2>/dev/null && [ ! -f second.partial/train/c/3 ]; do sleep 0.01; done
kill -STOP $pid
if "$TTT" data encode "${options[@]}" --out second >/dev/null 2>other; then fail "two at once"; fi
grep -q "another process" other || fail "two at once: $(cat other)"
kill -TERM $pid
kill -CONT $pid
wait $pid
status=$?
[ $status -eq 143 ] || fail "an interrupted run ends with $status"
grep -q "run the same command again" said || fail "interrupted: $(cat said)"
[ ! -e second ] || fail "an interrupted run leaves a dataset"
"$TTT" data encode "${options[@]}" --seed 5 --out second >/dev/null 2>said || fail "$(cat said)"
if grep -q "going on after" said; then fail "another seed goes on"; fi
"$TTT" data check second >/dev/null 2>said || fail "check: $(cat said)"
mkdir -p third.partial/mine
if "$TTT" data encode "${options[@]}" --out third >/dev/null 2>said; then fail "a folder in the way"; fi
[ -d third.partial/mine ] || fail "a folder that is not ours was removed"

# Repacking, too, goes on where it was killed.
repack=(data repack whole --codec zstd:9 --chunk-tokens 512 --shard-tokens 65536)
"$TTT" "${repack[@]}" --out again >/dev/null 2>said || fail "repack: $(cat said)"
killed packed 40 "$TTT" "${repack[@]}"
[ "$kills" -ge 2 ] && [ "$resumed" -ge 1 ] || fail "repack: $kills kills, went on $resumed times"
diff -r again packed || fail "repack: other bytes after $kills kills"
"$TTT" data check packed >/dev/null 2>said || fail "check of what was repacked: $(cat said)"

# What it refuses, it refuses in a line.
"$TTT" data encode "${options[@]}" --codec lzo --out fourth >/dev/null 2>said && fail "codec lzo"
grep -q "codec 'lzo'" said || fail "codec: $(cat said)"
if [ -e fourth.partial ]; then fail "a refused run leaves a folder"; fi

[ "$failures" -eq 0 ] && echo "restart: all passed ($kills kills)"
[ "$failures" -eq 0 ]
