"""Bundles for the tests of the starters: real golden packs and manifests around an artifact of a few placeholder bytes.

A starter's files follow from manifest, labels and golden pack; what is inside the artifact is the business of other tests.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from squeeze_export.bundle import manifest
from squeeze_export.contracts.artifact import Target
from squeeze_export.contracts.parity import ParityReport, Tolerance, Verdict
from squeeze_export.contracts.signature import InputSpec, OutputSpec, Signature
from squeeze_export.preprocessing.spec import spec_for

TARGETS: tuple[Target, ...] = ("coreml", "tflite", "torchscript")
LABELS_34 = tuple("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ")
# Awkward on purpose: quotes, markup, a dollar, a tab-free blank run, other scripts, U+2028 inside a name.
LABELS_7 = ("plain", 'quoted "one"', "<tag> & more", "$dollar ${not}", "日本語", "naïve  café", "line\u2028separator")
THREE_MODELS = ("imagenet_like", "characters", "seven_caffe")
GREY = "grey_padded"  # one channel, padded, lanczos, oblong, independent scores: whatever the others are not

_TOLERANCE = Tolerance(
    precision="fp32", max_error_of_peak=1e-5, min_snr_db=100.0, min_centred_snr_db=90.0, reason="as in the tests"
)
_TOLERANCE_OF_FEW = replace(_TOLERANCE, max_probability_error=1e-4)  # seven classes are few: their probabilities are judged


def pictures() -> list[tuple[str, Any]]:
    """Eight structured pictures of odd sizes: gradients with edges in them, so that every line of a resize shows."""
    import numpy as np

    sizes = [(240, 320), (333, 250), (257, 259), (97, 600), (600, 97), (31, 40), (224, 224), (511, 383)]
    made = []
    for number, (height, width) in enumerate(sizes):
        y, x = np.mgrid[0:height, 0:width]
        channels = [
            (x * (number + 2) + y) % 256,
            255 * (((x // (3 + number)) + (y // 5)) % 2),
            (128 + 127 * np.sin((x * y + number) / 97.0)),
        ]
        made.append((f"picture-{number}.png", np.stack(channels, axis=-1).astype(np.uint8)))
    return made


def make_bundle(
    folder: Path,
    kind: str = "characters",
    *,
    targets: tuple[Target, ...] = TARGETS,
    verdict: Verdict = "PASSED",
    name: str | None = None,
) -> tuple[Path, manifest.Manifest]:
    """Write a bundle of one of THREE_MODELS (1000 classes at 224 without labels; 34 at 224; 7 at 160 the Caffe way), or GREY."""
    from squeeze_export.golden.files import write_golden
    from squeeze_export.golden.pack import make_golden
    from squeeze_export.sources.source import load_source

    name = name or kind
    folder.mkdir(parents=True)
    labels = {"imagenet_like": None, "characters": LABELS_34, "seven_caffe": LABELS_7, GREY: LABELS_7}[kind]
    spec = {
        "seven_caffe": partial(spec_for, "caffe", model="squeezenet1_0", input_size=(160, 160)),
        GREY: partial(
            spec_for,
            "inception",
            model="squeezenet1_1",
            input_size=(96, 160),
            resize=(100, 170),
            resize_mode="pad",
            interpolation="lanczos",
            color_order="GRAY",
            channels=1,
        ),
    }.get(kind, partial(spec_for, "torchvision", model="squeezenet1_1"))()
    if labels is not None:
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    source = load_source(
        name=name,
        model="squeezenet1_0" if kind == "seven_caffe" else "squeezenet1_1",
        weights="random",
        seed=3,
        labels=None,
        preprocessing=spec,
    )
    if labels is not None:
        source = _with_classes(source, labels)
    if kind == GREY:
        _make_grey(source.module)
        source = replace(source, activation="sigmoid")
    pack = make_golden(source, pictures())
    records = tuple(_artifact(folder, name, target, source, verdict) for target in targets)
    write_golden(pack, folder / "golden", tolerances={record.key.name: _tolerance(source) for record in records})
    made = manifest.Manifest(
        schema_version=1,
        name=name,
        source=manifest.SourceRecord.of(
            source.model, source.num_classes, 1_000_000, source.weights, spec, activation=source.activation
        ),
        tool_versions={"squeeze-export": "0.1.0"},
        labels=None if labels is None else manifest.file_record(folder, folder / "labels.txt"),
        golden=manifest.file_record(folder, folder / "golden"),
        parity=manifest.FileRecord(path="parity.json", sha256="0" * 64, size_bytes=0),
        starters=(),
        artifacts=records,
    )
    (folder / manifest.MANIFEST).write_bytes(manifest.encode(made))
    return folder, made


def _with_classes(source: Any, labels: tuple[str, ...]) -> Any:
    """The same network with its classifier cut down to as many classes as there are labels."""
    import torch

    last = source.module.classifier[1]
    with torch.no_grad():
        last.weight = torch.nn.Parameter(last.weight[: len(labels)].clone())
        last.bias = torch.nn.Parameter(last.bias[: len(labels)].clone())
    return replace(source, num_classes=len(labels), labels=labels)


def _make_grey(module: Any) -> None:
    """Let the network take one channel in the place of three equal ones."""
    import torch

    first = module.features[0]
    with torch.no_grad():
        first.weight = torch.nn.Parameter(first.weight.sum(dim=1, keepdim=True))
    first.in_channels = 1


def _tolerance(source: Any) -> Tolerance:
    few = source.num_classes == len(LABELS_7) and source.activation == "softmax"
    return _TOLERANCE_OF_FEW if few else _TOLERANCE


def _artifact(folder: Path, name: str, target: Target, source: Any, verdict: Verdict) -> manifest.ArtifactRecord:
    spec = source.preprocessing
    image_scale, image_bias, layout, suffix = {
        "coreml": (1.0, 0.0, "NHWC", ".mlpackage"),
        "tflite": (1 / 127.5, -1.0, "NHWC", ".tflite"),
        "torchscript": (1 / 255, 0.0, "NCHW", ".ptl"),
    }[target]
    channels = spec.channels
    shape = (1, spec.height, spec.width, channels) if layout == "NHWC" else (1, channels, spec.height, spec.width)
    if target == "tflite" and spec.color_order == "BGR":
        # As an artifact of --input-kind tensor declares it: the source's own order and normalisation.
        scale = tuple(spec.scale / deviation for deviation in spec.std)
        bias = tuple(-mean / deviation for mean, deviation in zip(spec.mean, spec.std, strict=True))
        order = "BGR"
    else:
        scale, bias, order = (image_scale,) * channels, (image_bias,) * channels, "GRAY" if channels == 1 else "RGB"
    path = folder / target / f"{name}{suffix}"
    if target == "coreml":
        (path / "Data").mkdir(parents=True)
        (path / "Manifest.json").write_text("{}\n")
        (path / "Data" / "weight.bin").write_bytes(bytes(range(64)))
    else:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(200)))
    sha256, size = manifest.digest(path)
    report = ParityReport(
        verdict=verdict,
        executor="test executor 1.0",
        reason=None if verdict == "PASSED" else f"made {verdict} by the test.",
        tolerance=_tolerance(source),
        outputs=(),
        weights=None,
    )
    return manifest.ArtifactRecord(
        target=target,
        precision="fp32",
        path=path.relative_to(folder).as_posix(),
        sha256=sha256,
        size_bytes=size,
        signature=Signature(
            input=InputSpec(
                name="image",
                shape=shape,
                dtype="float32",
                layout=layout,
                color_order=order,
                scale=scale,
                bias=bias,
            ),
            outputs=(
                OutputSpec(
                    name="logits" if target == "torchscript" else "probabilities",
                    shape=(1, source.num_classes),
                    dtype="float32",
                    kind="logits" if target == "torchscript" else "probabilities",
                ),
            ),
        ),
        operators=(),
        deployment_target="iOS16" if target == "coreml" else None,
        bytecode_version=8 if target == "torchscript" else None,
        notice="TorchScript Lite is at its end of life." if target == "torchscript" else None,
        folded_weights=(),
        parity=report,
        witnesses=(),
    )
