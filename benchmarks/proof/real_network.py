"""EfficientNet-Lite0 with ImageNet's weights, from four kinds of source: verdicts, accuracy on photographs, bytes, MediaPipe.

    python -m benchmarks.proof.real_network --kept DIR [--roads timm,factory] [--once]
    python -m benchmarks.proof.real_network --kept DIR --table

Needs timm, the extras onnx and test, and the real data: a folder named by SQUEEZE_EXPORT_DATA, or ../shared/data. Every road is
exported twice by the command line (--once: only once), eight artifacts each; the first export is evaluated on all photographs of
images/evaluation, and its TFLite files are given to MediaPipe. What is in --kept is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.marked import write_between
from benchmarks.noise.networks import declare_operators
from benchmarks.proof import tool

NAME: Final = "tf_efficientnet_lite0"
ROADS: Final = ("timm", "factory", "pt2", "hf")
# What timm says of this network, for the roads that cannot know it.
PREPROCESSING: Final = ("--interpolation", "bicubic", "--crop-pct", "0.875", "--mean", "0.5", "--std", "0.5")
FILES: Final = ("--target", "all,onnx", "--precision", "fp32,fp16", "--starter", "none")
FACTORY: Final = f"""
import timm

def build():
    return timm.create_model("{NAME}")
"""


def main() -> None:
    """Measure what is missing, and print the table."""
    options = _options()
    kept = options.kept.resolve()
    kept.mkdir(parents=True, exist_ok=True)
    if not options.table:
        data = Path(os.environ.get("SQUEEZE_EXPORT_DATA") or tool.ROOT.parent / "shared" / "data").resolve()
        weights = data / "weights" / f"{NAME}.safetensors"
        if not weights.is_file():
            raise SystemExit(f"no real data: set SQUEEZE_EXPORT_DATA or provide {os.path.relpath(weights)}")
        for road in options.roads.split(","):
            _measure(road, kept, data, weights, twice=not options.once)
    found = {road: json.loads(path.read_text(encoding="utf-8")) for road in ROADS if (path := kept / f"{road}.json").is_file()}
    first = next(iter(found.values()))
    tables = {"real network": rows_of(first["made"], first["evaluated"], "top1", "top5"), "real roads": _roads(found)}
    print("\n\n".join(tables.values()))
    if options.table:
        for name, text in tables.items():
            write_between(tool.ROOT / "docs" / "reference" / "real-networks.md", name, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, required=True, help="the folder of bundles and results")
    parser.add_argument("--roads", default=",".join(ROADS), help="kinds of source, divided by commas")
    parser.add_argument("--once", action="store_true", help="no second export to compare bytes with")
    parser.add_argument("--table", action="store_true", help="write docs/reference/real-networks.md from what is kept")
    return parser.parse_args()


def _measure(road: str, kept: Path, data: Path, weights: Path, *, twice: bool) -> None:
    place = kept / road
    place.mkdir(exist_ok=True)
    source = _source(road, place, weights)
    labels = () if road == "hf" else ("--labels", f"{data / 'labels' / 'imagenet_1k_labels.tsv'}#simple")
    asked = (*source, *labels, *FILES, "--name", "lite0", *(() if road in ("timm", "hf") else PREPROCESSING))
    images = ("--images", str(data / "images" / "calibration"))
    for once in ("first", "second")[: 1 + twice]:
        if not (place / once / "lite0" / "manifest.json").is_file():
            tool.run([*asked, *images, "--output", once], place, place / f"{once}.log")
    bundle = place / "first" / "lite0"
    shown = ("--images", str(data / "images" / "evaluation"))
    if not (place / "evaluated.json").is_file():
        found = tool.measured([str(bundle), *shown, *source], place, place / "evaluating.json")
        (place / "evaluated.json").write_text(json.dumps(found), encoding="utf-8")
    evaluated = json.loads((place / "evaluated.json").read_text(encoding="utf-8"))
    second = place / "second" / "lite0"
    made = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    result = {
        "made": made,
        "evaluated": evaluated,
        "files": tool.files_of(bundle),
        "again": tool.files_of(second) if (second / "manifest.json").is_file() else None,
        "mediapipe": {path.name: _mediapipe(path, made, data) for path in sorted((bundle / "tflite").iterdir())},
    }
    (kept / f"{road}.json").write_text(json.dumps(result), encoding="utf-8")


def _source(road: str, place: Path, weights: Path) -> tuple[str, ...]:
    """Lay what the road takes into `place`, and name it."""
    if road == "timm":
        return "--model", f"timm:{NAME}", "--weights", str(weights)
    if road == "factory":
        (place / "nets.py").write_text(FACTORY, encoding="utf-8")
        return "--model", "nets:build", "--weights", str(weights)
    if road == "hf":
        folder = place / "folder"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(weights, folder / "model.safetensors")
        config = {"architecture": NAME, "num_classes": 1000, "pretrained_cfg": _of_timm()}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return "--model", "hf:folder"
    if not (place / "model.pt2").is_file():
        import torch
        from safetensors.torch import load_file

        declare_operators()
        import timm

        network = timm.create_model(NAME).eval()
        network.load_state_dict(load_file(weights))
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 224, 224),)), place / "model.pt2")
    return "--model", "model.pt2"


def _of_timm() -> dict[str, Any]:
    declare_operators()
    import timm

    names = ("input_size", "interpolation", "crop_pct", "mean", "std")
    own = timm.get_pretrained_cfg(NAME)
    return {name: getattr(own, name) for name in names}


def _mediapipe(path: Path, made: dict[str, Any], data: Path) -> list[int]:
    """How many photographs MediaPipe's classifier of a TFLite file gives the right class, and how many there are."""
    import csv

    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    from squeeze_export.bundle.manifest import decode
    from squeeze_export.contracts.signature import PreprocessingSpec
    from squeeze_export.preprocessing.pixels import load_pixels

    spec = decode(json.dumps(made["source"]["preprocessing"]).encode(), PreprocessingSpec)
    folder = data / "images" / "evaluation"
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(path)), max_results=1)
    right = total = 0
    with (
        vision.ImageClassifier.create_from_options(options) as classifier,
        (folder / "labels.tsv").open(newline="", encoding="utf-8") as file,
    ):
        for row in csv.DictReader(file, delimiter="\t"):
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=load_pixels(folder / row["file"], spec))
            (head,) = classifier.classify(image).classifications
            right += head.categories[0].index == int(row["class_index"])
            total += 1
    return [right, total]


