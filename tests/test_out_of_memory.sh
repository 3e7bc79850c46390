#!/usr/bin/env bash
# Every command with less and less memory: it does its work, or it ends with one line that says so.
# Never by a signal, never hanging, never with half a file. Sanitizers reserve terabytes of address
# space: skipped there.
set -u
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
ttt=$build/ttt
export TTT_CONFIG_DIR=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}/configs
grep -q '^SANITIZE:STRING=.' "$build/CMakeCache.txt" && echo "skipped: sanitizer" && exit 77
. "$TTT_SOURCE_DIR/tests/shell.sh"
ulimit -c 0
export OMP_NUM_THREADS=2 # one more than the program itself

# limited KIB COMMAND...: the status, with the command's words in out and err
limited() (
    ulimit -v "$1"
    shift
    exec timeout 60 "$@" >out 2>err
)

# The least with which the program is loaded and starts: below, the lines are the loader's.
least=16384
until limited $least "$ttt" --version; do
    least=$((least + 2048))
    [ $least -gt 4194304 ] && fail "the program does not start: $(cat err)" && exit 1
done
echo "starts with $least KiB"
limited $((least - 2048)) "$ttt" --version
grep -q '^ttt: no memory for the program: ' err || fail "below that: $(cat err)"

# with_less NAME COMMAND...: at every limit; done at the highest, and where much is needed (computes)
# refused at the lowest
with_less() {
    local name=$1 more status refused=0
    shift
    for more in 1 4 8 12 16 20 28 40 64 512; do
        limited $((least + more * 1024)) "$@"
        status=$?
        [ $status -eq 0 ] && continue
        refused=$((refused + 1))
        { [ $status -eq 1 ] || [ $status -eq 2 ]; } ||
            fail "$name, $more MiB more: status $status ($(tail -n 2 err))"
        [ "$(grep -cE '(no memory|memory for|MB are free|Cannot allocate)' err)" -eq 1 ] ||
            fail "$name, $more MiB more: not one line about memory: $(cat err)"
        tail -n 1 err | grep -q '^ttt' || fail "$name, $more MiB more: $(tail -n 1 err)"
    done
    [ $refused -gt 0 ] || [[ $name != computes* ]] || fail "$name was never short of memory"
    [ $status -eq 0 ] || fail "$name with enough memory: $(cat err)"
}

"$build/test_api" make-model model 1 meta || exit 1
mkdir texts
for i in 1 2 3 4 5 6; do seq $((i * 100)) $((i * 100 + 3000)) >texts/$i.txt; done
"$ttt" data encode texts --out data >/dev/null 2>&1 || exit 1
tiny="+experiment=tiny/pretrain-tiny-e2e training.dataset_path=data training.total_steps=1
    training.eval_sequences=0 model.vocab_size=258 training.seq_length=256"

with_less config "$ttt" config +experiment=125m/pretrain/pretrain-125m-e2e
with_less tokenize "$ttt" tokenize --train texts --vocab 400 --out tokenizer.json
with_less encode "$ttt" data encode texts --out again --force
# shellcheck disable=SC2086
with_less "computes: train" "$ttt" train $tiny training.exp_name=run --fresh
with_less "computes: eval" "$ttt" eval model --data data --max-tokens 1000
with_less "computes: generate" "$ttt" generate model --prompt 'one ' --max-tokens 5
with_less "computes: bfloat16" "$ttt" generate model --compute bf16 --prompt 'one ' --max-tokens 5
mkdir exported
with_less export "$ttt" export model --out exported/m.safetensors
with_less import "$ttt" import exported/m.safetensors --out imported --force

# What was there stays whole: the memory of a read that had no room to save is the one before.
"$ttt" read model texts/1.txt --memory kept.memory >/dev/null 2>&1
with_less "computes: read" "$ttt" read model texts/2.txt --from kept.memory --memory kept2.memory
cp kept2.memory before
for more in 8 16 20; do
    limited $((least + more * 1024)) "$ttt" read model texts/3.txt --memory kept2.memory ||
        cmp -s kept2.memory before || fail "a failing read changed its memory file"
    cp kept2.memory before
done
expect 0 '^tokens' "$ttt" memory info kept2.memory

# A control group's limit is in the plan of a run, and in what is refused, before the group is full.
group=
for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    for limit in memory.limit_in_bytes memory.max; do
        [ -n "$group" ] && continue
        group=$root/ttt-test-$$
        mkdir $group 2>/dev/null && echo 200000000 2>/dev/null >$group/$limit && continue
        rmdir $group 2>/dev/null
        group=
    done
done
if [ -n "$group" ]; then
    in_group() (
        echo $BASHPID >"$group/cgroup.procs"
        exec "$@"
    )
    expect 1 'a step needs [0-9]+ MB.*only 1[0-9][0-9] MB are free.*would fit' in_group "$ttt" train \
        $tiny training.exp_name=grouped training.seq_length=2048 training.global_batch_size=8
    expect 1 'no memory for .* MB wanted, 1[0-9][0-9].[0-9] MB free' in_group "$ttt" bench generate \
        +experiment=125m/pretrain/pretrain-125m-e2e --steps 1
    rmdir "$group"
else
    echo "a control group cannot be made here: its limit was not tried" >&2
fi
exit $((failures > 0))
