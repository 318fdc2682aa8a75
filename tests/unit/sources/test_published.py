"""`--weights imagenet`, against files standing in for torchvision's: file URLs go the same way through urllib."""

from __future__ import annotations

import hashlib
import socket
import time

import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.sources import published
from squeeze_export.sources.weights import load_weights


def state_of(seed=1):
    return load_weights("squeezenet1_1", "random", seed=seed, random_classes=3).state


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub's folder and a place that serves the published file; gives (checkpoints folder, served file, digest prefix)."""
    served = tmp_path / "served"
    served.mkdir()
    file = served / "squeezenet1_1-b8a52dc0.pth"
    torch.save(state_of(), file)
    prefix = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(published, "_BASE_URL", served.as_uri() + "/")
    monkeypatch.setattr(published, "_FILES", {"squeezenet1_1": (file.name, prefix)})
    return tmp_path / "home" / "hub" / "checkpoints", file, prefix


def test_published_names_and_digests_agree():
    assert dict(published._FILES) == {
        "squeezenet1_1": ("squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
        "squeezenet1_0": ("squeezenet1_0-b66bff10.pth", "b66bff10"),
    }


def test_imagenet_is_downloaded_once_and_then_cached(hub):
    folder, served, _ = hub
    loaded = load_weights("squeezenet1_1", "imagenet", seed=0)
    assert (loaded.origin.kind, loaded.origin.file_name) == ("imagenet", served.name)
    assert [path.name for path in folder.iterdir()] == [served.name]
    served.unlink()
    assert load_weights("squeezenet1_1", "imagenet", seed=0).origin == loaded.origin


def test_imagenet_offline_names_the_file_to_put_where(hub):
    folder, served, _ = hub
    served.unlink()
    with pytest.raises(SourceError) as caught:
        load_weights("squeezenet1_1", "imagenet", seed=0)
    assert str(folder / served.name) in str(caught.value) and "--weights PATH" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_imagenet_without_an_answer_gives_up_soon(hub, monkeypatch):
    folder, _, _ = hub
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        monkeypatch.setattr(published, "_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(published, "_SILENCE_SECONDS", 0.2)
        monkeypatch.setenv("no_proxy", "*")
        start = time.monotonic()
        with pytest.raises(SourceError, match="could not be downloaded"):
            load_weights("squeezenet1_1", "imagenet", seed=0)
    assert time.monotonic() - start < 60  # and not for ever
    assert list(folder.iterdir()) == []


def test_other_bytes_than_published_are_not_kept(hub):
    folder, served, _ = hub
    torch.save(state_of(seed=2), served)
    with pytest.raises(SourceError, match="other bytes than torchvision published"):
        load_weights("squeezenet1_1", "imagenet", seed=0)
    assert list(folder.iterdir()) == []


def test_an_endless_answer_is_given_up(hub, monkeypatch):
    folder, _, _ = hub
    monkeypatch.setattr(published, "_LARGEST", 1000)
    with pytest.raises(SourceError, match="gave up"):
        load_weights("squeezenet1_1", "imagenet", seed=0)
    assert list(folder.iterdir()) == []


def test_a_damaged_cache_is_refused(hub):
    folder, served, prefix = hub
    folder.mkdir(parents=True)
    (folder / served.name).write_bytes(served.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceError, match=f"is damaged.*{prefix}.*delete it"):
        load_weights("squeezenet1_1", "imagenet", seed=0)


def test_a_cache_folder_that_cannot_be_made(hub):
    folder, _, _ = hub
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file where a folder must be")
    with pytest.raises(SourceError, match="could not be downloaded"):
        load_weights("squeezenet1_1", "imagenet", seed=0)


def test_the_bypass_variants_have_no_published_weights():
    with pytest.raises(SourceError, match="publishes no weights for squeezenet1_0_bypass"):
        load_weights("squeezenet1_0_bypass", "imagenet", seed=0)
