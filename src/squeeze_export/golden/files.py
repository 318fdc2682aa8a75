"""The golden pack: pictures, what preprocessing makes of them, and what the eager fp32 reference says.

The format is docs/reference/golden-pack.md.

Computed once from the source model, written as files that need no library to read, and re-proven whenever it is read:
a phone, or `verify` a year later, is held against exactly these numbers.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

import msgspec

from squeeze_export.contracts.heads import Activation, probabilities_gap
from squeeze_export.contracts.parity import NoiseFloor, Tolerance
from squeeze_export.contracts.signature import PreprocessingSpec
from squeeze_export.contracts.source import Features, GoldenPack, Scores, WeightDigest
from squeeze_export.errors import ArtifactError, SqueezeExportError, UsageError
from squeeze_export.files.litter import LFS_POINTER
from squeeze_export.golden.images import MAX_IMAGES
from squeeze_export.golden.pack import top5
from squeeze_export.preprocessing.pixels import load_image, pixels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from squeeze_export.contracts.arrays import Array, FloatArray, PixelArray


SCHEMA_VERSION: Final = 1
DESCRIPTION: Final = "golden.json"
_NOISE_FLOOR, _KERNELS = "noise_floor", "kernels"  # of captured networks
_ACTIVATION: Final = "activation"  # only where it is not softmax
_OF_FEW: Final = "max_probability_error"  # of a tolerance, the one key that need not be there
_CHECKSUM: Final = "golden.json.sha256"
_SOFTMAX_TOLERANCE: Final = 1e-6  # fp32 softmax against fp64: a few units in the last place of a number up to 1


# Raw arrays: name -> numpy dtype (little-endian) and what the description calls it.
_ARRAYS: Final = {
    "pixels": ("|u1", "uint8"),
    "logits": ("<f4", "float32"),
    "probabilities": ("<f4", "float32"),
    "top5": ("<i4", "int32"),
    "features": ("<f4", "float32"),
}


# A pack holds exactly the one set or the other.
_OF_SCORES: Final = ("pixels", "logits", "probabilities", "top5")


_OF_FEATURES: Final = ("pixels", "features")
_SAFE_FILE: Final = re.compile(r"images/[A-Za-z0-9][A-Za-z0-9._-]*\.png")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def write_golden(pack: GoldenPack, folder: Path, *, tolerances: Mapping[str, Tolerance]) -> None:
    """Write the pack into `folder` (new or empty), golden.json and its checksum last; the same pack gives the same bytes.

    `tolerances` says per artifact (a name of the caller's, such as its target) what a phone may hold it to.
    """
    import numpy as np

    (folder / "images").mkdir(parents=True, exist_ok=True)
    if [path.name for path in folder.iterdir()] != ["images"] or any((folder / "images").iterdir()):
        raise UsageError(f"{folder} is not empty: a golden pack is written into a new folder")
    arrays: dict[str, Array] = {"pixels": pack.pixels}
    match pack.reference:
        case Scores(logits=logits, probabilities=probabilities):
            arrays |= {"logits": logits, "probabilities": probabilities, "top5": top5(logits)}
        case Features(features=features):
            arrays |= {"features": features}
    described: dict[str, object] = {}
    for name, array in arrays.items():
        dtype, called = _ARRAYS[name]
        data = np.ascontiguousarray(array, dtype=dtype).tobytes()
        (folder / f"{name}.bin").write_bytes(data)
        described[name] = {"file": f"{name}.bin", "dtype": called, "shape": list(array.shape), "sha256": _sha256(data)}
    images: list[dict[str, object]] = []
    for name, picture in zip(pack.names, pack.pictures, strict=True):
        file = folder / "images" / f"{name}.png"
        _write_png(picture, file)
        images.append(
            {
                "name": name,
                "file": f"images/{name}.png",
                "height": picture.shape[0],
                "width": picture.shape[1],
                "sha256": _sha256(file.read_bytes()),
            }
        )
    description = {
        "schema_version": SCHEMA_VERSION,
        "preprocessing": pack.preprocessing.record(),
        "images": images,
        "arrays": described,
        "tolerances": {name: _bar(tolerance) for name, tolerance in sorted(tolerances.items())},
        "weights": [asdict(digest) for digest in pack.weights],
        **_activation_record(pack.reference),
        **({} if pack.noise_floor is None else {_NOISE_FLOOR: _plain(asdict(pack.noise_floor)), _KERNELS: list(pack.kernels)}),
    }
    _write_description(folder, description)


def _activation_record(reference: Scores | Features) -> dict[str, object]:
    sigmoid = isinstance(reference, Scores) and reference.activation == "sigmoid"
    return {_ACTIVATION: "sigmoid"} if sigmoid else {}


def _bar(tolerance: Tolerance) -> dict[str, object]:
    """A bar as the pack holds it: what only few classes have is left out where it is not set."""
    return {key: value for key, value in asdict(tolerance).items() if key != _OF_FEW or value is not None}


def _write_png(picture: PixelArray, path: Path) -> None:
    from PIL import Image

    # From bare samples: Pillow then has no text, time or colour profile that it could write along.
    Image.fromarray(picture).save(path, format="PNG", compress_level=6)


def keep_tolerances(folder: Path, names: Collection[str]) -> None:
    """Leave only the bars of these artifacts in the pack in `folder`, which this process has written."""
    content = json.loads((folder / DESCRIPTION).read_bytes())
    content["tolerances"] = {name: bar for name, bar in content["tolerances"].items() if name in names}
    _write_description(folder, content)


def _write_description(folder: Path, description: Mapping[str, object]) -> None:
    data = (json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    (folder / DESCRIPTION).write_bytes(data)
    (folder / _CHECKSUM).write_text(f"{_sha256(data)}  {DESCRIPTION}\n", encoding="ascii", newline="\n")


def read_golden(folder: Path) -> GoldenPack:
    """Read a pack and prove it again; ArtifactError where anything is missing, damaged, unknown or does not follow.

    Proven: every checksum, shape and dtype; the crops from the pictures, bit for bit; the probabilities from the logits; top-5;
    that features are finite, since nothing else follows from them.
    """
    import numpy as np

    content = _description(folder)
    spec = _spec(folder, content["preprocessing"])
    loaded = {name: _array(folder, name, value) for name, value in content["arrays"].items()}
    names, pictures = _images(folder, content["images"])
    count, width = len(names), loaded["features" if "features" in loaded else "logits"].shape[-1]
    wanted = {"pixels": (count, spec.height, spec.width, 3), "top5": (count, min(5, width))}
    for name, array in loaded.items():
        shape = wanted.get(name, (count, width))
        if array.shape != shape:
            raise _bad(folder, f"{name} has shape {array.shape}, expected {shape}")
    for place, name in enumerate(names):
        if not np.array_equal(_recrop(folder, name, pictures[place], spec), loaded["pixels"][place]):
            raise _bad(folder, f"preprocessing images/{name}.png does not give its stored pixels")
    return GoldenPack(
        names=names,
        pictures=pictures,
        preprocessing=spec,
        pixels=loaded["pixels"],
        reference=_features(folder, loaded["features"]) if "features" in loaded else _scores(folder, loaded, content),
        weights=_digests(folder, content["weights"]),
        noise_floor=_floor(folder, content.get(_NOISE_FLOOR)),
        kernels=_kernels(folder, content),
    )


def _floor(folder: Path, value: object) -> NoiseFloor | None:
    if value is None:
        return None
    try:
        return msgspec.convert(_with_infinities(value), NoiseFloor, strict=True)
    except msgspec.ValidationError as error:
        raise _bad(folder, f"{_NOISE_FLOOR} is not what it must be: {error}") from error


def _kernels(folder: Path, content: dict[str, Any]) -> tuple[str, ...]:
    named = content.get(_KERNELS, [])
    known = {entry.get("name") for entry in content["weights"]}
    if not isinstance(named, list) or not {*map(str, named)} <= known:
        raise _bad(folder, f"{_KERNELS} are not names of weights")
    return tuple(map(str, named))


def _plain(value: Any) -> Any:
    """JSON has no infinity and no NaN: they are written as text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _with_infinities(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_infinities(inner) for key, inner in value.items()}
    return float(value) if value in ("inf", "-inf", "nan") else value


def read_tolerances(folder: Path) -> dict[str, Tolerance]:
    """The bars that the pack in `folder` gives to phones, by artifact; ArtifactError where they are none."""
    try:
        return {name: msgspec.convert(value, Tolerance) for name, value in _description(folder)["tolerances"].items()}
    except msgspec.ValidationError as error:
        raise _bad(folder, f"its tolerances are no numbers: {error}") from error


def _features(folder: Path, features: FloatArray) -> Features:
    import numpy as np

    if not np.isfinite(features).all():
        raise _bad(folder, "there are NaN or infinite features")
    return Features(features=features)


def _scores(folder: Path, loaded: Mapping[str, Array], content: Mapping[str, Any]) -> Scores:
    import numpy as np

    logits, probabilities, activation = loaded["logits"], loaded["probabilities"], _activation(folder, content)
    if not np.isfinite(logits).all():
        raise _bad(folder, "there are NaN or infinite logits")
    gap = probabilities_gap(logits, probabilities, activation)
    if not gap <= _SOFTMAX_TOLERANCE:
        raise _bad(folder, f"the probabilities are not the {activation} of the logits: they differ by {gap:.3g}")
    if not np.array_equal(top5(logits), loaded["top5"]):
        raise _bad(folder, "top5 does not name the largest logits")
    return Scores(logits=logits, probabilities=probabilities, activation=activation)


def _activation(folder: Path, content: Mapping[str, Any]) -> Activation:
    found = content.get(_ACTIVATION, "softmax")
    if found not in get_args(Activation) or (_ACTIVATION in content and found == "softmax"):
        raise _bad(folder, f"{_ACTIVATION} is {found!r}, where sigmoid may stand")
    return cast("Activation", found)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bad(folder: Path, what: str) -> ArtifactError:
    return ArtifactError(f"the golden pack {folder} is not valid: {what}. Export again; a pack is never mended by hand")


def _bytes(folder: Path, name: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise _bad(folder, f"{name} cannot be read ({error.strerror})") from error
    if data.startswith(LFS_POINTER):
        raise _bad(folder, f"{name} is a Git LFS pointer in place of the file; run `git lfs pull` where it lies")
    return data


def _keys(folder: Path, where: str, value: object, expected: Sequence[str]) -> dict[str, Any]:
    """Check that `value` is an object with exactly these keys."""
    if not isinstance(value, dict):
        raise _bad(folder, f"{where} is not an object")
    if set(value) != set(expected):
        missing, unknown = sorted(set(expected) - set(value)), sorted(set(value) - set(expected))
        raise _bad(folder, f"{where} lacks the keys {missing}, has the unknown keys {unknown}")
    return value


def _description(folder: Path) -> dict[str, Any]:
    data = _bytes(folder, DESCRIPTION)
    checksum = _bytes(folder, _CHECKSUM)
    if checksum != f"{_sha256(data)}  {DESCRIPTION}\n".encode():
        whole = _sha256(data.replace(b"\r\n", b"\n"))
        if checksum.replace(b"\r\n", b"\n") == f"{whole}  {DESCRIPTION}\n".encode():
            raise _bad(
                folder,
                f"{DESCRIPTION} has CRLF line ends, else it is whole: git changed them at checkout (core.autocrlf). Put the line "
                "`* -text` into a .gitattributes file beside the bundle, and check it out again",
            )
        raise _bad(folder, f"{DESCRIPTION} is not what {_CHECKSUM} says")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _bad(folder, f"{DESCRIPTION} is not JSON ({error})") from error
    if isinstance(content, dict) and content.get("schema_version") != SCHEMA_VERSION:
        raise _bad(folder, f"schema_version is {content.get('schema_version')!r}, this version reads {SCHEMA_VERSION}")
    top = ["schema_version", "preprocessing", "images", "arrays", "tolerances", "weights"]
    top += [_ACTIVATION] if isinstance(content, dict) and _ACTIVATION in content else []
    top += [_NOISE_FLOOR, _KERNELS] if isinstance(content, dict) and {_NOISE_FLOOR, _KERNELS} & {*content} else []
    content = _keys(folder, DESCRIPTION, content, top)
    arrays = content["arrays"]
    _keys(folder, "arrays", arrays, _OF_FEATURES if isinstance(arrays, dict) and "features" in arrays else _OF_SCORES)
    if not isinstance(content["tolerances"], dict):
        raise _bad(folder, "tolerances is not an object")
    for name, tolerance in content["tolerances"].items():
        few = isinstance(tolerance, dict) and _OF_FEW in tolerance
        expected = [field.name for field in fields(Tolerance) if field.name != _OF_FEW or few]
        _keys(folder, f"tolerances.{name}", tolerance, expected)
    return content


def _spec(folder: Path, value: object) -> PreprocessingSpec:
    known = fields(PreprocessingSpec)
    there = value if isinstance(value, dict) else {}
    found = _keys(
        folder, "preprocessing", value, [field.name for field in known if field.default is MISSING or field.name in there]
    )
    try:
        spec = msgspec.convert(found, PreprocessingSpec)
    except msgspec.ValidationError as error:
        raise _bad(folder, f"preprocessing has values of the wrong kind: {error}") from error
    if not all(1 <= side <= 1 << 14 for side in (*spec.canvas, spec.height, spec.width)):
        raise _bad(folder, f"preprocessing has values of the wrong kind: {found}")
    return spec


def _array(folder: Path, name: str, value: object) -> Array:
    import numpy as np

    dtype, called = _ARRAYS[name]
    found = _keys(folder, f"arrays.{name}", value, ("file", "dtype", "shape", "sha256"))
    if found["file"] != f"{name}.bin" or found["dtype"] != called:
        raise _bad(folder, f"arrays.{name} is {found['dtype']} in {found['file']}, expected {called} in {name}.bin")
    shape = found["shape"]
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        raise _bad(folder, f"arrays.{name} has no valid shape: {shape}")
    data = _bytes(folder, f"{name}.bin")
    if _sha256(data) != found["sha256"]:
        raise _bad(folder, f"{name}.bin does not have its sha256")
    array = np.frombuffer(data, dtype=dtype)
    if array.size != np.prod(shape, dtype=np.int64):
        raise _bad(folder, f"{name}.bin has {array.size} values, its shape {shape} needs {np.prod(shape, dtype=np.int64)}")
    return array.reshape(shape).astype(np.dtype(dtype).newbyteorder("="))


def _images(folder: Path, value: object) -> tuple[tuple[str, ...], tuple[PixelArray, ...]]:
    import numpy as np

    if not isinstance(value, list) or not 1 <= len(value) <= MAX_IMAGES:
        raise _bad(folder, f"images is not a list of 1 to {MAX_IMAGES}")
    names, pictures = [], []
    for place, entry in enumerate(value):
        found = _keys(folder, f"images[{place}]", entry, ("name", "file", "height", "width", "sha256"))
        if found["file"] != f"images/{found['name']}.png" or not _SAFE_FILE.fullmatch(found["file"]):
            raise _bad(folder, f"images[{place}] has the file {found['file']!r}, expected images/<name>.png")
        if _sha256(_bytes(folder, found["file"])) != found["sha256"]:
            raise _bad(folder, f"{found['file']} does not have its sha256")
        try:
            picture = np.array(load_image(folder / found["file"]))
        except SqueezeExportError as error:
            raise _bad(folder, str(error)) from error
        if picture.shape != (found["height"], found["width"], 3):
            raise _bad(folder, f"{found['file']} has shape {picture.shape}, not its height and width")
        names.append(str(found["name"]))
        pictures.append(picture)
    if len(set(names)) < len(names):
        raise _bad(folder, "two images have the same name")
    return tuple(names), tuple(pictures)


def _recrop(folder: Path, name: str, picture: PixelArray, spec: PreprocessingSpec) -> PixelArray:
    from PIL import Image

    try:
        return pixels(Image.fromarray(picture), spec)
    except UsageError as error:
        raise _bad(folder, f"{name}: {error}") from error


def _digests(folder: Path, value: object) -> tuple[WeightDigest, ...]:
    if not isinstance(value, list) or not value:
        raise _bad(folder, "weights is not a list of digests")
    digests = []
    for place, entry in enumerate(value):
        found = _keys(folder, f"weights[{place}]", entry, [field.name for field in fields(WeightDigest)])
        hashes = all(isinstance(found[key], str) and _SHA256.fullmatch(found[key]) for key in ("fp32", "fp16"))
        if not hashes or not isinstance(found["shape"], list) or not isinstance(found["name"], str):
            raise _bad(folder, f"weights[{place}] has values of the wrong kind")
        digests.append(WeightDigest(name=found["name"], shape=tuple(found["shape"]), fp32=found["fp32"], fp16=found["fp16"]))
    return tuple(digests)
