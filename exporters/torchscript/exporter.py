"""TorchScript Lite: trace, freeze, save for the lite interpreter, and make the bytes follow from the model alone.

The file takes one tensor and gives one tensor, by position; the signature's names are in the extra file RECORD_FILE.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from squeeze_export.contracts.artifact import Artifact, ExportSettings, Precision
from squeeze_export.contracts.signature import Signature
from squeeze_export.contracts.source import SourceModel
from squeeze_export.errors import ConversionError
from squeeze_export.exporters.deployed import deployed, input_spec, output_spec
from squeeze_export.exporters.torchscript import half, quantized
from squeeze_export.sources.source import weight_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch

    from squeeze_export.contracts.arrays import Array, PixelArray

SUFFIX: Final = ".ptl"
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8")
CAPTURED: Final[tuple[Precision, ...]] = ("fp32", "fp16")  # of networks other than SqueezeNet
CALIBRATED: Final[tuple[Precision, ...]] = ("int8",)
PACKAGES: Final[tuple[str, ...]] = ("torch",)

BYTECODE_VERSION: Final = 8  # what torch 1.13 to 2.13 write and the last mobile runtime (2.1.0) reads
LABELS_FILE: Final = "labels.txt"
RECORD_FILE: Final = "squeeze_export.json"
NOTICE: Final = (
    "TorchScript Lite is at its end of life: org.pytorch:pytorch_android_lite 2.1.0 is its last runtime, and is not aligned "
    "to the 16 KB memory pages that Google Play requires of apps for Android 15 and later since 2025-11-01. Take this file for "
    "apps that already use that runtime; PyTorch's successor is ExecuTorch."
)


def unavailable() -> str | None:
    """Say why no .ptl can be written here, or None; loads no SDK."""
    from importlib.util import find_spec

    return None if find_spec("torch") else "torch is not installed: pip install 'torch==2.13.*'"


def export(
    source: SourceModel,
    settings: ExportSettings,
    destination: Path,
    calibration: PixelArray | None = None,
    told: Callable[[str], None] | None = None,
) -> Artifact:
    """Write a lite interpreter file at `destination` and describe it; raises ConversionError and then leaves nothing there.

    Input: (1, C, H, W) float32, an RGB or grey image in 0..1 or the normalised tensor. Output: (1, classes or channels) float32.
    """
    spec = input_spec(source.preprocessing, settings.input_kind, name="image", layout="NCHW", image_scale=1 / 255, image_bias=0.0)
    signature = Signature(input=spec, outputs=(output_spec(source, settings.output_kind),))
    extra_files = _extra_files(source, settings.precision, signature)
    partial = destination.with_name(f".{destination.name}.partial")
    chosen: dict[str, Array] = {}
    try:
        module = deployed(source, spec, settings.output_kind)
        with quantized.engine() if settings.precision == "int8" else nullcontext():
            if settings.precision == "fp16":
                half.store_in_half(module)
            elif settings.precision == "int8":
                if calibration is None:
                    raise ConversionError("TorchScript int8 needs calibration images: pass --calibration-data.")
                module, chosen = quantized.quantise(module, [spec.encode(crop[None]) for crop in calibration])
            archive = _canonical(_lite_archive(module, spec.shape, extra_files))
            version, operators = _inspect(archive)
        if version != BYTECODE_VERSION:
            raise ConversionError(
                f"torch wrote bytecode version {version} where the mobile runtime needs {BYTECODE_VERSION}: "
                "install the torch that this project is tested with (pip install 'torch==2.13.*')."
            )
        partial.write_bytes(archive)
        partial.replace(destination)
    except ConversionError:
        raise
    except Exception as error:  # whatever torch raises on a graph it cannot take is one thing to the user
        raise ConversionError(
            f"TorchScript Lite export of {source.name} ({settings.precision}) failed with {type(error).__name__}: {error}. "
            "Check that the installed torch is 2.13 and that the output folder can be written to."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return Artifact(
        target="torchscript",
        precision=settings.precision,
        path=destination,
        signature=signature,
        operators=operators,
        bytecode_version=version,
        notice=NOTICE,
        chosen_weights=tuple(
            weight_digest(name, chosen[f"model.{name}"]) for name in source.module.state_dict() if f"model.{name}" in chosen
        ),
    )


def _extra_files(source: SourceModel, precision: Precision, signature: Signature) -> dict[str, bytes]:
    """What a phone must know besides the graph: labels, one per line, and the record of signature and preprocessing."""
    record = {
        "schema_version": 1,
        "model": source.model,
        "head": source.head,
        "num_classes": source.num_classes,
        "weights_sha256": source.weights.sha256,
        "precision": precision,
        "signature": asdict(signature),
        "preprocessing": source.preprocessing.record(),
    }
    files = {RECORD_FILE: (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()}
    if source.labels is not None:
        broken = next((label for label in source.labels if len(label.splitlines()) != 1), None)
        if broken is not None:
            raise ConversionError(f"Label {broken!r} is not one line of text, and {LABELS_FILE} holds one per line: rename it.")
        files[LABELS_FILE] = "".join(f"{label}\n" for label in source.labels).encode()
    return files


def _lite_archive(module: torch.nn.Module, shape: tuple[int, ...], extra_files: dict[str, bytes]) -> bytes:
    """Trace on a grey image, freeze, and serialise for the lite interpreter."""
    import torch

    # The convolution flags are written into the graph: pinned to torch's defaults, whatever the process has set.
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=True)
    with _quiet(), flags, torch.no_grad():
        # check_trace would run everything once more to compare with itself; validation does it against the reference.
        traced = torch.jit.trace(module, torch.full(shape, 0.5), check_trace=False)
        archive: bytes = torch.jit.freeze(traced)._save_to_buffer_for_lite_interpreter(_extra_files=extra_files)
    return archive


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the notice already says; a trace that depends on its example input is a ConversionError."""
    import torch

    # Recorded, not raised at once: an exception out of torch's C++ tracer surfaces as a SystemError that says nothing.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", torch.jit.TracerWarning)
        # TorchScript is deprecated as a whole in 2.13; the lite interpreter has no other front door.
        warnings.filterwarnings("ignore", r"`torch\.jit\.(trace|trace_method|freeze)` is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r"Lite Interpreter is deprecated", DeprecationWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, torch.jit.TracerWarning):
            raise ConversionError(
                f"The trace of this model depends on its example input ({warning.message}): others would give wrong scores. "
                "Take the decision out of the model's forward."
            )
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


_MANGLE: Final = re.compile(rb"[./]___torch_mangle_\d+")  # a counter of this process


def _canonical(archive: bytes) -> bytes:
    """Rewrite an archive so that it tells nothing of the process or the machine that wrote it.

    Two things are taken out: the debug tables, which hold absolute paths of source files (the lite interpreter ignores
    them), and the running number that torch mangles into class names.
    """
    import torch

    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    buffer = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    written: set[str] = set()
    for name in reader.get_all_records():
        if name.endswith(".debug_pkl") or name in ("version", ".data/serialization_id"):  # the writer adds these two itself
            continue
        content: bytes = reader.get_record(name)
        if name.endswith(".pkl"):
            content = _without_mangling(content)
        elif name.startswith("code/"):
            name, content = _MANGLE.sub(b"", name.encode()).decode(), _MANGLE.sub(b"", content)
        if name in written:
            raise ConversionError(f"Two classes of the traced model share the name {name}: report this as a bug.")
        written.add(name)
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return buffer.getvalue()


def _without_mangling(pickled: bytes) -> bytes:
    """Take the mangled part out of the class names in a protocol 2 pickle, whose strings carry their length."""
    import pickletools

    pieces, copied = [], 0
    for opcode, argument, position in pickletools.genops(pickled):
        text = str(argument).encode()
        if position is None or opcode.name not in ("BINUNICODE", "GLOBAL") or not _MANGLE.search(text):
            continue
        plain = _MANGLE.sub(b"", text)
        if opcode.name == "BINUNICODE":  # X, four bytes of length, text
            old, new = 5 + len(text), b"X" + len(plain).to_bytes(4, "little") + plain
        else:  # c, module, newline, name, newline; genops shows the first newline as a blank
            old, new = 2 + len(text), b"c" + plain.replace(b" ", b"\n") + b"\n"
        pieces += [pickled[copied:position], new]
        copied = position + old
    return b"".join((*pieces, pickled[copied:]))


def _inspect(archive: bytes) -> tuple[int, tuple[str, ...]]:
    """Bytecode version and sorted operator names, read back from the finished archive."""
    from torch.jit import mobile

    with _quiet():
        version = mobile._get_model_bytecode_version(io.BytesIO(archive))
        module = mobile._load_for_lite_interpreter(io.BytesIO(archive))
    return version, tuple(sorted(mobile._export_operator_list(module)))
