"""What the tests of evaluations share: small pictures, bundles of fake artifacts, and a watcher that counts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from squeeze_export.bundle import manifest
from squeeze_export.contracts.parity import ParityReport
from squeeze_export.contracts.signature import InputSpec, OutputSpec, PreprocessingSpec, Signature
from squeeze_export.evaluation.walk import EvaluationRequest, evaluate

FAKE_WORKER = (sys.executable, str(Path(__file__).parent / "fake_evaluation_worker.py"))
PERFECT_REFERENCE = (*FAKE_WORKER, "perfect-reference")  # a reference that knows every class, in place of eager PyTorch
NO_WORKER = (sys.executable, "-c", "raise SystemExit('a worker was started')")
CLASSES, PER_CLASS = 7, 6
SIDE = 20

SPEC = PreprocessingSpec(resize=SIDE, height=SIDE, width=SIDE, color_order="RGB", scale=1, mean=(0, 0, 0), std=(255, 255, 255))
SIGNATURE = Signature(
    input=InputSpec(
        name="image", shape=(1, SIDE, SIDE, 3), dtype="float32", layout="NHWC", color_order="RGB", scale=(1, 1, 1), bias=(0, 0, 0)
    ),
    outputs=(OutputSpec(name="scores", shape=(1, CLASSES), dtype="float32", kind="probabilities"),),
)
REPORT = ParityReport(verdict="PASSED", executor="fake", reason=None, tolerance=None, outputs=(), weights=None)


class Watcher:
    """Counts what it is told; raises what it is given after so many images."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.notices: list[str] = []
        self.known: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.stop_after = stop_after

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def begin(self, subject: str, known: int, total: int) -> None:
        self.known[subject], self.done[subject] = known, known

    def advance(self, subject: str, count: int) -> None:
        self.done[subject] += count
        if self.stop_after is not None and sum(self.done.values()) >= self.stop_after:
            raise KeyboardInterrupt

    def end(self, subject: str, status: str) -> None:
        self.ended[subject] = status


def make_pictures(folder: Path, per_class: int = PER_CLASS) -> Path:
    """`per_class` pictures of each of seven classes, a folder per class, no two with the same bytes."""
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
        for place in range(per_class):
            grey = np.full((SIDE + place, SIDE + label + place, 3), 10 * label, np.uint8)
            Image.fromarray(grey).save(folder / str(label) / f"{place}.png")
    return folder


def make_bundle(
    folder: Path,
    *artifacts: dict,
    kind: str = "file",
    sha256: str = "0" * 64,
    seed: int | None = None,
    head: str = "classifier",
) -> Path:
    records = []
    for place, told in enumerate(artifacts):
        target = ("tflite", "torchscript", "coreml")[place]
        path = folder / target / f"net.{place}"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(told), encoding="utf-8")
        file = manifest.file_record(folder, path)
        records.append(
            manifest.ArtifactRecord(
                target=target,
                precision="fp32",
                path=file.path,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                signature=SIGNATURE,
                operators=(),
                deployment_target=None,
                bytecode_version=None,
                notice=None,
                folded_weights=(),
                parity=REPORT,
                witnesses=(),
            )
        )
    labels = folder / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in "abcdefg"), encoding="utf-8")
    made = manifest.Manifest(
        schema_version=1,
        name="net",
        source=manifest.SourceRecord(
            model="squeezenet1_1",
            num_classes=CLASSES,
            parameters=1,
            weights_kind=kind,
            weights_file="mine.pth" if kind == "file" else None,
            weights_sha256=sha256,
            weights_seed=seed,
            head=head,
            preprocessing=SPEC,
        ),
        tool_versions={},
        labels=manifest.file_record(folder, labels),
        golden=manifest.FileRecord(path="golden", sha256="0" * 64, size_bytes=0),
        parity=manifest.FileRecord(path="parity.json", sha256="0" * 64, size_bytes=0),
        starters=(),
        artifacts=tuple(records),
    )
    (folder / "manifest.json").write_bytes(manifest.encode(made))
    return folder


def run(bundle: Path, images: Path, *, watcher: Watcher | None = None, command=FAKE_WORKER, **options):
    request = EvaluationRequest(bundle=bundle, images=images, workers=2, reference=False)
    return evaluate(replace(request, **options), watcher or Watcher(), command=command)