def rows_of(made: dict[str, Any], evaluated: dict[str, Any], *shares: str) -> str:
    """A table with a row per artifact: its verdict, centred SNR, bytes, and the shares "top1" and "top5" asked for."""
    lines = [
        f"| file | verdict | SNR, dB | bytes | {' | '.join(name.replace('top', 'top-') for name in shares)} |",
        f"| --- | --- | ---: | ---: |{' ---: |' * len(shares)}",
        f"| eager PyTorch | – | – | – | {_shares(evaluated['reference'], *shares)} |",
    ]
    for one, found in zip(made["artifacts"], evaluated["artifacts"], strict=True):
        snr = min(output["centred_snr_db"] for output in one["parity"]["outputs"])
        lines.append(
            f"| {one['target']} {one['precision']} | {one['parity']['verdict']} | {snr:.1f} | {one['size_bytes']:,} | "
            f"{_shares(found, *shares)} |"
        )
    return "\n".join(lines)


def _shares(found: dict[str, Any], *names: str) -> str:
    of = [found["accuracy"][name] for name in names]
    return " | ".join(f"{share['value']:.1%} ({share['hits']} of {share['images']})" for share in of)


def _roads(found: dict[str, Any]) -> str:
    lines = [
        "| source | PASSED | top-1, top-5 | same files when exported again | MediaPipe right |",
        "| --- | --- | --- | --- | --- |",
    ]
    for road, one in found.items():
        artifacts = one["made"]["artifacts"]
        passed = sum(artifact["parity"]["verdict"] == "PASSED" for artifact in artifacts)
        measured = [one["evaluated"]["reference"], *one["evaluated"]["artifacts"]]
        shares = sorted({_shares(artifact, "top1", "top5").replace(" | ", ", ") for artifact in measured})
        again = "–" if one["again"] is None else _same(one["files"], one["again"])
        media = ", ".join(f"{right} of {total}" for right, total in one["mediapipe"].values())
        lines.append(f"| {road} | {passed} of {len(artifacts)} | {'; '.join(shares)} | {again} | {media} |")
    return "\n".join(lines)


def _same(one: dict[str, str], other: dict[str, str]) -> str:
    names: Sequence[str] = sorted({*one, *other})
    return f"{sum(one.get(name) == other.get(name) for name in names)} of {len(names)}"


if __name__ == "__main__":
    main()
