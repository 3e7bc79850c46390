"""Reads the offline runs that tools/wandb_sync made with wandb's own messages, and compares them with
the logs. Usage: read_wandb.py RUN..."""
import glob
import json
import struct
import sys

from wandb.proto import wandb_internal_pb2 as messages


def records(path):
    """The file is a leveldb log: blocks of 32 KiB, records cut to fit them."""
    data = open(path, "rb").read()
    assert data[:4] == b":W&B", path
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[at:at + 7])
        whole += data[at + 7:at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            record = messages.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


for run in sys.argv[1:]:
    rows, names = {}, []
    (path,) = glob.glob(run + "/wandb/offline-run-*/*.wandb")
    for record in records(path):
        if record.HasField("run"):
            names.append((record.run.project, record.run.display_name))
            config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json)
                   for item in record.history.item}
            rows.setdefault(row["_step"], {}).update(row)
    name = run.rsplit("/", 1)[1]
    assert names[0] == ("tests" if name == "whole" else "ttt-e2e", name), names
    assert config["model"]["mini_batch_size"] == 16 and config["overrides"], config
    log = [json.loads(line) for line in open(run + "/log.jsonl")]
    for line in log:
        row = rows[line["step"]]
        assert row["loss"] == line["loss"] and row["outer_learning_rate"] == line["lr"], row
        assert row["gradient_norm"] == line["grad_norm_logged"]
    for line in map(json.loads, open(run + "/eval.jsonl")):
        assert rows[line["step"]]["train_holdout/loss"] == line["loss"]
