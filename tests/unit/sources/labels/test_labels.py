from __future__ import annotations

import json

import pytest

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels import read_labels

FISH = ("tench", "goldfish", "great white shark")


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path, count, *words):
    with pytest.raises(SourceError) as caught:
        read_labels(path, count)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 1500


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", "tench\ngoldfish\ngreat white shark\n"),
        ("l.txt", "tench\ngoldfish\ngreat white shark"),
        ("l.txt", b"\xef\xbb\xbftench\r\n goldfish \r\ngreat white shark\r\n"),
        ("L.TXT", "tench\ngoldfish\ngreat white shark\n"),
        ("l.json", '["tench", "goldfish", "great white shark"]'),
        ("l.json", '{"1": "goldfish", "0": "tench", "2": "great white shark"}'),
        ("l.json", b'\xef\xbb\xbf["tench", "goldfish", "great white shark"]'),
        (
            "config.json",
            '{"a": [1], "id2label": {"0": "tench", "1": "goldfish", "2": "great white shark"}, "label2id": {}}',
        ),
        ("l.csv", "label\ntench\ngoldfish\ngreat white shark\n"),
        ("l.csv", "tench\ngoldfish\ngreat white shark\n"),
        ("l.csv", "0,tench\n2,great white shark\n1,goldfish\n"),
        ("l.csv", "Index,Name\n1,goldfish\n0,tench\n2,great white shark\n"),
        ("l.csv", 'id,colour\n1,"goldfish"\n0,tench\n2,great white shark\n'),
        ("l.tsv", b"\xef\xbb\xbfindex\tlabel\r\n0\ttench\r\n1\tgoldfish\r\n2\tgreat white shark\r\n"),
        # `name` comes before `simple`, but has an entry twice: the first column with distinct entries is it.
        ("l.tsv", "index\tsimple\tname\n0\ttench\tfish\n1\tgoldfish\tfish\n2\tgreat white shark\tshark\n"),
        ("l.tsv#simple", "simple\tname\ntench\ta\ngoldfish\tb\ngreat white shark\tc\n"),
        ("l.csv#COLOUR", "index,colour,label\n0,tench,a\n1,goldfish,b\n2,great white shark,c\n"),
        ("l.csv#id", "index,id\n0,tench\n1,goldfish\n2,great white shark\n"),
    ],
)
def test_every_form_gives_the_labels_in_index_order(tmp_path, name, content):
    path = write(tmp_path, name.partition("#")[0], content)
    assert read_labels(path.with_name(name), 3).names == FISH
    assert read_labels(path.with_name(name), None).names == FISH


def test_a_quoted_comma_and_other_scripts_survive(tmp_path):
    path = write(tmp_path, "l.csv", 'label\n"tench, Tinca tinca"\n金魚\n"say ""shark"""\n')
    assert read_labels(path, 3).names == ("tench, Tinca tinca", "金魚", 'say "shark"')


def test_a_file_whose_name_has_a_hash_is_read(tmp_path):
    assert read_labels(write(tmp_path, "set#2.txt", "a\nb\n"), 2).names == ("a", "b")


