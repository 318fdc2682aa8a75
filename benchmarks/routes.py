"""Measure the roads to a TFLite file, and ONNX beside them, on one model in one run: the table in docs/explanation/onnx.md.

    .venv/bin/python -m benchmarks.routes --weights W.safetensors --images photos [--runs 300] [--write]

Each road runs in a process of its own. Seconds are the processor's, of the conversion without the import of its SDKs, which
stands beside it; milliseconds are the least of the runs, one image each. --write puts the table into docs/explanation/onnx.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.marked import write_between

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "onnx.md"
ROADS: Final = {
    "litert-torch": "TFLite: litert-torch (default)",
    "onnx-tf": "TFLite: `--tflite-route onnx-tf`, the ONNX graph turned to NHWC",
    "onnx-tf plain": "TFLite: onnx-tf on the ONNX graph as torch writes it",
    "onnx": "ONNX on ONNX Runtime (`--target onnx`)",
}
THREADS: Final = (1, 2)


def measure(road: str, weights: str, images: Path | None, runs: int) -> dict[str, Any]:
    """Convert by one road and measure what came out."""
    import numpy as np

    from squeeze_export.exporters import deployed, onnx_graph
    from squeeze_export.exporters.tflite import flatbuffer
    from squeeze_export.exporters.tflite import network as tflite_network
    from squeeze_export.golden.images import demo_images, pick_images, read_pictures
    from squeeze_export.golden.pack import make_golden
    from squeeze_export.preprocessing.spec import spec_for
    from squeeze_export.sources.source import load_source
    from squeeze_export.sources.weights import parse_weights
    from squeeze_export.validation.metrics import snr_db

    preprocessing = spec_for("torchvision", model="squeezenet1_1")
    source = load_source(
        name="routes", model="squeezenet1_1", weights=parse_weights(weights), seed=0, labels=None, preprocessing=preprocessing
    )
    pack = make_golden(source, demo_images() if images is None else read_pictures(pick_images(images)))
    layout, scale, bias = ("NCHW", 1 / 255, 0.0) if road == "onnx" else ("NHWC", 1 / 127.5, -1.0)
    spec = deployed.input_spec(preprocessing, "image", name="image", layout=layout, image_scale=scale, image_bias=bias)
    output = deployed.output_spec(source, "logits")

    began = time.process_time()
    if road == "onnx":
        import onnx
        import onnxruntime  # noqa: F401  # its import is counted
    elif road == "litert-torch":
        import litert_torch  # noqa: F401
    else:
        from squeeze_export.exporters.tflite import onnx_tf_compat

        onnx_tf_compat.load_backend()
    imported = time.process_time() - began

    began = time.process_time()
    if road == "onnx":
        content = onnx_graph.checked_bytes(
            onnx_graph.traced(deployed.deployed(source, spec, "logits"), spec, output), spec, output
        )
        seconds = time.process_time() - began
        operators = [node.op_type for node in onnx.load_model_from_string(content).graph.node]
    else:
        from squeeze_export.exporters.tflite import exporter as tflite
        from squeeze_export.exporters.tflite import onnx_tf

        network, _ = tflite_network.prepare(source, spec)
        if road == "litert-torch":
            content = tflite._convert(tflite_network.as_signature(network, "logits"), spec)
        else:
            content = onnx_tf.convert(network, spec, output, nhwc=road == "onnx-tf")
        seconds = time.process_time() - began
        operators = flatbuffer.operators(flatbuffer.parse(content))

    inputs = spec.encode(pack.pixels)
    if road == "onnx-tf plain":
        inputs = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
    times, answers = {}, []
    for threads in THREADS:
        run = _onnx(content, threads) if road == "onnx" else _tflite(content, threads)
        answers = [run(row[None]) for row in inputs]
        taken = []
        for _ in range(runs):
            began = time.perf_counter()
            run(inputs[:1])
            taken.append(time.perf_counter() - began)
        times[threads] = 1000 * min(taken)
    counts = Counter(operators)
    reference = pack.reference.logits  # type: ignore[union-attr]
    return {
        "ops": len(operators),
        "transposes": counts["TRANSPOSE"] + counts["Transpose"],
        "pads": counts["PAD"] + counts["PADV2"] + counts["Pad"],
        "bytes": len(content),
        "ms": times,
        "snr": snr_db(reference, np.concatenate(answers)),
        "seconds": seconds,
        "imported": imported,
    }


def _tflite(content: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    given, said = (side[0]["index"] for side in (interpreter.get_input_details(), interpreter.get_output_details()))

    def run(image: Any) -> Any:
        interpreter.set_tensor(given, image)
        interpreter.invoke()
        return interpreter.get_tensor(said)

    return run


def _onnx(content: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]


def table(found: dict[str, dict[str, Any]]) -> str:
    """The Markdown table."""
    ms = " | ".join(f"ms, {threads} thread{'s' if threads > 1 else ''}" for threads in THREADS)
    lines = [
        f"| road | ops | transposes | pads | bytes | {ms} | SNR | CPU s | import CPU s |",
        "| --- |" + " ---: |" * (7 + len(THREADS)),
    ]
    for road, row in found.items():
        took = " | ".join(f"{row['ms'][str(threads)]:.2f}" for threads in THREADS)
        lines.append(
            f"| {ROADS[road]} | {row['ops']} | {row['transposes']} | {row['pads']} | {row['bytes']:,} | {took} | "
            f"{row['snr']:.1f} dB | {row['seconds']:.1f} | {row['imported']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table, or one road's figures as JSON."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--weights", default="random")
    arguments.add_argument("--images", type=Path)
    arguments.add_argument("--runs", type=int, default=300)
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--one", choices=tuple(ROADS), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one, chosen.weights, chosen.images, chosen.runs)), flush=True)
        os._exit(0)  # native runtimes side by side may hang while the interpreter shuts down
    found = {}
    for road in ROADS:
        print(f"{road}…", file=sys.stderr)
        command = [
            sys.executable,
            "-m",
            "benchmarks.routes",
            "--one",
            road,
            "--weights",
            chosen.weights,
            "--runs",
            str(chosen.runs),
        ]
        command += ["--images", str(chosen.images)] if chosen.images else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{road} failed:\n{done.stderr[-3000:]}")
        found[road] = json.loads(done.stdout.splitlines()[-1])
    print(table(found))
    if chosen.write:
        write_between(PAGE, "routes", table(found))


if __name__ == "__main__":
    main()
