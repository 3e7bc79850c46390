#!/usr/bin/env bash
# tools/fetch_datasets with a gcloud that this script makes up: what it asks for, that it can go on,
# and that every refusal is explained.
set -u

fetch=$TTT_SOURCE_DIR/tools/fetch_datasets
. "$TTT_SOURCE_DIR/tests/shell.sh"
unset TTT_BILLING_PROJECT

# A bucket is a folder of $work/cloud. FAKE_ERROR: what gcloud storage says before it fails.
mkdir -p bin cloud/llama3-books3/train/c cloud/llama3-books3/val/c
for part in train val; do
    echo '{}' >cloud/llama3-books3/$part/zarr.json
    echo chunk >cloud/llama3-books3/$part/c/0
done
echo '{}' >cloud/llama3-books3/zarr.json
cat >bin/gcloud <<'GCLOUD'
#!/usr/bin/env bash
echo "$*" >>"$FAKE_LOG"
case "$1 $2" in
'auth list') echo "${FAKE_ACCOUNT-someone@example.org}"; exit 0 ;;
esac
[ "$1" = storage ] || exit 2
case "$*" in *--billing-project=mine*) ;; *) echo "ERROR: HTTPError 400: Bucket is a requester pays bucket but no user project provided." >&2; exit 1 ;; esac
if [ -n "${FAKE_ERROR:-}" ]; then echo "$FAKE_ERROR" >&2; exit 1; fi
paths=()
for argument in "${@:3}"; do case $argument in --*) ;; *) paths+=("${argument/#gs:\/\//$FAKE_CLOUD/}") ;; esac; done
case $2 in
rsync) [ -d "${paths[0]}" ] || { echo "ERROR: 404: bucket not found" >&2; exit 1; }
    cp -rn "${paths[0]}/." "${paths[1]}/" ;;
cp) cp "${paths[@]}" ;;
du) du -sb "${paths[0]}" ;;
esac
GCLOUD
chmod +x bin/gcloud
export PATH=$work/bin:$PATH FAKE_LOG=$work/log FAKE_CLOUD=$work/cloud
: >log

# explains WORDS ARGUMENTS...: it fails, says WORDS, and every line of its own has its name in front.
explains() {
    local words=$1 said
    shift
    if said=$("$fetch" "$@" 2>&1); then fail "no failure: $*"; fi
    grep -qF -- "$words" <<<"$said" || fail "does not say '$words' but: $said"
}

"$fetch" --billing-project mine --out data books >said 2>&1 || fail "fetch: $(cat said)"
cmp -s data/llama3-books3/train/c/0 cloud/llama3-books3/train/c/0 || fail "train is not there"
cmp -s data/llama3-books3/val/zarr.json cloud/llama3-books3/val/zarr.json || fail "val is not there"
grep -q "ttt data check data/llama3-books3" said || fail "the next step is not named"

# Interrupted after one file: the second run brings the rest and leaves the first alone.
rm data/llama3-books3/val/c/0
echo kept >data/llama3-books3/train/c/0
TTT_BILLING_PROJECT=mine "$fetch" --out data books >said 2>&1 || fail "again: $(cat said)"
[ -f data/llama3-books3/val/c/0 ] || fail "the second run did not go on"
[ "$(cat data/llama3-books3/train/c/0)" = kept ] || fail "what was there was fetched again"

: >log
"$fetch" --dry-run --billing-project mine --out dry --split val books >said 2>&1 || fail "dry run"
if [ -e dry ]; then fail "a dry run makes folders"; fi
grep -q "gs://llama3-books3/val" said || fail "a dry run does not say what"
if grep -qE "storage (rsync|cp)|/train" log; then fail "a dry run fetches, or takes train too"; fi

explains "billing project" books
FAKE_ACCOUNT='' explains "gcloud auth login" --billing-project mine books
mkdir none # a PATH without gcloud, wherever this machine may have one
for tool in bash env grep cat; do ln -s "$(command -v $tool)" none/$tool; done
PATH=$work/none explains "gcloud is not installed" --billing-project mine books
explains "requester pays and no project" --billing-project other books
FAKE_ERROR="HTTPError 403: someone@example.org does not have serviceusage.services.use access to the Google Cloud project." \
    explains "serviceUsageConsumer" --billing-project mine books
FAKE_ERROR="HTTPError 403: The billing account for the owning project is disabled in state absent" \
    explains "no active billing account" --billing-project mine books
FAKE_ERROR="HTTPError 400: Unknown project id: mine" explains "gcloud projects list" \
    --billing-project mine books
FAKE_ERROR="HTTPError 403: someone@example.org does not have storage.objects.list access to the bucket." \
    explains "may not read the bucket" --billing-project mine books
FAKE_ERROR="There was a problem refreshing your current auth tokens: invalid_grant" \
    explains "login has expired" --billing-project mine books
FAKE_ERROR="OSError: No space left on device" explains "disk is full" --billing-project mine books
FAKE_ERROR="connection reset by peer" explains "goes on where it stopped" --billing-project mine books
explains "no such bucket" --billing-project mine gs://no-such-bucket/x
explains "no dataset 'bokks'" --billing-project mine bokks
explains "unknown option" --biling-project mine books
explains "--split is train or val" --billing-project mine --split test books

[ "$failures" -eq 0 ] && echo "fetch_datasets: all passed"
[ "$failures" -eq 0 ]
