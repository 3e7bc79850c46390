# shellcheck shell=bash
# Sourced by tools that run commands in steps: each is announced with its exact words, kept in
# $OUT/commands.sh and logged under $OUT/logs. Needs OUT and STEPS (how many there are).

step_number=0

say() { printf '%s\n' "$*"; }

die() {
    printf 'demo: %s\n' "$1" >&2
    exit 1
}

step_begin() { # TITLE
    step_number=$((step_number + 1))
    printf '\n== %d/%d  %s\n' "$step_number" "$STEPS" "$1"
    printf '\n# %d. %s\n' "$step_number" "$1" >>"$OUT/commands.sh"
}

# The words as a shell takes them; plain words stay as they are.
words() {
    local word line=""
    for word in "$@"; do
        case $word in
        '' | *[!A-Za-z0-9_+=./:,@%-]*) word="'${word//\'/\'\\\'\'}'" ;;
        esac
        line+="${line:+ }$word"
    done
    printf '%s' "$line"
}

# What a failed or interrupted command leaves to say. STATUS LOG WORDS...
step_failed() {
    local status=$1 log=$2
    shift 2
    if [ "$status" -eq 130 ] || [ "$status" -eq 143 ]; then exit "$status"; fi
    # A script of the demo has said in a line of its own what is wrong with the text.
    if tail -n 1 "$log" | grep '^demo: ' >&2; then exit "$status"; fi
    die "this command failed with exit status $status, its log is $log: $(words "$@")"
}

# Shows and runs a command; what it prints is shown and kept.
run_shown() { # LOG WORDS...
    local log=$OUT/logs/$1.log status=0
    shift
    printf '   $ %s\n' "$(words "$@")"
    words "$@" >>"$OUT/commands.sh"
    echo >>"$OUT/commands.sh"
    # What shows the words outlives Ctrl-C, so that the command can save and say what it saved.
    "$@" 2>&1 | (trap '' INT TERM && tee "$log" | sed -u '/^demo: /d; s/^/   /') || status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || step_failed "$status" "$log" "$@"
}

# Runs a command whose standard output is FILE, which appears when it is complete.
run_to() { # LOG FILE WORDS...
    local log=$OUT/logs/$1.log file=$2 status=0
    shift 2
    printf '   $ %s >%s\n' "$(words "$@")" "$(words "$file")"
    printf '%s >%s\n' "$(words "$@")" "$(words "$file")" >>"$OUT/commands.sh"
    "$@" >"$file.part" 2>>"$log" || status=$?
    if [ "$status" -ne 0 ]; then
        rm -f "$file.part"
        step_failed "$status" "$log" "$@"
    fi
    mv "$file.part" "$file"
}
