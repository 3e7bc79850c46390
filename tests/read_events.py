"""Reads the runs below a folder with tensorboard: every value against log.jsonl and eval.jsonl, then
the same through the web server. Usage: read_events.py LOGDIR"""
import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"train/loss": "loss", "train/outer_grad_norm": "outer_grad_norm",
        "train/inner_grad_norm": "inner_grad_norm", "train/lr": "lr",
        "train/inner_lr": "inner_lr", "speed/tokens_per_second": "tokens_per_second",
        "speed/step_seconds": "seconds", "memory/peak_rss_mb": "peak_rss_mb"}
ALL = {"scalars": 0, "tensors": 0, "images": 0}


def lines(path):
    return [json.loads(line) for line in open(path)]


def near(a, b):
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)


def same(points, rows, key, what):
    wanted = {r["step"]: r[key] for r in rows if r[key] is not None}
    found = [(p[0], p[1]) for p in points]
    assert [s for s, _ in found] == sorted(wanted), (what, [s for s, _ in found][:9], len(found))
    for step, value in found:
        assert near(value, wanted[step]), (what, step, value, wanted[step])


def check_files(run):
    a = EventAccumulator(run, size_guidance=ALL)
    a.Reload()
    tags = a.Tags()
    log, evals = lines(run + "/log.jsonl"), lines(run + "/eval.jsonl")
    for tag, key in TAGS.items():
        same([(e.step, e.value) for e in a.Scalars(tag)], log, key, (run, tag))
    same([(e.step, e.value) for e in a.Scalars("eval/loss")], evals, "loss", run)
    for i, part in enumerate(evals[-1]["loss_by_position"]):
        tag = f"eval_by_position/{part['first']}-{part['end'] - 1}"
        values = [e.value for e in a.Scalars(tag)]
        assert len(values) == len(evals), (run, tag)
        for value, line in zip(values, evals):
            assert near(value, line["loss_by_position"][i]["loss"]), (run, tag)
    if os.path.exists(run + "/curves/loss_by_position.png"):
        images = a.Images("eval/loss_by_position")
        assert [i.step for i in images] == [e["step"] for e in evals], run
        assert (images[-1].width, images[-1].height) == (900, 560)
        png = open(run + "/curves/loss_by_position.png", "rb").read()
        assert images[-1].encoded_image_string == png, run
    else:
        assert not tags["images"], run
    text = a.Tensors("config")[-1].tensor_proto.string_val[0].decode()
    assert "mini_batch_size: 16" in text and "training:" in text
    assert "_hparams_/session_start_info" in tags["tensors"]
    return log


def ask(url, data=None):
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def check_server(logdir, logs):
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", logdir,
                               "--port", "0", "--samples_per_plugin", "scalars=100000"],
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        for line in server.stderr:
            found = re.search(r"http://[^ ]+:\d+/", line)
            if found:
                break
        url = re.sub("//[^:]*:", "//localhost:", found.group(0))
        assert b"TensorBoard" in ask(url)
        for _ in range(100):
            runs = json.loads(ask(url + "data/runs"))
            if set(logs) <= set(runs):
                break
            time.sleep(0.1)
        assert set(logs) <= set(runs), runs
        for run, log in logs.items():
            query = urllib.parse.urlencode({"run": run, "tag": "train/loss"})
            for _ in range(100):
                points = json.loads(ask(url + "data/plugin/scalars/scalars?" + query))
                if len(points) >= len(log):
                    break
                time.sleep(0.1)
            same([(p[1], p[2]) for p in points], log, "loss", (run, "server"))
        images = json.loads(ask(url + "data/plugin/images/tags"))
        if any(os.path.exists(f"{logdir}/{run}/curves/loss.png") for run in logs):
            assert any("eval/loss_by_position" in tags for tags in images.values()), images
        texts = json.loads(ask(url + "data/plugin/text/tags"))
        assert all("config" in texts[run] for run in logs), texts
        hparams = json.loads(ask(url + "data/plugin/hparams/experiment", b"{}"))
        names = [info["name"] for info in hparams["hparamInfos"]]
        assert "training.optimizer_outer.lr" in names, names
    finally:
        server.kill()


folder = sys.argv[1]
check_server(folder, {run: check_files(f"{folder}/{run}") for run in ("whole", "cut", "plain")})
