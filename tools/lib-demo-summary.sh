# shellcheck shell=bash disable=SC2154
# Sourced by tools/demo: what the demo came to, in numbers and words, from the files it has made.
# Uses its variables and lib-json.sh.

weights() { # RUN: parameters, from the size of float32 tensors
    awk -v bytes="$(stat -c %s "$OUT/runs/demo/$1/model/model.safetensors")" \
        'BEGIN { printf "%.2f", bytes / 4e6 }'
}

# "1.85 bits per byte (1.70 to 2.00)" of a column of the evaluation.
column_line() { # COLUMN
    json_flat "$OUT/eval/summary.json" | awk -F '\t' -v c="columns.$1.all." '
        $1 == c "mean" { mean = $2 } $1 == c "lo" { lo = $2 } $1 == c "hi" { hi = $2 }
        END {
            interval = lo == "null" ? "one document" : sprintf("%.3f to %.3f", lo / log(2), hi / log(2))
            printf "%.3f bits per byte (%s)", mean / log(2), interval
        }'
}

# In words: whether A is better than B, from the interval of the paired difference B - A.
verdict() { # MEAN LO HI TEXT-A TEXT-B, nats
    awk -v mean="$1" -v lo="$2" -v hi="$3" -v a="$4" -v b="$5" 'BEGIN {
        m = mean / log(2); l = lo / log(2); h = hi / log(2)
        if (lo == "null" || lo == "-" || (lo == 0 && hi == 0))
            printf "%s: too few documents for an interval, so this shows nothing.\n", a
        else if (l > 0)
            printf "%s beats %s by %.3f bits per byte (95 %% interval %.3f to %.3f).\n", a, b, m, l, h
        else if (h < 0)
            printf "%s is WORSE than %s by %.3f bits per byte (95 %% interval %.3f to %.3f).\n",
                a, b, -m, -h, -l
        else
            printf "%s is not shown to beat %s: %.3f bits per byte, but its 95 %% interval, " \
                "%.3f to %.3f, includes 0.\n", a, b, m, l, h
    }'
}

compare_column() { # COLUMN TEXT: with the first, learning on
    local flat base="columns.$1.difference_all."
    flat=$(json_flat "$OUT/eval/summary.json")
    value() { awk -F '\t' -v k="$base$1" '$1 == k { print $2 }' <<<"$flat"; }
    verdict "$(value mean)" "$(value lo)" "$(value hi)" "Learning while reading" "$2"
}

# What of the lead over the baseline cannot come from learning while reading.
head_start() {
    awk -v nats="$(json_get "$OUT/eval/summary.json" columns.2.difference_bins.0.mean)" 'BEGIN {
        printf "In the first 64 bytes, where nothing has been learned yet, "
        if (nats > 0) printf "it is ahead of the baseline by %.3f already.", nats / log(2)
        else printf "the baseline is better by %.3f.", -nats / log(2)
    }'
}

summary_text() {
    local documents spent=$((${TTT_DEMO_SPENT:-0} + SECONDS))
    documents=$(json_get "$OUT/eval/summary.json" data.documents)
    cat <<TEXT
Trained on $(json_get "$(summary_of e2e)" tokens) bytes in $train_steps steps: the model that learns ($(weights e2e) million weights,
$(step_time e2e) s a step) and the sliding-window baseline ($(weights swa) million, $(step_time swa) s), same bytes, same order.

The first $length bytes of $documents held-out documents, mean over documents (95 % interval):
  learning on    $(column_line 0)
  learning off   $(column_line 1)
  baseline       $(column_line 2)
$(compare_column 1 "the same model without learning")
$(compare_column 2 "the baseline")
$(head_start)

Memory files: $(cat "$OUT/memory/memory.txt")

Intervals are over documents; another training run would give other weights. Both models are far
from converged. The baseline had the same bytes, not the same time: with twice the steps it comes
closer (docs/demo.md has numbers).
TEXT
    if [ "$quick" -eq 1 ]; then echo "This was the miniature: its numbers mean nothing."; fi
    cat <<TEXT

Files in $OUT ($((spent / 60)) min $((spent % 60)) s in all):
  commands.sh                  the commands that made everything
  eval/loss_by_position.png    the picture; .svg, .tsv and summary.json beside it
  memory/memory.tsv            the losses of every document read from memory
  example.memory               what was learned from ${chosen[0]##*/}
  generated/side-by-side.txt   the two texts
  runs/demo/e2e/model          the model; runs/demo/swa/model the baseline

Try next:
  $TTT read $(words "$e2e") ANY.TXT --memory $(words "$OUT/my.memory")
  $TTT generate $(words "$e2e") --memory $(words "$OUT/my.memory") --prompt 'Once'
  ./run demo --steps 2000        # half an hour and more: does the baseline catch up?
TEXT
    if [ "$(held_out 16385 | wc -l)" -lt 2 ]; then return; fi
    echo "  $TTT eval $(words "$e2e") $(words "$swa") --data $(words "$OUT/data") --length 16384"
}
