"""For test_import_orbax.sh. make IN.safetensors FOLDER: checkpoints in the forms that orbax has
written over the years, and damaged ones. compare MODEL IN [bf16]: a converted model has the weights
of IN's params/*. dataset IN FOLDER: IN's first sequence as a data set."""
import json
import os
import shutil
import sys

import ml_dtypes
import numpy as np
import tensorstore as ts
from safetensors.numpy import load_file


def params(path):
    return {k[len("params/"):]: v for k, v in load_file(path).items() if k.startswith("params/")}


def write_item(item, arrays, driver="zarr", ocdbt=True, chunks=None):
    os.makedirs(item)
    base, tree = "file://" + os.path.abspath(item) + "/", {}
    for name, a in arrays.items():
        kvstore = {"driver": "ocdbt", "base": base, "path": name + "/"} if ocdbt else base + name + "/"
        grid = [max(1, n // (chunks or 1)) for n in a.shape]
        meta = {"chunks": grid} if driver == "zarr" else {
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid}}}
        store = ts.open({"driver": driver, "kvstore": kvstore, "metadata": meta}, create=True,
                        dtype=a.dtype.name, shape=a.shape).result()
        store.write(a).result()
        tree[name] = {"key_metadata": [{"key": k, "key_type": 2} for k in name.split(".")],
                      "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False}}
    with open(os.path.join(item, "_METADATA"), "w") as file:
        json.dump({"tree_metadata": tree, "use_zarr3": driver == "zarr3"}, file)


def commit(step, stamp=1):
    with open(os.path.join(step, "_CHECKPOINT_METADATA"), "w") as file:
        json.dump({"init_timestamp_nsecs": 1, "commit_timestamp_nsecs": stamp}, file)


def step(root, number, arrays, stamp=1, **how):
    folder = os.path.join(root, str(number))
    write_item(os.path.join(folder, "model_weights"), arrays, **how)
    commit(folder, stamp)
    return folder


def largest(folder):
    files = [os.path.join(d, f) for d, _, names in os.walk(folder) for f in names]
    return max(files, key=os.path.getsize)


def make(source, root):
    p = params(source)
    step(f"{root}/plain", 7, p)
    step(f"{root}/bf16", 7, {k: v.astype(ml_dtypes.bfloat16) for k, v in p.items()})
    step(f"{root}/files", 7, p, ocdbt=False)
    step(f"{root}/zarr3", 7, p, driver="zarr3", chunks=2)
    step(f"{root}/chunked", 7, p, chunks=3)
    prefixed = step(f"{root}/prefixed", 7, {"params." + k: v for k, v in p.items()})
    os.rename(prefixed, f"{root}/prefixed/checkpoint_7")
    # the newest was never finished
    step(f"{root}/steps", 9, p)
    step(f"{root}/steps", 10, {k: v + 1 for k, v in p.items()})
    step(f"{root}/steps", 20, p, stamp=None)
    step(f"{root}/steps", 30, p)
    os.rename(f"{root}/steps/30", f"{root}/steps/30.orbax-checkpoint-tmp-5")
    os.remove(step(f"{root}/unmarked", 7, p) + "/_CHECKPOINT_METADATA")
    marked = step(f"{root}/marked", 7, p)
    os.remove(marked + "/_CHECKPOINT_METADATA")
    open(marked + "/commit_success.txt", "w").close()
    step(f"{root}/unknown", 7, {**p, "language_model.model.adapter.weight": np.ones(3, np.float32)})
    less = dict(p)
    del less["language_model.model.ln_f.weight"]
    step(f"{root}/less", 7, less)
    step(f"{root}/ints", 7, {**p, "language_model.model.ln_f.weight": np.ones(32, np.int32)})
    step(f"{root}/nan", 7, {**p, "language_model.model.ln_f.weight": np.full(32, np.nan, np.float32)})
    cut = largest(step(f"{root}/cut", 7, p, chunks=1))
    with open(cut, "r+b") as file:
        file.truncate(os.path.getsize(cut) // 2)
    gone = step(f"{root}/gone", 7, p, ocdbt=False)
    shutil.rmtree(f"{gone}/model_weights/language_model.model.ln_f.weight")
    with open(step(f"{root}/garbled", 7, p) + "/model_weights/_METADATA", "w") as file:
        file.write('{"tree_metadata": 3}')


def compare(model, source, kind="f32"):
    have, want = load_file(model), params(source)
    assert set(have) == set(want), set(have) ^ set(want)
    for k, v in want.items():
        if kind == "bf16":
            v = v.astype(ml_dtypes.bfloat16).astype(np.float32)
        assert have[k].dtype == np.float32 and np.array_equal(have[k], v), k


def dataset(source, folder):
    import hashlib
    ids = load_file(source)["tokens"][0, 0]
    os.makedirs(folder)
    data = {"train": b"", "val": ids.astype("<u2").tobytes()}
    splits = {}
    for name, raw in data.items():
        n = len(raw) // 2
        with open(f"{folder}/{name}.bin", "wb") as file:
            file.write(raw)
        with open(f"{folder}/{name}.docs.jsonl", "w") as file:
            if n:
                file.write(json.dumps({"name": "a", "start": 0, "tokens": n}) + "\n")
        splits[name] = {"tokens": n, "documents": int(n > 0), "token_file": f"{name}.bin",
                        "documents_file": f"{name}.docs.jsonl", "sha256": hashlib.sha256(raw).hexdigest()}
    with open(f"{folder}/dataset.json", "w") as file:
        json.dump({"format": "ttt-tokens", "version": 1, "tokenizer": "ids", "vocab_size": 97, "bos": 1,
                   "eos": 2, "dtype": "uint16", "splits": splits}, file)


def losses(npy, reference):
    have, want = np.load(npy)[0], load_file(reference)["token_nll"][0]
    error = np.nanmax(np.abs(have - want))
    assert np.isfinite(have).sum() > 80 and error < 5e-5, error


def overrides(case):
    def walk(prefix, value):
        for k, v in value.items():
            if isinstance(v, dict):
                walk(f"{prefix}.{k}", v)
            else:
                print(f"{prefix}.{k}={v if isinstance(v, str) else json.dumps(v)}")
    with open(case) as file:
        case = json.load(file)
    walk("model", case["model"])
    walk("training", case["training"])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
