#!/usr/bin/env bash
# Against zarr-python 3, in both directions, over types, codecs, chunks and shards. Skipped where that
# is not installed: python3 -m venv V; V/bin/pip install 'zarr>=3'; TTT_ZARR_PYTHON=V/bin/python.
set -u

python=${TTT_ZARR_PYTHON:-python3}
if ! "$python" -c 'import zarr; assert zarr.__version__ >= "3"' 2>/dev/null; then
    echo "SKIPPED: no zarr-python 3 for $python; name one that has it with TTT_ZARR_PYTHON"
    exit 77
fi
TTT=$TTT_BUILD_DIR/ttt
peer=$TTT_SOURCE_DIR/tests/zarr_peer.py
. "$TTT_SOURCE_DIR/tests/shell.sh"
export PYTHONWARNINGS=ignore

# Theirs, read by ours: every token, and a range across chunks.
"$python" "$peer" write theirs && "$python" "$peer" expect theirs || fail "zarr-python did not write"
groups=0
for group in theirs/*/; do
    for split in train val; do
        "$TTT" data cat "$group" --split $split >ids 2>said || fail "$group$split: $(cat said)"
        cmp -s ids "$group$split.ids" || fail "$group$split: other tokens than zarr-python reads"
    done
    "$TTT" data cat "$group" --range 100:300 >ids 2>said || fail "$group: $(cat said)"
    sed -n 101,300p "${group}train.ids" | cmp -s - ids || fail "$group: range 100:300"
    "$TTT" data check "$group" --missing-ok >/dev/null 2>said || fail "check $group: $(cat said)"
    groups=$((groups + 1))
done
[ "$groups" -gt 60 ] || fail "only $groups layouts"

# Ours, read by theirs.
repack() { # NAME OPTIONS...
    local name=$1
    shift
    "$TTT" data repack "$source" --out "ours/$name" "$@" >/dev/null 2>said || fail "repack $name: $(cat said)"
}
n=0
for dtype in int8 uint8 int16 uint16 int32 uint32 int64 uint64; do
    source=theirs/type-$dtype
    for codec in none zstd:3 gzip:6 crc32c zstd+crc32c blosc:zstd:3:shuffle; do
        repack "$dtype-$n" --dtype $dtype --codec $codec --chunk-tokens 100 --shard-tokens 100
        n=$((n + 1))
    done
    repack "$dtype-shards" --dtype $dtype --codec blosc:lz4:5:shuffle+crc32c --chunk-tokens 32 \
        --shard-tokens 128
    repack "$dtype-big" --dtype $dtype --codec zstd --endian big --chunk-tokens 64 \
        --shard-tokens 192 --index-at-start
done
source=theirs/plain
for cname in zstd lz4 lz4hc zlib blosclz; do
    for shuffle in noshuffle shuffle bitshuffle; do
        for chunk in 1 33 500 4096; do
            repack "$cname-$shuffle-$chunk" --codec "blosc:$cname:5:$shuffle" --chunk-tokens $chunk \
                --shard-tokens $((chunk == 1 ? 64 : chunk))
        done
    done
done
repack v2-keys --v2-keys --codec gzip --chunk-tokens 50 --shard-tokens 50
"$python" "$peer" check ours || fail "zarr-python does not read what ttt wrote"

# Text that was encoded here.
mkdir texts
for i in 1 2 3; do "$python" -c "print('text $i ' * 5000)" >texts/$i; done
"$TTT" data encode texts --out encoded --shard-tokens 20000 --chunk-tokens 500 >/dev/null 2>said ||
    fail "encode: $(cat said)"
"$TTT" data cat encoded >ids
"$python" -c "
import numpy, zarr
assert (zarr.open_group('encoded', mode='r')['train'][:] == numpy.loadtxt('ids', dtype=int)).all()" ||
    fail "zarr-python reads an encoded text differently"

[ "$failures" -eq 0 ] && echo "zarr-python: all passed"
[ "$failures" -eq 0 ]
