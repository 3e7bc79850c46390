/* How a job starts, and how it goes on after a signal.
 *
 * Slurm sends USR2 to the job's processes signal_delay_s before the time limit, and TERM when it
 * preempts or cancels; the program then saves and ends with EXIT_AGAIN. What comes next depends on
 * what Slurm thinks of the job: only while it is RUNNING (the time is nearly over, or a grace
 * period runs) it is up to the script to queue it again. A cancelled job, and one that Slurm
 * itself queues again, are COMPLETING or gone by then. */
#include "cli/slurm_body.h"

#include <string.h>

#include "cli/command.h"

enum { SIGNAL_EARLY_S = 60 }; /* Slurm may send its signal so much earlier: man sbatch, --signal */

/* As a shell takes it. */
static void word_print(FILE *out, const char *word, size_t size)
{
    fputc('\'', out);
    for (size_t i = 0; i < size; i++) {
        if (word[i] == '\'')
            fputs("'\\''", out);
        else
            fputc(word[i], out);
    }
    fputc('\'', out);
}

static void set_print(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=", name);
    word_print(out, value, strlen(value));
    fputc('\n', out);
}

/* The folder with the job's id for %j. */
static void folder_print(FILE *out, const char *folder)
{
    const char *next;
    fputs("ttt_log=", out);
    for (; (next = strstr(folder, "%j")) != NULL; folder = next + 2) {
        word_print(out, folder, (size_t)(next - folder));
        fputs("\"$ttt_id\"", out);
    }
    word_print(out, folder, strlen(folder));
    fputc('\n', out);
}

static void start_print(FILE *out, const SlurmBody *b)
{
    fputc('\n', out);
    set_print(out, "ttt_program", b->program);
    set_print(out, "ttt_jobs", b->jobs);
    if (b->is_array)
        fputs("ttt_id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\n"
              "ttt_job=$ttt_jobs/$SLURM_ARRAY_TASK_ID\n",
              out);
    else
        fputs("ttt_id=$SLURM_JOB_ID\nttt_job=$ttt_jobs/0\n", out);
    folder_print(out, b->folder);
    fputs("mkdir -p \"$ttt_log\" || exit 1\n"
          "ttt_timeouts=$ttt_log/${ttt_id}_timeouts\n"
          "ttt_log=$ttt_log/${ttt_id}_0_log\n",
          out);
    fprintf(out, "exec >>\"$ttt_log.out\" 2>>\"$ttt_log.%s\"\n", b->one_log ? "out" : "err");
    fputs("ttt_say() { echo \"ttt: job $ttt_id: $*\" >&2; }\n"
          "trap : TERM USR2 # the job gets them too; this script waits until it has saved\n",
          out);
}

static void setup_print(FILE *out, const HyNode *setup)
{
    if (!setup || !setup->first) return;
    fputs("\n# setup\n", out);
    for (const HyNode *line = setup->first; line; line = line->next)
        fprintf(out, "%s\n", line->text);
}

/* srun does not take the number of CPUs from sbatch. Errors of a setup with `set -e` end before. */
static void command_print(FILE *out, const SlurmBody *b)
{
    fputs("\n# command\nsrun --ntasks=1 --unbuffered ", out);
    if (b->cpus > 0) fprintf(out, "--cpus-per-task=%lld ", b->cpus);
    fputs("\"$ttt_program\" train --submitted \"$ttt_job.yaml\" \\\n"
          "    --job-id \"$ttt_id\" && ttt_status=0 || ttt_status=$?\n",
          out);
}

/* 138, 140, 143: ended by USR1, USR2 or TERM before the program was ready for them. */
static void after_print(FILE *out, const SlurmBody *b)
{
    fprintf(out,
            "\n# what comes next\n"
            "case $ttt_status in %d | 138 | 140 | 143) ;; *) exit \"$ttt_status\" ;; esac\n",
            EXIT_AGAIN);
    fputs("ttt_state=$(squeue -h -j \"$ttt_id\" -o %T) || ttt_state=unknown\n"
          "if [ \"$ttt_state\" != RUNNING ]; then\n"
          "    ttt_say \"stopped; its state is ${ttt_state:-over}, what comes next is Slurm's\"\n"
          "    exit \"$ttt_status\"\n"
          "fi\n",
          out);
    fprintf(out,
            "ttt_preempted=$(squeue -h -j \"$ttt_id\" -O PreemptTime | tr -d ' ')\n"
            "if [ \"${ttt_preempted:-N/A}\" = N/A ] && [ $((SECONDS + %lld)) -ge %lld ]; then\n"
            "    ttt_count=$(cat \"$ttt_timeouts\" 2>/dev/null) || ttt_count=0\n"
            "    if [ \"$ttt_count\" -ge %lld ]; then\n"
            "        ttt_say \"out of time after $ttt_count restarts, "
            "hydra.launcher.max_num_timeout is "
            "%lld; to go on from what is saved: sbatch $ttt_jobs/submission.sh\"\n"
            "        exit 1\n"
            "    fi\n"
            "    echo $((ttt_count + 1)) >\"$ttt_timeouts\"\n"
            "fi\n",
            b->signal_s + SIGNAL_EARLY_S, b->limit_s, b->max_timeouts, b->max_timeouts);
    fputs(
        "ttt_say \"queued again, to go on from its checkpoint\"\n"
        "scontrol requeue \"$ttt_id\" || {\n"
        "    ttt_say \"Slurm does not queue it again; to go on: sbatch $ttt_jobs/submission.sh\"\n"
        "    exit 1\n"
        "}\n",
        out);
}

void slurm_body_print(FILE *out, const SlurmBody *body)
{
    start_print(out, body);
    setup_print(out, body->setup);
    command_print(out, body);
    after_print(out, body);
}
