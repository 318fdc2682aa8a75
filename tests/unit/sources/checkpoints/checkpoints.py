"""What the tests of checkpoints share: a small state dict of the right shape, and how it is loaded or refused."""

from __future__ import annotations

import functools

import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.sources.weights import canonical_sha256, load_weights

MODEL = "squeezenet1_1"


@functools.cache
def _made(seed, model, classes):
    return load_weights(model, "random", seed=seed, random_classes=classes).state


def state_of(seed=1, *, model=MODEL, classes=3, prefix=""):
    """A state dict of random weights, its own dictionary each time; the tensors are not to be changed."""
    return {prefix + name: value for name, value in _made(seed, model, classes).items()}


def load(path, model=MODEL, **options):
    return load_weights(model, path, seed=0, **options)


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def holds(loaded, state):
    """Whether exactly these weights were loaded."""
    return loaded.origin.sha256 == canonical_sha256(state)


def refused(path, *words, model=MODEL, **options):
    with pytest.raises(SourceError) as caught:
        load(path, model, **options)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 2500
    return message
