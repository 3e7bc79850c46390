#!/usr/bin/env bash
# `hydra/launcher=submitit_slurm` from outside, with stand-ins for Slurm's programs on the PATH: what
# is written and said, and what a job's script does after each kind of end. The real Slurm:
# tests/slurm_live.
set -u
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
source=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}
ttt=$build/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"
export TTT_CONFIG_DIR=$source/configs

tiny=(+experiment=tiny/pretrain-tiny-e2e model.num_hidden_layers=3 model.hidden_size=32
    model.num_attention_heads=2 model.intermediate_size=48 model.suffix_len=1
    model.mini_batch_size=16 model.sliding_window_size=24 training.seq_length=64
    training.global_batch_size=4 training.optimizer_outer.lr_warmup_steps=1
    training.total_steps=40 training.dummy_dataset=true)
slurm=("$ttt" train -m hydra/launcher=submitit_slurm hydra.launcher.partition=p
    hydra.launcher.cpus_per_task=1 "${tiny[@]}")

# --- without sbatch, and with one that refuses
mkdir none bin
expect 1 "no sbatch on the PATH.*written.*sbatch $work/left/.submitit/submission-1/submission.sh" \
    env PATH="$work/none" "${slurm[@]}" hydra.sweep.dir=left
[ -f left/.submitit/submission-1/0.yaml ] || fail "nothing is left to be submitted by hand"
printf '#!/bin/bash\necho "sbatch: error: invalid partition" >&2\nexit 1\n' >bin/sbatch
chmod +x bin/sbatch
PATH=$work/bin:$PATH
expect 1 "sbatch: error: invalid partition; nothing is submitted" "${slurm[@]}" hydra.sweep.dir=left
[ -f left/.submitit/submission-2/0.yaml ] || fail "the second submission has no folder of its own"
printf '#!/bin/bash\necho fine\n' >bin/sbatch
expect 1 "fine; nothing is submitted" "${slurm[@]}" hydra.sweep.dir=left

# --- an array
printf '#!/bin/bash\nenv >sbatch.env; echo "sbatch: hello" >&2; echo "$@" >sbatch.args; echo "77;cluster"\n' >bin/sbatch
mkdir -p conf && printf 'a: 1\n' >conf/unused.yaml
expect 0 '^77$' env SLURM_JOB_ID=5 SLURM_MEM_PER_CPU=3 SLURM_CONF=c "${slurm[@]}" hydra.sweep.dir=sw \
    training.model_seed=1,2,3 training.wandb_key=SECRETKEY hydra.launcher.array_parallelism=2
grep -q 'submitted 3 jobs as array 77, at most 2 at a time' err || fail "$(cat err)"
grep -qF "logs in $work/sw/.submitit/77_*" err || fail "where logs are: $(cat err)"
grep -q 'squeue -j 77.*scancel 77' err || fail "how to watch and cancel: $(cat err)"
grep -q 'sbatch: hello' err || fail "a word of the cluster is lost"
[ "$(cat sbatch.args)" = "--parsable $work/sw/.submitit/submission-1/submission.sh" ] || fail "$(cat sbatch.args)"
grep -q '^SLURM_MEM_PER_CPU\|^SLURM_JOB_ID' sbatch.env && fail "variables of another job reach sbatch"
grep -q '^SLURM_CONF=c' sbatch.env || fail "SLURM_CONF does not reach sbatch"
script=sw/.submitit/submission-1/submission.sh
bash -n $script || fail "not a script"
grep -qx '#SBATCH --array=0-2%2' $script || fail "no array in $script"
[ -f sw/.submitit/submission-1/2.yaml ] && [ -f sw/multirun.yaml ] || fail "files of the sweep"
! grep -rq SECRETKEY . || fail "a secret is written: $(grep -rl SECRETKEY .)"

# --- what is refused leaves nothing behind
for bad in 'hydra.launcher.nodes=4|nodes = 4: one run is one process' \
    'hydra.launcher.tasks_per_node=2|tasks_per_node = 2: one run' \
    '+hydra.launcher.partitoin=x|did you mean .partition' \
    '+hydra.launcher.additional_parameters={output: x}|made by the launcher' \
    '--fresh|would start a job over' \
    'model.hidden_size=wide|takes an integer'; do
    expect 1 "${bad#*|}" "${slurm[@]}" hydra.sweep.dir=refused "${bad%%|*}"
    [ "$(wc -l <err)" -eq 1 ] || fail "not one line: $(cat err)"
done
expect 1 "it has no other launcher" "$ttt" train -m hydra/launcher=submitit_local "${tiny[@]}" hydra.sweep.dir=refused
[ ! -e refused ] || fail "a refused sweep leaves a folder"
expect 0 'hydra.launcher.gpus_per_task: asks Slurm for GPUs' "${slurm[@]}" hydra.sweep.dir=gpu hydra.launcher.gpus_per_task=1

# --- hydra.mode stands for -m; without both the run stays here
expect 0 'submitted as job 77' "$ttt" train +deploy=submitit "${tiny[@]}" hydra.sweep.dir=mode
expect 0 'submitted 2 jobs' "$ttt" train hydra/launcher=submitit_slurm hydra.mode=MULTIRUN "${tiny[@]}" \
    hydra.sweep.dir=mode training.model_seed=1,2
expect 0 'stays on this machine' "$ttt" train hydra/launcher=submitit_slurm "${tiny[@]}" hydra.run.dir=here \
    training.total_steps=2
