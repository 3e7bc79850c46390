#!/usr/bin/env bash
# Hydra's command line from outside: what `ttt config` prints of any tree, the flags of `ttt train`,
# the folders of runs and sweeps, published command lines.
set -u
build=${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}
source=${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}
ttt=$build/ttt
. "$TTT_SOURCE_DIR/tests/shell.sh"
export TTT_CONFIG_DIR=$source/configs TTT_TEST_HOME=/home/t

# same TEXT COMMAND...: standard output is this.
same() {
    local text=$1
    shift
    diff <(printf '%s\n' "$text") <("$@" 2>&1) >diff.txt || fail "$*: $(cat diff.txt)"
}

# --- any tree, without the table of keys
given=(--config-dir "$source/tests/fixtures/hydra/conf")
expect 0 '^name: \$\{model.name\}-\$\{training.steps\}$' "$ttt" config "${given[@]}"
expect 0 '^name: small-100$' "$ttt" config "${given[@]}" --config-name config --resolve model=small
expect 0 '"lr": \{"\$float": "inf"\}' "$ttt" config "${given[@]}" --format json training.lr=inf
expect 0 '^  secret: \?\?\?$' "$ttt" config "${given[@]}" --resolve +experiment=second
refuse 1 "second.yaml:9: 'extra.secret' is \?\?\?" "$ttt" config "${given[@]}" --strict +experiment=second
refuse 1 "unknown key 'sead'; did you mean 'seed'\?" "$ttt" config "${given[@]}" sead=1
refuse 1 "no model 'smal'; did you mean 'small'\?" "$ttt" config "${given[@]}" model=smal
refuse 1 "no folder of configurations at nowhere" "$ttt" config --config-dir nowhere
expect 2 "takes yaml or json" "$ttt" config --format xml
expect 2 "did you mean --config-name" "$ttt" config --config-nam x
same '["seed=1", "model=small"]
["seed=1", "model=tiny"]
["seed=2", "model=small"]
["seed=2", "model=tiny"]' "$ttt" config "${given[@]}" -m seed=1,2 'model=glob([t*,s*])'
same '["seed=1"]
["seed=2"]' "$ttt" config "${given[@]}" -m seed=1,2
expect 0 "unknown key 'deploy.nodes'|nodes: 3" "$ttt" config "${given[@]}" +deploy=cluster deploy.nodes=3

# the tables of --info, byte for byte as Hydra 1.3.8 prints them
same '
Defaults Tree
*************
<root>:
  hydra/config:
    hydra/output: default
    hydra/launcher: basic
    hydra/sweeper: basic
    hydra/help: default
    hydra/hydra_help: default
    hydra/hydra_logging: default
    hydra/job_logging: default
    hydra/callbacks: null
    hydra/env: default
    _self_
  config:
    model: small:
      model/tiny
      _self_
    training: small/long:
      training/base
      _self_
    data: books
    _self_
    experiment: a/b/first:
      _self_' "$ttt" config "${given[@]}" --info defaults-tree +experiment=a/b/first
expect 0 '^\| hydra/config                \| hydra               \| True   \| <root>              \|$' \
    "$ttt" config "${given[@]}" --info defaults +experiment=a/b/first

# --- a tree of one's own with a searchpath, an added folder of groups, another primary file
mkdir -p tree/model more/model third/model
printf 'defaults:\n  - model: a\n  - _self_\nhydra:\n  searchpath: [%s/third]\nx: 1\n' "$work" >tree/top.yaml
printf 'name: a\n' >tree/model/a.yaml
printf 'name: b\n' >more/model/b.yaml
printf 'name: c\n' >third/model/c.yaml
top=(-cp "$work/tree" -cn top)
expect 0 '^  name: a$' "$ttt" config "${top[@]}"
expect 0 '^  name: b$' "$ttt" config "${top[@]}" -cd more model=b
expect 0 '^  name: c$' "$ttt" config "${top[@]}" model=c
refuse 1 "no model 'b'" "$ttt" config "${top[@]}" model=b
expect 0 'command-line +\| file://more' "$ttt" config "${top[@]}" -cd more --info searchpath
expect 0 '^    model: b$' "$ttt" config "${top[@]}" -cd more model=b -i defaults-tree
expect 0 '^\| model/b +\| model +\| False +\| top' "$ttt" config "${top[@]}" -cd more model=b --info defaults

# --- ttt's own tree
experiment=+experiment=125m/pretrain/pretrain-125m-e2e
expect 0 '^  mini_batch_size: 1024$' "$ttt" config $experiment
expect 0 '^    lr: 0.003$' "$ttt" config $experiment
expect 0 '^  total_steps: 7$' "$ttt" config $experiment training.total_steps=7
refuse 1 "unknown key 'model.hiden_size'; did you mean 'model.hidden_size'" "$ttt" config model.hiden_size=3
refuse 1 "override: model.hidden_size = wide is not allowed; it takes an integer" "$ttt" config model.hidden_size=wide
refuse 1 "'training.dataset_path' is \?\?\?" "$ttt" config --strict
expect 0 '^model:' "$ttt" config --strict training.dataset_path=d training.exp_name=e

