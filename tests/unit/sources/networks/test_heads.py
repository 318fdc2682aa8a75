"""What networks give is found, made logits and told; nothing is applied twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from squeeze_export.errors import SourceError
from squeeze_export.sources.networks import capture, heads, outputs
from tests.captured_nets import headed


def captured(ending, classes=3):
    return capture.capture(headed(ending, classes), 24, 24, output={"tuple": "1", "named": "scores"}.get(ending))


def settled(ending="logits", classes=3, gives=None, activation=None):
    found = captured(ending, classes)
    return heads.settle(found, capture.samples(found.input_shape), gives=gives, activation=activation, what="net")


def kinds(head):
    return [node.target.__name__ for node in head.captured.module().graph.nodes if node.op == "call_function"]


def rows(head):
    return head.captured.answers(capture.samples(head.captured.input_shape))


LOGITS = rows(settled())


@pytest.mark.parametrize(
    ("ending", "gives", "activation"),
    [
        ("logits", "logits", "softmax"),
        ("softmax", "probabilities", "softmax"),
        ("log_softmax", "log-probabilities", "softmax"),
        ("sigmoid", "probabilities", "sigmoid"),
        ("logsigmoid", "log-probabilities", "sigmoid"),
        ("dictionary", "logits", "softmax"),
        ("tuple", "logits", "softmax"),
        ("named", "logits", "softmax"),
    ],
)
def test_what_a_network_gives_is_found_and_made_logits(ending, gives, activation):
    head = settled(ending)
    assert (head.gives, head.activation) == (gives, activation)
    assert torch.equal(rows(head), LOGITS)
    assert not any("softmax" in kind or "sigmoid" in kind for kind in kinds(head))  # an exporter's is the only one
    assert torch.allclose(head.undo(rows(head)), rows(replace(head, captured=captured(ending))), atol=1e-6)
    assert (not head.notes) if gives == "logits" else f"gives {gives} already" in head.notes[0]


def test_a_word_of_the_user_overrules():
    head = settled("softmax", gives="logits")
    assert (head.gives, head.activation, head.notes) == ("logits", "softmax", ())
    assert torch.equal(rows(head), LOGITS.softmax(1))  # taken as they are, and a softmax will stand behind
    assert settled(activation="sigmoid").activation == "sigmoid"
    assert settled("sigmoid", gives="probabilities").gives == "probabilities"
    assert settled("bounded", gives="probabilities").activation == "sigmoid"
    assert settled("softmax", activation="none").gives == "probabilities"


def test_probabilities_of_another_making_have_their_logits_computed_back():
    head = settled("averaged")
    assert (head.gives, head.activation) == ("probabilities", "softmax")
    assert "does not end in a softmax of PyTorch's" in head.notes[1]
    expected = (LOGITS.softmax(1) + (2 * LOGITS).softmax(1)) / 2
    assert torch.allclose(rows(head).softmax(1), expected, atol=1e-6)
    bounded = settled("bounded", gives="probabilities")
    assert torch.allclose(rows(bounded).sigmoid(), LOGITS.clamp(0, 1), atol=1e-6)
    assert bool(rows(bounded).isfinite().all())


def test_scores_within_bounds_are_not_taken_for_probabilities_without_a_sigmoid_but_told():
    head = settled("bounded")
    assert (head.gives, head.activation) == ("logits", "softmax")
    assert "were taken for logits" in head.notes[0]


def test_one_score_is_a_yes_or_no():
    head = settled(classes=1)
    assert (head.gives, head.activation, rows(head).shape[1]) == ("logits", "sigmoid", 1)
    assert "a sigmoid makes it a probability" in head.notes[0]
    for ending in ("logits", "sigmoid"):
        one = settled(ending, classes=1)
        two = heads.as_two_classes(one)
        assert (two.activation, two.gives) == ("softmax", one.gives)
        assert torch.allclose(rows(two).softmax(1)[:, 1:], rows(one).sigmoid(), atol=1e-7)
        assert torch.allclose(two.undo(rows(two)), one.undo(rows(one)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ending": "softmax", "activation": "sigmoid"}, "of a softmax already, and --activation is sigmoid"),
        ({"ending": "sigmoid", "activation": "softmax"}, "of a sigmoid already, and --activation is softmax"),
        ({"gives": "probabilities"}, "which are none"),
        ({"gives": "log-probabilities"}, "which are none"),
        ({"ending": "sigmoid", "gives": "probabilities", "activation": "softmax"}, "per image, not to one"),
        ({"classes": 1, "activation": "softmax"}, "always 1"),
        ({"ending": "softmax", "classes": 1}, "always 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, told):
    with pytest.raises(SourceError, match=told):
        settled(**given)


def test_the_reference_is_held_to_the_networks_own_scores():
    head = settled("softmax")
    image = capture.samples(head.captured.input_shape)[:1]
    assert torch.equal(heads.reference(headed("softmax"), head)(image), LOGITS[:1])
    with pytest.raises(SourceError, match="do not follow from the logits"):
        heads.reference(headed("averaged"), head)(image)
    named = capture.capture(headed("named"), 24, 24, output="scores")
    assert torch.equal(outputs.only(headed("named"), "scores")(image), named.answers(image))
