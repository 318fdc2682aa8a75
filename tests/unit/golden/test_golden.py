from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from squeeze_export.contracts.parity import Tolerance
from squeeze_export.errors import ArtifactError, SourceError, UsageError
from squeeze_export.golden import files as golden_files
from squeeze_export.golden import images as golden
from squeeze_export.golden.files import read_golden, write_golden
from squeeze_export.golden.images import demo_images, pictures_in, read_folder
from squeeze_export.golden.pack import make_golden, top5
from squeeze_export.preprocessing.pixels import normalise
from squeeze_export.preprocessing.spec import spec_for
from squeeze_export.sources.source import save_source, weight_digests
from tests.starter_bundles import GREY, make_bundle

BAR = Tolerance(precision="fp32", max_error_of_peak=1e-4, min_snr_db=100.0, min_centred_snr_db=90.0, reason="measured 133 dB")


@pytest.fixture(scope="module")
def pack(seven_classes, image_folder):
    return make_golden(seven_classes, read_folder(image_folder)[0])


@pytest.fixture(scope="module")
def written(pack, tmp_path_factory):
    """A pack on disk. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("packs") / "golden"
    write_golden(pack, folder, tolerances={"tflite": BAR, "coreml": replace(BAR, precision="fp16")})
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "golden"))


def describe(folder, change):
    """Change golden.json as somebody would who knows of its checksum."""
    content = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    change(content)
    rewrite(folder, json.dumps(content).encode())


def rewrite(folder, data):
    (folder / "golden.json").write_bytes(data)
    (folder / "golden.json.sha256").write_text(f"{golden_files._sha256(data)}  golden.json\n")


def replace_array(folder, name, array):
    (folder / f"{name}.bin").write_bytes(array.tobytes())
    describe(folder, lambda content: content["arrays"][name].update(sha256=golden_files._sha256(array.tobytes())))


# --- choosing pictures


def test_at_most_eight_are_picked_evenly_spread_in_sorted_order(image_folder):
    assert [path.name[8] for path in read_folder(image_folder)[1]] == list("01235679")


def test_pictures_that_cannot_be_decoded_are_passed_over_and_named(image_folder, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(image_folder, folder)
    paths = sorted(folder.glob("*.png"))
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    pictures, used, there = read_folder(folder)
    assert len(pictures) == 8 and paths[1] not in used and [name for name, _ in pictures] == [path.name for path in used]
    assert there.unreadable == ((Path(paths[1].name), "cannot be decoded"),)
    for path in folder.glob("picture *"):
        path.write_bytes(b"none")
    with pytest.raises(UsageError, match="is no image in a known format"):
        read_folder(folder)


def test_few_pictures_are_all_picked(tmp_path):
    for name in ("b.PNG", "a.jpeg", "notes.txt", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "sub").mkdir()
    assert [path.name for path in pictures_in(tmp_path).readable] == ["a.jpeg", "b.PNG"]


def test_a_folder_per_class_is_picked_from_too(tmp_path):
    for name in ("1/b.png", "0/z.png", "0/.hidden.png", ".cache/a.png", "deep/er/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.as_posix() for path in pictures_in(tmp_path).readable] == ["0/z.png", "1/b.png"]
    shutil.rmtree(tmp_path / "0")
    shutil.rmtree(tmp_path / "1")
    assert [path.name for path in pictures_in(tmp_path).readable] == ["c.png"]


def test_folders_without_pictures_are_refused(tmp_path):
    (tmp_path / "labels.tsv").write_text("x")
    for folder, word in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "labels.tsv", "not a folder"),
        (tmp_path, "has no images"),
    ):
        with pytest.raises(UsageError, match=word):
            pictures_in(folder)


def test_an_unreadable_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"junk")
    with pytest.raises(UsageError, match=r"a\.png"):
        read_folder(tmp_path)[0]


def test_the_demo_images_come_from_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(golden.resources, "files", lambda package: tmp_path)
    with pytest.raises(UsageError, match="--images FOLDER"):
        demo_images()
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for name in "ba":
        Image.new("RGB", (4, 5), (1, 2, ord(name))).save(images / f"{name}.png")
    assert [(name, picture.shape, picture[0, 0, 2]) for name, picture in demo_images()] == [
        ("a.png", (5, 4, 3), 97),
        ("b.png", (5, 4, 3), 98),
    ]


# --- making


def test_the_pack_holds_the_eager_references_answers(pack, seven_classes):
    assert len(pack.names) == 8 and pack.names[1] == "1-picture_1"
    assert pack.pixels.shape == (8, 65, 64, 3) and pack.pixels.dtype == np.uint8
    with torch.inference_mode():
        logits = seven_classes.module(torch.from_numpy(normalise(pack.pixels, seven_classes.preprocessing)))
    np.testing.assert_allclose(pack.reference.logits, logits.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pack.reference.probabilities, torch.softmax(logits, 1).numpy(), rtol=1e-5)
    assert pack.reference.logits.dtype == pack.reference.probabilities.dtype == np.float32
    assert len(np.unique(pack.reference.logits, axis=0)) == 8  # the images differ for the model too
    assert pack.weights == weight_digests(seven_classes)


def test_the_numbers_do_not_depend_on_threads(seven_classes, image_folder, pack):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = make_golden(seven_classes, read_folder(image_folder)[0])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert again.reference.logits.tobytes() == pack.reference.logits.tobytes()
    assert again.reference.probabilities.tobytes() == pack.reference.probabilities.tobytes()


def test_two_processes_write_the_same_bytes(seven_classes, image_folder, written, tmp_path):
    save_source(seven_classes, tmp_path / "source")
    code = (
        "import sys; from pathlib import Path\n"
        "from squeeze_export.golden.files import *; from squeeze_export.golden.images import *\n"
        "from squeeze_export.golden.pack import *; from squeeze_export.sources.source import restore_source\n"
        "from squeeze_export.contracts.parity import Tolerance\n"
        f"bar = {BAR!r}; import dataclasses\n"
        "pack = make_golden(restore_source(Path(sys.argv[1])), read_folder(Path(sys.argv[2]))[0])\n"
        "write_golden(pack, Path(sys.argv[3]), tolerances={'coreml': dataclasses.replace(bar, precision='fp16'), 'tflite': bar})"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "source", image_folder, tmp_path / "golden"], check=True)
    files = sorted(path.relative_to(written) for path in written.rglob("*"))
    assert files == sorted(path.relative_to(tmp_path / "golden") for path in (tmp_path / "golden").rglob("*"))
    for file in files:
        if (written / file).is_file():
            assert (written / file).read_bytes() == (tmp_path / "golden" / file).read_bytes(), file


def test_no_pictures_or_too_many_are_refused(seven_classes):
    picture = ("x.png", np.zeros((9, 9, 3), np.uint8))
    for count in (0, 9):
        with pytest.raises(UsageError, match=f"not {count}"):
            make_golden(seven_classes, [picture] * count)
    assert make_golden(seven_classes, [picture] * 2).names == ("0-x", "1-x")


def test_a_picture_that_cannot_be_cropped_is_named(seven_classes):
    with pytest.raises(UsageError, match=r"strip\.png"):
        make_golden(seven_classes, [("strip.png", np.zeros((1, 60_000, 3), np.uint8))])


def test_a_model_without_finite_answers_is_refused(seven_classes):
    import copy

    module = copy.deepcopy(seven_classes.module)
    with torch.no_grad():
        module.features[0].weight.mul_(1e38)
    with pytest.raises(SourceError, match=r"NaN or infinite logits for x\.png"):
        make_golden(replace(seven_classes, module=module), [("x.png", np.full((9, 9, 3), 200, np.uint8))])


def test_top5_is_ordered_and_ties_go_to_the_lower_index():
    logits = np.array([[1, 5, 5, 0, 7, -1], [0, 0, 0, 0, 0, 0]], np.float32)
    assert top5(logits).tolist() == [[4, 1, 2, 0, 3], [0, 1, 2, 3, 4]]
    assert top5(logits[:, :3]).tolist() == [[1, 2, 0], [0, 1, 2]]
    assert top5(logits).dtype == np.int32


# --- writing and reading


def test_what_is_written_is_read(written, pack):
    back = read_golden(written)
    assert (back.names, back.preprocessing, back.weights) == (pack.names, pack.preprocessing, pack.weights)
    for field in ("pixels", "logits", "probabilities"):
        found, expected = (getattr(of if field == "pixels" else of.reference, field) for of in (back, pack))
        assert found.dtype == expected.dtype and np.array_equal(found, expected)
    assert all(map(np.array_equal, back.pictures, pack.pictures))
    content = json.loads((written / "golden.json").read_text())
    assert content["tolerances"]["tflite"]["min_snr_db"] == 100.0
    assert list(content["tolerances"]) == ["coreml", "tflite"]


def test_the_pngs_hold_samples_and_nothing_else(written):
    for path in (written / "images").iterdir():
        data, place, kinds = path.read_bytes(), 8, set()
        while place < len(data):
            kinds.add(data[place + 4 : place + 8])
            place += 12 + int.from_bytes(data[place : place + 4])
        assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def test_fewer_than_five_classes_and_bgr(seven_classes, tmp_path):
    from squeeze_export.sources.source import load_source

    (tmp_path / "l.txt").write_text("yes\nno\n")
    source = load_source(
        name="two",
        model="squeezenet1_0",
        weights="random",
        seed=1,
        labels=tmp_path / "l.txt",
        preprocessing=spec_for("caffe", model="squeezenet1_0", input_size=(33, 47)),
    )
    pack = make_golden(source, [("x.png", np.arange(60 * 50 * 3, dtype=np.uint32).astype(np.uint8).reshape(60, 50, 3))])
    write_golden(pack, tmp_path / "golden", tolerances={})
    assert np.array_equal(read_golden(tmp_path / "golden").reference.logits, pack.reference.logits)


def test_a_pack_of_one_channel_that_is_padded_is_read_back(tmp_path):
    folder, made = make_bundle(tmp_path / "net", GREY, targets=())
    back = read_golden(folder / "golden")
    assert back.preprocessing == made.source.preprocessing
    assert (back.pixels[..., :1] == back.pixels).all() and back.pixels.shape[1:] == (96, 160, 3)


def test_a_folder_with_something_in_it_is_not_written_into(pack, tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        write_golden(pack, tmp_path, tolerances={})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(written, tmp_path_factory, data):
    copy = tmp_path_factory.getbasetemp() / "flipped"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(written, copy)
    file = data.draw(st.sampled_from(sorted(path for path in copy.rglob("*") if path.is_file())))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="is not valid"):
        read_golden(copy)


def test_every_missing_or_truncated_file_is_noticed(written, tmp_path):
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert len(files) == 8 + 4 + 2
    for place, file in enumerate(files):
        copy = Path(shutil.copytree(written, tmp_path / str(place)))
        (copy / file).write_bytes((copy / file).read_bytes()[:-1])
        with pytest.raises(ArtifactError, match="is not valid"):
            read_golden(copy)
        (copy / file).unlink()
        with pytest.raises(ArtifactError, match=f"{file} cannot be read"):
            read_golden(copy)
    with pytest.raises(ArtifactError, match=r"golden\.json cannot be read"):
        read_golden(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: c.update(extra=1), "unknown keys.*extra"),
        (lambda c: c.pop("weights"), "lacks the keys.*weights"),
        (lambda c: c.update(schema_version=2), "schema_version is 2"),
        (lambda c: c["preprocessing"].update(gamma=1), "gamma"),
        (lambda c: c["preprocessing"].update(height="65"), "wrong kind"),
        (lambda c: c["preprocessing"].update(mean=[1, 2]), "wrong kind"),
        (lambda c: c["preprocessing"].update(color_order="GBR"), "wrong kind"),
        (lambda c: c["preprocessing"].update(height=64, width=65), "pixels has shape"),
        (lambda c: c["preprocessing"].update(resize_mode="stretch"), "'stretch' - at `\\$.resize_mode`"),
        (lambda c: c["preprocessing"].update(interpolation="box"), "'box' - at `\\$.interpolation`"),
        (lambda c: c["preprocessing"].update(resize_mode="pad"), "a pad_color belongs"),
        (lambda c: c["preprocessing"].update(color_order="GRAY"), "needs mean and std of 1"),
        (lambda c: c["preprocessing"].update(resize_mode="squash", resize_width=0), "wrong kind"),
        (lambda c: c["preprocessing"].update(interpolation="lanczos"), "does not give its stored pixels"),
        (lambda c: c["preprocessing"].update(resize=74 + 1), "does not give its stored pixels"),
        (lambda c: c["images"].reverse(), "does not give its stored pixels"),
        (lambda c: c["images"].pop(), "has shape"),
        (lambda c: c.update(images=[]), "list of 1 to 8"),
        (lambda c: c["images"][0].update(note="x"), "note"),
        (lambda c: c["images"][0].update(file="../x.png"), "expected images/<name>.png"),
        (lambda c: c["images"][0].update(name="../x", file="images/../x.png"), "expected images/<name>.png"),
        (lambda c: c["images"][0].update(width=1), "not its height and width"),
        (lambda c: c["images"].__setitem__(1, c["images"][0]), "same name|stored pixels"),
        (lambda c: c["arrays"].pop("top5"), "lacks the keys.*top5"),
        (lambda c: c["arrays"]["logits"].update(dtype="float16"), "float16"),
        (lambda c: c["arrays"]["logits"].update(file="probabilities.bin"), "expected float32 in logits.bin"),
        (lambda c: c["arrays"]["logits"].update(shape=[8, 8]), "has 56 values"),
        (lambda c: c["arrays"]["logits"].update(shape=[56]), "logits has shape"),
        (lambda c: c["arrays"]["logits"].update(shape=[8, -7]), "no valid shape"),
        (lambda c: c["arrays"]["logits"].update(shape=[2**62, 4]), "56 values"),
        (lambda c: c["tolerances"]["tflite"].pop("reason"), "tolerances.tflite lacks.*reason"),
        (lambda c: c.update(tolerances=[]), "tolerances is not an object"),
        (lambda c: c.update(weights=[]), "weights is not a list"),
        (lambda c: c["weights"][3].update(fp16="abc"), r"weights\[3\] has values of the wrong kind"),
        (lambda c: c["weights"][3].update(bytes=1), "bytes"),
    ],
)
def test_a_description_that_was_changed_with_its_checksum_is_refused(folder, change, word):
    describe(folder, change)
    with pytest.raises(ArtifactError, match=word):
        read_golden(folder)


@pytest.mark.parametrize("data", [b"[]", b"{", b"null", b"\xff", b"[" * 100_000, b'{"schema_version": 1}'])
def test_a_description_that_is_no_object_is_refused(folder, data):
    rewrite(folder, data)
    with pytest.raises(ArtifactError, match="is not valid"):
        read_golden(folder)


def test_numbers_that_do_not_follow_from_each_other_are_refused(folder, pack):
    with pytest.raises(ArtifactError, match="stored pixels"):
        crops = pack.pixels.copy()
        crops[7, -1, -1, 2] ^= 1
        replace_array(folder, "pixels", crops)
        read_golden(folder)
    replace_array(folder, "pixels", pack.pixels)
    read_golden(folder)

    probabilities = pack.reference.probabilities.copy()
    probabilities[3, 2] += 3e-6
    replace_array(folder, "probabilities", probabilities)
    with pytest.raises(ArtifactError, match="not the softmax"):
        read_golden(folder)
    probabilities[3, 2] = np.nan
    replace_array(folder, "probabilities", probabilities)
    with pytest.raises(ArtifactError, match="not the softmax"):
        read_golden(folder)
    replace_array(folder, "probabilities", pack.reference.probabilities)

    best = top5(pack.reference.logits)
    best[0, :2] = best[0, 1::-1].copy()
    replace_array(folder, "top5", best)
    with pytest.raises(ArtifactError, match="top5"):
        read_golden(folder)
    replace_array(folder, "top5", top5(pack.reference.logits))

    logits = pack.reference.logits.copy()
    logits[0, 0] = np.inf
    replace_array(folder, "logits", logits)
    with pytest.raises(ArtifactError, match="NaN or infinite logits"):
        read_golden(folder)


def test_a_picture_that_is_no_png_of_three_channels_is_refused(folder, pack):
    file = folder / "images" / f"{pack.names[0]}.png"
    file.write_bytes(b"no png")
    describe(folder, lambda content: content["images"][0].update(sha256=golden_files._sha256(b"no png")))
    with pytest.raises(ArtifactError, match="no image in a known format"):
        read_golden(folder)