@pytest.mark.parametrize("count", [2, 4])
def test_the_wrong_count(tmp_path, count):
    refused(write(tmp_path, "l.txt", "\n".join(FISH)), count, "3 labels", f"{count} classes")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("l.txt", "", ["is empty"]),
        ("l.txt", "\n \n", ["is empty"]),
        ("l.txt", "a\n\nc\n", ["empty labels", "line 2"]),
        ("l.txt", "a\nb\nc\n\n", ["empty labels", "line 4"]),
        ("l.txt", "a\nb\n a\n", ["'a' at line 1 and line 3"]),
        ("l.txt", "a\nb\tc\nd\n", ["line 2", "control character"]),
        ("l.txt", "a\nb\u2028c\nd\n", ["line 2", "control character"]),
        ("l.txt", b"a\nb\nk\xe4se\n", ["not UTF-8", "line 3", "0xe4"]),
        ("l.txt", "a\nb\nc\n".encode("utf-16"), ["not UTF-8", "UTF-16"]),
        ("l.json", "{", ["not JSON"]),
        ("l.json", "[" * 100000, ["not JSON"]),
        ("l.json", "5", ["holds a int"]),
        ("l.json", '["a", 5, "c"]', ["index 1 has 5", "no string"]),
        ("l.json", '["a", "", "c"]', ["empty labels", "index 1"]),
        ("l.json", '["a", "b", "b"]', ["'b' at index 1 and index 2"]),
        ("l.json", '["a", "caf\u00e9", "cafe\u0301"]', ["at index 1 and index 2"]),  # the same text, its accent composed or not
        ("l.json", '["a", "c3", "c3\u200b"]', ["at index 1 and index 2"]),  # a space of no width behind it
        ("l.json", '["a", "b", "\u200b"]', ["empty labels", "index 2"]),
        ("l.json", '["a", "b", "c\\nd"]', ["index 2", "control character"]),
        ("l.json", '["a", "b", "\\ud800"]', ["index 2", "control character"]),
        ("l.json", '{"0": "a", "1": "b", "3": "c"}', ["none for index 2"]),
        ("l.json", '{"0": "a", "1": "b", "x": "c"}', ["'x' is no class index"]),
        ("l.json", '{"0": "a", "1": "b", "-1": "c"}', ["'-1' is no class index"]),
        ("l.json", '{"0": "a", "1": "b", "\u0662": "c"}', ["is no class index"]),
        ("l.json", '{"0": "a", "1": "b", "1": "c"}', ["key '1' twice"]),
        ("l.json", '{"0": "a", "00": "b", "1": "c"}', ["index 0 is given by index 0 and by index 00"]),
        ("l.json", '{"id2label": {"0": ["n01", "a"]}}', ["index 0 has [", "no string"]),
        ("l.csv", "index,label\n0,a\n1,b\n1,c\n", ["index 1 is given by line 3 and by line 4"]),
        ("l.csv", "index,label\n1,a\n2,b\n3,c\n", ["from 1 to 3", "'a' (line 2)"]),
        ("l.csv", "index,label\n0,a\n1\n2,c\n", ["line 3", "1 columns"]),
        ("l.csv", "index,label\n0,a\n1,\n2,c\n", ["empty labels", "line 3"]),
        ("l.csv", "index,label\n0,a\n1,b\n2,b\n", ["'b' at line 3 and line 4", "l.csv#column"]),
        ("l.csv", "label,Label\na,b\nc,d\ne,f\n", ["a column twice"]),
        ("l.csv", "index,colour,shape\n0,a,x\n1,b,y\n2,c,z\n", ["none with a name of labels", "l.csv#colour"]),
        ("l.csv", "0,a,x\n1,b,y\n2,c,z\n", ["3 columns and no header row"]),
        ("l.csv", "x,a\ny,b\nz,c\n", ["2 columns and no header row"]),
        ("l.csv", 'label\n"a\nb\nc\n', ["line"]),
        ("l.csv#none", "index,label\n0,a\n1,b\n2,c\n", ["no column 'none'", "index, label"]),
        ("l.txt#x", "a\nb\nc\n", ["no column 'x'"]),
        ("l.yaml", "a", ["holds no labels"]),
    ],
)
def test_bad_labels_are_refused_with_their_place(tmp_path, name, content, words):
    path = write(tmp_path, name.partition("#")[0], content)
    refused(path.with_name(name), 3, *words)


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "none.txt", 3, "does not exist")
    (tmp_path / "dir.txt").mkdir()
    refused(tmp_path / "dir.txt", 3, "no subfolders")
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    refused(tmp_path / "big.txt", 3, "17,825,792 bytes")


def test_one_label_is_no_classifier(tmp_path):
    refused(write(tmp_path, "l.txt", "a\n"), None, "at least 2")


def test_many_duplicates_are_cut_and_counted(tmp_path):
    refused(write(tmp_path, "l.json", json.dumps(["a"] * 1000)), 1000, "and 989 more")


@pytest.mark.realdata
def test_the_imagenet_table_as_it_comes(real_data):
    table = real_data / "labels" / "imagenet_1k_labels.tsv"
    labels = read_labels(table, 1000).names
    assert labels[0] == "tench" and labels[134] == "crane (bird)" and len(set(labels)) == 1000
    assert read_labels(table.with_name(table.name + "#synset"), 1000).names[0] == "n01440764"
    refused(table.with_name(table.name + "#lemma"), 1000, "'crane' at line 136 and line 519")