expect 2 'submitted takes nothing else' "$ttt" train --submitted x a=1
expect 1 'cannot open nowhere' "$ttt" train --submitted nowhere

# --- a job: saves on a signal however often it comes, says so by its status, goes on
"$ttt" train -m --threads 1 hydra.sweep.dir=straight "${tiny[@]}" training.model_seed=1,2 2>err ||
    fail "the reference: $(cat err)"
file=sw/.submitit/submission-1/1.yaml
"${slurm[@]}" hydra.sweep.dir=sw training.model_seed=1,2 >/dev/null 2>&1
file=sw/.submitit/submission-2/1.yaml
for signal in USR2 TERM; do
    rm -rf sw/1
    "$ttt" train --submitted $file --job-id 77_1 2>err &
    pid=$!
    while [ ! -s sw/1/log.jsonl ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    for _ in 1 2 3; do kill -s $signal $pid 2>/dev/null; done
    wait $pid
    [ $? -eq 75 ] || fail "status $? after SIG$signal, not 75: $(tail -n 2 err)"
    grep -q 'interrupted after step' err || fail "it does not say that it was interrupted"
    expect 0 'going on from' "$ttt" train --submitted $file --job-id 77_1
    cmp sw/1/model/model.safetensors straight/1/model/model.safetensors || fail "SIG$signal changes the result"
done
grep -qE '^ +id: .?77_1' sw/1/.hydra/hydra.yaml || fail "hydra.job.id"
grep -qx -- '- training.model_seed=2' sw/1/.hydra/overrides.yaml || fail "overrides of the job"
# a configuration that changed after the submission does not reach the job
cp -r "$source/configs" configs && sed -i 's/hidden_size:.*/hidden_size: 999/' configs/model/tiny.yaml
expect 0 'already at step 40' env TTT_CONFIG_DIR="$work/configs" "$ttt" train --submitted $file

# --- the script after each kind of end; srun is a status, Slurm's answers are in files
cat >bin/srun <<'END'
#!/bin/bash
echo "$*" >>srun.args
exit "$(cat srun.status)"
END
cat >bin/squeue <<'END'
#!/bin/bash
case "$*" in *PreemptTime*) cat preempt ;; *) cat state ;; esac
END
cat >bin/scontrol <<'END'
#!/bin/bash
echo "$*" >>scontrol.args
exit "$(cat scontrol.status)"
END
chmod +x bin/*
cp $script script.sh
run_script() { # STATUS_OF_SRUN STATE PREEMPT_TIME STATUS_OF_SCONTROL; the script's status
    echo "$1" >srun.status; echo "$2" >state; echo "$3" >preempt; echo "$4" >scontrol.status
    rm -f srun.args scontrol.args
    SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=2 SLURM_JOB_ID=79 bash "${5:-script.sh}"
}
log=$work/sw/.submitit/77_2/77_2_0_log.err
run_script 0 RUNNING N/A 0 || fail "status $? of a job that is done"
grep -q -- "--cpus-per-task=1 .*ttt train --submitted $work/sw/.submitit/submission-1/2.yaml --job-id 77_2" srun.args || fail "$(cat srun.args)"
[ ! -e scontrol.args ] || fail "a job that is done is queued again"
run_script 1 RUNNING N/A 0 && fail "a failed job ends well"
[ ! -e scontrol.args ] || fail "a failed job is queued again"
run_script 75 RUNNING N/A 0 || fail "status $? of an interrupted job"
[ "$(cat scontrol.args)" = "requeue 77_2" ] || fail "an interrupted job is not queued again"
run_script 143 RUNNING N/A 0 && [ -e scontrol.args ] || fail "a signal before the program was ready"
run_script 75 COMPLETING N/A 0 && fail "a cancelled job ends well"
[ ! -e scontrol.args ] || fail "a cancelled job is queued again"
run_script 75 RUNNING N/A 1 && fail "what Slurm refuses to queue again ends well"
grep -q 'Slurm does not queue it again; to go on: sbatch' "$log" || fail "$(cat "$log")"
[ ! -e sw/.submitit/77_2/77_2_timeouts ] || fail "an interruption early on is a timeout"
# two timeouts are allowed; a preemption is none
"${slurm[@]}" hydra.sweep.dir=sw training.model_seed=1,2,3 hydra.launcher.timeout_min=1 \
    hydra.launcher.max_num_timeout=2 >/dev/null 2>&1
cp sw/.submitit/submission-3/submission.sh timed.sh
run_script 75 RUNNING 2026-01-01T00:00:00 0 timed.sh || fail "a preempted job"
[ ! -e sw/.submitit/77_2/77_2_timeouts ] || fail "a preemption is a timeout"
for n in 1 2; do
    run_script 75 RUNNING N/A 0 timed.sh || fail "timeout $n of 2"
    [ "$(cat sw/.submitit/77_2/77_2_timeouts)" = $n ] || fail "timeout $n is not counted"
done
run_script 75 RUNNING N/A 0 timed.sh && fail "a job may run out of time for ever"
[ ! -e scontrol.args ] || fail "it is queued again a third time"
grep -q 'out of time after 2 restarts, hydra.launcher.max_num_timeout is 2' "$log" || fail "it does not say why: $(tail -n 2 "$log")"

[ $failures -eq 0 ] && echo "all as expected" || echo "$failures problems"
exit $((failures > 0))
