"""Compares `ttt tokenize` with tiktoken and tokenizers: compare_tokenizers.py TTT ORACLES FIXTURE. Each
case is one run of the program; the texts hold every code point, long runs, bytes that are not UTF-8."""
import base64
import json
import os
import random
import subprocess
import sys

ttt, oracles, fixture = sys.argv[1:]
os.environ["TIKTOKEN_CACHE_DIR"] = oracles
import tiktoken
from tokenizers import Tokenizer

failures = 0
llama3 = os.path.join(oracles, "tokenizer.model")
published = json.load(open(fixture))


def ours(tokenizer, text, *options):
    run = subprocess.run([ttt, "tokenize", "--tokenizer", tokenizer, *options], input=text,
                         stdout=subprocess.PIPE, check=True)
    return [int(i) for i in run.stdout.split()]


def check(what, tokenizer, text, want, *options):
    global failures
    got = ours(tokenizer, text, *options)
    if got == want:
        return
    failures += 1
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    print(f"FAILED: {what}: token {at} is {got[at:at + 3]}, not {want[at:at + 3]}")


def samples():
    draw = random.Random(2)
    # Beyond the last assigned ideograph nearly all are unassigned: one of seven is enough.
    code_points = [chr(c) for c in (*range(0xd800), *range(0xe000, 0x33500), *range(0x33500, 0x110000, 7))]
    yield "code points", "".join(f"a{c} {c}{c}1{c}\n" for c in code_points).encode()
    yield "random code points", "".join(draw.choices(code_points, k=100000)).encode()
    yield "letters", b"a" * 50000  # tiktoken runs out of stack above
    yield "spaces", b" " * 50000
    yield "lines", b"\n \t" * 15000
    yield "random bytes", draw.randbytes(1000000)
    yield "no UTF-8 at the end", "Stra\u00dfe, \n\n ".encode() + b"\xe4\xb8"
    yield "code", open(__file__, "rb").read() * 20


def main():
    ranks = {base64.b64decode(t): int(r) for t, r in map(str.split, open(llama3))}
    encoding = tiktoken.Encoding("llama3", pat_str=published["pattern"], mergeable_ranks=ranks,
                                 special_tokens=published["special_tokens"])
    for case in published["cases"]:
        text = case["text"].encode()
        check("a published case", llama3, text, case["ids"])
        check("a published case", llama3, text, case["ids_special"], "--special")
    names = {llama3: encoding}
    for name, digest in (("cl100k_base", "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"),
                         ("o200k_base", "fb374d419588a4632f3f557e76b4b70aebbca790"),
                         ("p50k_base", "ec7223a39ce59f226a68acc30dc1af2788490e15")):
        names[os.path.join(oracles, digest)] = tiktoken.get_encoding(name)
    for path, oracle in names.items():
        for what, text in samples():
            check(f"{oracle.name}: {what}", path, text, oracle._encode_bytes(text))
    for name in ("anthropic_tokenizer.json", "deepseek_tokenizer.json"):
        path = os.path.join(oracles, name)
        oracle = Tokenizer.from_file(path)
        for what, text in samples():
            text = text.decode(errors="ignore")
            check(f"{name}: {what}", path, text.encode(),
                  oracle.encode(text, add_special_tokens=False).ids, "--special")
    sys.exit(1 if failures else 0)


main()
