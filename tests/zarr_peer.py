"""The other side of tests/test_zarr_python.sh and the source of tests/fixtures/zarr_python.txt:
zarr-python. Every array holds the same tokens, made from their position alone.

  zarr_peer.py write DIR          writes a group per layout: DIR/NAME/{train,val}
  zarr_peer.py check DIR          every group below DIR must hold the tokens of its type
  zarr_peer.py expect DIR         writes what each array holds to DIR/NAME/SPLIT.ids, an id a line
  zarr_peer.py dump DIR > FILE    some of the files below DIR as lines of a name and its bytes in
                                  hexadecimal: small arrays that are always there to be read
"""
import sys
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

LENGTHS = {"train": 500, "val": 30}
TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def tokens(dtype, length):
    """In 64 bits, then cut to what the type holds and below 2^31: as test_zarr.c makes them."""
    i = np.arange(length, dtype=np.uint64)
    mixed = (i * np.uint64(2654435761)) >> np.uint64(7)
    most = min(np.iinfo(dtype).max, 2**31 - 2)
    return (mixed % np.uint64(min(most + 1, 130000))).astype(dtype)


def blosc(cname, shuffle, level=3):
    return BloscCodec(cname=cname, clevel=level, shuffle=shuffle)


def layouts():
    """(name, arguments of create_array) for format 3."""
    yield "plain", dict(compressors=None)
    for dtype in TYPES:
        yield f"type-{dtype}", dict(dtype=dtype, compressors=[blosc("zstd", "shuffle")])
        yield f"plain-{dtype}", dict(dtype=dtype, compressors=None)
        if np.dtype(dtype).itemsize > 1:
            yield f"big-{dtype}", dict(
                dtype=dtype, compressors=[ZstdCodec()], serializer=BytesCodec(endian="big"))
    for cname in ["zstd", "lz4", "lz4hc", "zlib", "blosclz"]:
        for shuffle in ["noshuffle", "shuffle", "bitshuffle"]:
            yield f"{cname}-{shuffle}", dict(compressors=[blosc(cname, shuffle)])
    yield "zstd", dict(compressors=[ZstdCodec(level=5, checksum=True)])
    yield "gzip", dict(compressors=[GzipCodec(level=6)])
    yield "crc", dict(compressors=[Crc32cCodec()])
    yield "zstd-crc", dict(compressors=[ZstdCodec(), Crc32cCodec()])
    yield "crc-zstd", dict(compressors=[Crc32cCodec(), ZstdCodec()])
    yield "two", dict(compressors=[GzipCodec(), ZstdCodec()])
    yield "chunk-1", dict(chunks=(1,), compressors=[ZstdCodec()])
    yield "chunk-long", dict(chunks=(1 << 17,), compressors=[blosc("zstd", "shuffle")])
    yield "keys-v2", dict(chunk_key_encoding={"name": "v2", "separator": "."})
    yield "keys-dot", dict(chunk_key_encoding={"name": "default", "separator": "."})
    yield "consolidated", dict(compressors=None)
    yield "gaps", dict(fill_value=7, compressors=[ZstdCodec()])
    yield "transposed", dict(filters=[zarr.codecs.TransposeCodec(order=(0,))])
    for where in ["start", "end"]:
        for name, codecs in [("blosc", [BytesCodec(), blosc("zstd", "shuffle")]),
                             ("plain", [BytesCodec()]),
                             ("gzip-crc", [BytesCodec(), GzipCodec(), Crc32cCodec()])]:
            for crc in [True, False]:
                index = [BytesCodec()] + ([Crc32cCodec()] if crc else [])
                yield f"shards-{name}-{where}-{'crc' if crc else 'nocrc'}", dict(
                    serializer=ShardingCodec(chunk_shape=(32,), codecs=codecs, index_codecs=index,
                                             index_location=where), chunks=(128,), compressors=None)
    yield "shards-big-index", dict(
        serializer=ShardingCodec(chunk_shape=(32,), codecs=[BytesCodec(endian="big"), ZstdCodec()],
                                 index_codecs=[BytesCodec(endian="big"), Crc32cCodec()]),
        chunks=(128,), compressors=None)


def layouts_v2():
    import numcodecs
    for dtype in ["<i4", ">u2", "|u1", "<u8", ">i8"]:
        yield f"v2-{dtype[1:]}-{'big' if dtype[0] == '>' else 'little'}", dict(dtype=dtype)
    yield "v2-null", dict(compressors=None)
    yield "v2-zstd", dict(compressors=numcodecs.Zstd(level=3))
    yield "v2-gzip", dict(compressors=numcodecs.GZip(level=3))
    yield "v2-zlib", dict(compressors=numcodecs.Zlib(level=3))
    yield "v2-blosc-lz4", dict(compressors=numcodecs.Blosc(cname="lz4", shuffle=2))
    yield "v2-slash", dict(chunk_key_encoding={"name": "v2", "separator": "/"})


def write(folder):
    for version, all_layouts in [(3, layouts()), (2, layouts_v2())]:
        for name, arguments in all_layouts:
            group = zarr.open_group(folder / name, mode="w", zarr_format=version)
            for split, length in LENGTHS.items():
                settings = {"chunks": (128,), "dtype": "int32", **arguments}
                array = group.create_array(split, shape=(length,), **settings)
                array[:] = tokens(settings["dtype"], length)
                if name == "gaps":  # what is not there reads as fill_value
                    array[:] = 7
                    assert not list((folder / name / split).glob("c/*"))
            if name == "consolidated":
                zarr.consolidate_metadata(str(folder / name))


def check(folder):
    groups = sorted(path.parent for path in folder.glob("*/zarr.json"))
    for path in groups:
        group = zarr.open_group(path, mode="r")
        for split, length in LENGTHS.items():
            array = group[split]
            expected = tokens(array.dtype.newbyteorder("="), length)
            if array.shape != (length,) or not np.array_equal(array[:], expected):
                sys.exit(f"{path}/{split}: zarr-python reads something else")
    print(f"zarr-python read {len(groups)} groups")
    if not groups:
        sys.exit("no group to check")


def expect(folder):
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        group = zarr.open_group(path, mode="r")
        for split in LENGTHS:
            np.savetxt(path / f"{split}.ids", group[split][:], fmt="%d")


KEPT = """type-int8 big-uint64 plain-uint16 lz4-bitshuffle lz4hc-shuffle blosclz-shuffle zlib-noshuffle zstd-shuffle
gzip crc-zstd two keys-v2 consolidated shards-blosc-start-crc shards-gzip-crc-end-nocrc shards-big-index
v2-u2-big v2-null v2-zlib v2-slash""".split()


def dump(folder):
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".ids" or path.relative_to(folder).parts[0] not in KEPT:
            continue
        print(path.relative_to(folder).as_posix(), path.read_bytes().hex())


if __name__ == "__main__":
    {"write": write, "check": check, "expect": expect, "dump": dump}[sys.argv[1]](Path(sys.argv[2]))
