/* The configurations that are always there: hydra's own node and its groups. Names and defaults are
 * those of Hydra 1.3 and of its submitit launcher; what only steers Python's logging is left out.
 */
#include "hydra/source.h"

#define QUEUE                                                                                      \
    "submitit_folder: ${hydra.sweep.dir}/.submitit/%j\n"                                           \
    "timeout_min: 60\n"                                                                            \
    "cpus_per_task: null\n"                                                                        \
    "gpus_per_node: null\n"                                                                        \
    "tasks_per_node: 1\n"                                                                          \
    "mem_gb: null\n"                                                                               \
    "nodes: 1\n"                                                                                   \
    "name: ${hydra.job.name}\n"                                                                    \
    "stderr_to_stdout: false\n"

#define LOG                                                                                        \
    "version: 1\n"                                                                                 \
    "root:\n"                                                                                      \
    "  level: INFO\n"                                                                              \
    "disable_existing_loggers: false\n"

static const HyBuiltin builtins[] = {
    {"hydra/config", "defaults:\n"
                     "  - output: default\n"
                     "  - launcher: basic\n"
                     "  - sweeper: basic\n"
                     "  - help: default\n"
                     "  - hydra_help: default\n"
                     "  - hydra_logging: default\n"
                     "  - job_logging: default\n"
                     "  - callbacks: null\n"
                     "  - env: default\n"
                     "mode: null\n"
                     "searchpath: []\n"
                     "callbacks: {}\n"
                     "output_subdir: .hydra\n"
                     "overrides:\n"
                     "  hydra: []\n"
                     "  task: []\n"
                     "job:\n"
                     "  name: ???\n"
                     "  chdir: null\n"
                     "  override_dirname: ???\n"
                     "  id: ???\n"
                     "  num: ???\n"
                     "  config_name: ???\n"
                     "  env_set: {}\n"
                     "  env_copy: []\n"
                     "  config:\n"
                     "    override_dirname:\n"
                     "      kv_sep: \"=\"\n"
                     "      item_sep: \",\"\n"
                     "      exclude_keys: []\n"
                     "runtime:\n"
                     "  version: ???\n"
                     "  version_base: ???\n"
                     "  cwd: ???\n"
                     "  config_sources: ???\n"
                     "  output_dir: ???\n"
                     "  choices: {}\n"
                     "verbose: false\n"},
    {"hydra/output/default", "# @package hydra\n"
                             "run:\n"
                             "  dir: outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}\n"
                             "sweep:\n"
                             "  dir: multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}\n"
                             "  subdir: ${hydra.job.num}\n"},
    {"hydra/launcher/basic", "_target_: ttt.basic\n"},
    {"hydra/launcher/submitit_local", "_target_: ttt.submitit_local\n" QUEUE},
    {"hydra/launcher/submitit_slurm", "_target_: ttt.submitit_slurm\n" QUEUE "partition: null\n"
                                      "qos: null\n"
                                      "comment: null\n"
                                      "constraint: null\n"
                                      "exclude: null\n"
                                      "gres: null\n"
                                      "cpus_per_gpu: null\n"
                                      "gpus_per_task: null\n"
                                      "mem_per_gpu: null\n"
                                      "mem_per_cpu: null\n"
                                      "account: null\n"
                                      "signal_delay_s: 120\n"
                                      "max_num_timeout: 0\n"
                                      "additional_parameters: {}\n"
                                      "array_parallelism: 256\n"
                                      "setup: null\n"},
    {"hydra/sweeper/basic", "_target_: ttt.basic\nmax_batch_size: null\nparams: null\n"},
    {"hydra/help/default", "app_name: ${hydra.job.name}\nheader: ''\nfooter: ''\ntemplate: ''\n"},
    {"hydra/hydra_help/default", "hydra_help: ???\ntemplate: ''\n"},
    {"hydra/hydra_logging/default", LOG},
    {"hydra/hydra_logging/disabled", LOG},
    {"hydra/hydra_logging/none", LOG},
    {"hydra/job_logging/default", LOG},
    {"hydra/job_logging/disabled", LOG},
    {"hydra/job_logging/none", LOG},
    {"hydra/job_logging/stdout", LOG},
    {"hydra/env/default", ""},
};

const HyBuiltin *hy_builtins(int *n)
{
    *n = ARRAY_LEN(builtins);
    return builtins;
}