# --- showing instead of training
expect 0 '^  mini_batch_size: \$\{training.seq_length\}$' "$ttt" train --cfg job +experiment=125m/pretrain/pretrain-125m-fa
expect 0 '^  mini_batch_size: 8192$' "$ttt" train -c job --resolve +experiment=125m/pretrain/pretrain-125m-fa
expect 0 '^# @package model$' "$ttt" train -c job -p model
expect 0 '^    subdir: \$\{hydra.job.num\}$' "$ttt" train -c hydra
expect 0 '^    timeout_min: 60$' "$ttt" train -c hydra hydra/launcher=submitit_slurm
expect 0 '^    partition: gpu$' "$ttt" train -c hydra +deploy=submitit hydra.launcher.partition=gpu
expect 0 '^    nodes: 4$' "$ttt" train --cfg all +deploy=submitit hydra.launcher.nodes=4
expect 0 '^      model: small$' "$ttt" train -c hydra model=small
refuse 1 "no hydra/launcher 'slurm'" "$ttt" train -c hydra hydra/launcher=slurm
expect 2 "cannot show 'jobs'" "$ttt" train --cfg jobs
expect 0 'Hydra.s own flags' "$ttt" train --help
[ -z "$(find . -name .hydra)" ] || fail "showing left a folder behind"

# --- the published command line, made small enough to run
tiny=(model.num_hidden_layers=3 model.hidden_size=32 model.num_attention_heads=2
    model.intermediate_size=48 model.suffix_len=1 model.mini_batch_size=16
    model.sliding_window_size=24 training.seq_length=64 training.global_batch_size=4
    training.optimizer_outer.lr_warmup_steps=1 training.total_steps=2 training.dummy_dataset=true
    model.vocab_size=300 model.bos_token_id=256 model.eos_token_id=257)
published=(+deploy=interactive $experiment training.wandb_entity=my-entity
    training.wandb_project=my-project 'training.wandb_key="my-key"' backend.num_processes=1
    model.remat_mlp=minimal training.exp_name=mine)
expect 0 'wrote ./experiments/125m/mine/' "$ttt" train "${published[@]}" "${tiny[@]}"
[ "$(grep -c 'without effect here' err)" -eq 1 ] || fail "keys without effect are not said once: $(cat err)"
grep 'without effect here' err | grep 'training.wandb_key' | grep 'backend.num_processes' |
    grep -q 'model.remat_mlp' || fail "the line about keys without effect lacks some: $(cat err)"
run=experiments/125m/mine
for file in config hydra overrides; do [ -f $run/.hydra/$file.yaml ] || fail "no $file.yaml in $run/.hydra"; done
grep -q '^- training.exp_name=mine$' $run/.hydra/overrides.yaml || fail "$run/.hydra/overrides.yaml"
grep -q "^    output_dir: .*/$run$" $run/.hydra/hydra.yaml || fail "no output_dir in $run/.hydra/hydra.yaml"
if grep -rn my-key experiments; then fail "the key of another service was written down"; fi
# what was composed composes again to the same, but for that key
same "$("$ttt" config "${published[@]}" "${tiny[@]}" 'training.wandb_key="***"')" "$ttt" config --schema --config-dir $run/.hydra

# --- hydra.run.dir, and a name from the overrides
expect 0 'wrote .*/elsewhere/seed_3/' "$ttt" train "$experiment" "${tiny[@]}" training.model_seed=3 \
    'hydra.run.dir=elsewhere/seed_${training.model_seed}'
[ -d elsewhere/seed_3/model ] && [ -f elsewhere/seed_3/.hydra/config.yaml ] || fail "hydra.run.dir is not the run's folder"
expect 0 'wrote ' "$ttt" train "$experiment" "${tiny[@]}" hydra.run.dir=plain hydra.output_subdir=null
[ ! -e plain/.hydra ] || fail "hydra.output_subdir=null leaves a folder"

# --- a sweep
sweep=("$ttt" train -m $experiment "${tiny[@]}" hydra.sweep.dir=swept training.model_seed=1,2 'training.data_seed=range(2)')
expect 0 'job 4 of 4:.*training.model_seed=2 training.data_seed=1' "${sweep[@]}"
for n in 0 1 2 3; do
    [ -f swept/$n/model/model.safetensors ] || fail "job $n has no model"
    grep -q "^    num: $n$" swept/$n/.hydra/hydra.yaml || fail "job $n does not know its number"
done
grep -q '^- training.model_seed=2$' swept/3/.hydra/overrides.yaml || fail "swept/3/.hydra/overrides.yaml"
[ -f swept/multirun.yaml ] || fail "no multirun.yaml"
expect 0 'already at step 2 of 2' "${sweep[@]}"
expect 0 'wrote .*by-name/order_5/' "$ttt" train --multirun $experiment "${tiny[@]}" hydra.sweep.dir=by-name \
    'hydra.sweep.subdir=order_${training.data_seed}' training.data_seed=5
expect 1 "2 of 2 jobs failed; the first: .*nowhere" "$ttt" train -m $experiment hydra.sweep.dir=bad \
    training.dataset_path=nowhere training.model_seed=1,2
refuse 1 "training.model_seed = x is not allowed" "$ttt" train -m $experiment training.model_seed=1,x
refuse 1 "add -m" "$ttt" train $experiment training.model_seed=1,2
refuse 1 "hydra's own keys cannot be swept" "$ttt" train -m $experiment hydra.job.name=a,b
expect 1 "no sbatch on the PATH" env PATH="$work/none" "$ttt" train +deploy=submitit $experiment "${tiny[@]}" hydra.sweep.dir=sl training.model_seed=1

[ $failures -eq 0 ] && echo "all as expected" || echo "$failures problems"
exit $((failures > 0))
