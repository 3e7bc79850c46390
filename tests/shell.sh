# Sourced by the shell tests: an empty folder of their own to be in, and failures that are counted.
# A test ends with `exit $((failures > 0))`.
: "${TTT_BUILD_DIR:?set TTT_BUILD_DIR to the build folder}"
: "${TTT_SOURCE_DIR:?set TTT_SOURCE_DIR to the repository}"
work=$(mktemp -d "${TMPDIR:-/tmp}/ttt-test-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
exec </dev/null # commands that read wait for nobody
failures=0

fail() {
    echo "FAILED: $*" >&2
    failures=$((failures + 1))
}

# expect STATUS PATTERN COMMAND...: the exit status, and a line of output that matches. What the
# command printed is then in the files out and err.
expect() {
    local status=$1 pattern=$2 got
    shift 2
    "$@" >out 2>err
    got=$?
    [ $got -eq "$status" ] || fail "status $got, not $status: $* ($(tail -n 2 err))"
    grep -qE -e "$pattern" out err || fail "no '$pattern' in the output of: $* ($(head -c 700 out err))"
}

# refuse STATUS PATTERN COMMAND...: as expect, with one line on standard error and nothing else.
refuse() {
    expect "$@"
    [ "$(wc -l <err)" -eq 1 ] || fail "not one line: ${*:3} ($(cat err))"
    [ ! -s out ] || fail "output in spite of an error: ${*:3}"
}
