"""Labels that carry their index, and files of other kinds: each name on its own class, or a refusal that names the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeeze_export.errors import SourceError
from squeeze_export.sources.labels import read_bundle_labels, read_labels

CLASSES = ("car", "dog", "bus", "cat")
ENDINGS = (".txt", ".csv", ".tsv", ".json", ".yaml", ".py", ".names", "")


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return path


def lines(*rows):
    return "".join(f"{row}\n" for row in rows)


def numbered(form, order=(3, 1, 0, 2)):
    """A line per class, not in the classes' order, as these files come."""
    return lines(*(form.format(i=index, name=CLASSES[index]) for index in order))


# Every file has the classes out of order, so that none passes by the order of its lines.
SHUFFLED = {
    **{
        f"{header or 'empty'}.csv": f"{header},label\n" + numbered("{i},{name}")
        for header in ("idx", "class_idx", "label_id", "target", "number", "nummer", "", "Index", "#", "y", "category_id")
    },
    "series.csv": ",0\n" + numbered("{i},{name}"),  # pandas' Series.to_csv
    "either.csv": "label,name\n" + numbered("{i},{name}"),  # the column `label` has the numbers
    "target.csv": "target,number\n" + numbered("{name},{i}"),  # and `target` the names
    "behind.csv": numbered("{name},{i}"),
    "floats.csv": "index,label\n" + numbered("{i}.0,{name}"),  # pandas, where the column had an empty cell
    "between.csv": "target,rank,label\n3,0,cat\n1,1,dog\n0,2,car\n2,3,bus\n",
    "column.csv": numbered("{i} {name}"),
    "header.csv": "label\n" + numbered("{i} {name}"),
    "quoted.csv": numbered('"{i}","{name}"'),
    "three.csv": numbered("{i},n0000000{i},{name}"),
    "ids.csv": "id,class_id,label\n" + numbered("n0{i},{i},{name}"),
    "semicolon.csv": numbered("{i};{name}"),
    "semicolon_header.csv": "idx;tier\n" + numbered("{i};{name}"),
    "semicolon.txt": "idx;label\n" + numbered("{i};{name}"),
    "tab.csv": "idx\tlabel\n" + numbered("{i}\t{name}"),
    "tab.txt": numbered("{i}\t{name}"),
    "comma_header.txt": "idx,label\n" + numbered("{i},{name}"),
    "comma.txt": numbered("{i},{name}"),
    "bar.txt": numbered("{i}|{name}"),
    "colon.txt": numbered("{i}: {name}"),
    "tight.txt": numbered("{i}:{name}"),
    "space.txt": numbered("{i} {name}"),
    "point.txt": numbered("{i}. {name}"),
    "dash.txt": numbered("{i} - {name}"),
    "arrow.txt": numbered("{i} => {name}"),
    "zeros.txt": numbered("00{i} {name}"),
    "under.txt": numbered("{i}_{name}"),
    "last.txt": numbered("{name} {i}"),  # Places365
    "last_colon.txt": numbered("{name}: {i}"),
    "synset.txt": numbered("n0000000{i} {i} {name}"),
    "crlf.txt": numbered("{i} {name}").replace("\n", "\r\n"),
    "dict.txt": "{" + numbered(" {i}: '{name}',").rstrip(",\n") + "}",  # imagenet1000_clsidx_to_labels.txt
    "to_idx.txt": "{" + numbered(" '{name}': {i},") + "}",
    "dict.py": "NAMES: dict[int, str] = {" + numbered(" {i}: '{name}',") + "}",
    "dict.json": "{" + numbered(" {i}: '{name}',") + "}",
    "to_idx.json": json.dumps({CLASSES[i]: i for i in (3, 1, 0, 2)}),
    "keras.json": json.dumps({str(i): [f"n0000000{i}", CLASSES[i]] for i in (3, 1, 0, 2)}),
    "config.json": json.dumps({"label2id": {"car": 0}, "id2label": {str(i): CLASSES[i] for i in (3, 1, 0, 2)}}),
    "list.json": json.dumps([f"{i} {CLASSES[i]}" for i in (3, 1, 0, 2)]),
    "data.yaml": "path: ../x\nnc: 4\nnames:\n" + numbered("  {i}: {name}"),
    "flow.yml": "names: {3: cat, 1: dog,\n  0: 'car', 2: \"bus\"}\n",
    "top.yaml": numbered("{name}: {i}"),
    "yaml.txt": "names:\n" + numbered("  {i}: {name}"),
    "excel.csv": "sep=;\r\nidx;label\r\n" + numbered("{i};{name}"),
    "strings.json": json.dumps({CLASSES[i]: str(i) for i in (3, 1, 0, 2)}),
    "records.json": json.dumps([{"id": i, "name": CLASSES[i]} for i in (3, 1, 0, 2)]),
    "rows.json": json.dumps([[CLASSES[i], i] for i in (3, 1, 0, 2)]),
    "rows.py": "ROWS = [" + numbered("({i}, '{name}'),") + "]",
    "mac.txt": numbered("{i} {name}").replace("\n", "\r"),
    "mac.csv": "idx,label\r" + numbered("{i},{name}").replace("\n", "\r"),
    "id_behind.txt": numbered("{i} n0000000{i} {name}"),
    "script.js": "// made by\nexport const LABELS = {" + numbered(" {i}: '{name}',") + "};\n",
}


@pytest.mark.parametrize("name", SHUFFLED)
def test_the_index_decides_and_never_the_order_of_the_lines(tmp_path, name):
    found = read_labels(write(tmp_path, name, SHUFFLED[name]), 4)
    assert found.names == CLASSES


# In the classes' order, without an index.
PLAIN = {
    "python.txt": "['car', 'dog',\n 'bus', \"cat\"]\n",
    "json.txt": '["car",\n"dog",\n"bus",\n"cat"]',
    "module.py": "# the classes\nCLASSES = (\n'car', 'dog', 'bus', 'cat')\nSIZE = 224\n",
    "module.txt": "CLASSES = ['car', 'dog', 'bus', 'cat']\n",
    "held.json": '{"labels": ["car", "dog", "bus", "cat"], "version": 2}',
    "data.yaml": "names: ['car', dog, \"bus\", cat]\n",
    "script.ts": "const LABELS: string[] = ['car', 'dog', 'bus', 'cat'];\n",
    "node.js": 'module.exports = ["car", "dog", "bus", "cat"]\n',
    "block.yaml": "nc: 4\nnames:\n- car\n- dog\n- bus  # big\n- cat\n",
    "items.txt": "- car\n- dog\n- bus\n- cat\n",
    "coco.names": "car\ndog\nbus\ncat\n",
    "no_ending": "car\ndog\nbus\ncat\n",
    "words.txt": "n00000001 car\nn00000002 dog\nn00000003 bus\nn00000004 cat\n",
    "count.csv": "label,count\ncar,10\ndog,7\nbus,30\ncat,4\n",
    "known.csv": "class_index,label,rank\n0,car,2\n1,dog,3\n2,bus,0\n3,cat,1\n",  # a known name beats any other column
    "rows.csv": ",class_idx,label\n0,3,cat\n1,1,dog\n2,0,car\n3,2,bus\n",
    "both.csv": ",number,label\n3,4,cat\n1,2,dog\n0,1,car\n2,3,bus\n",  # two columns that count alike
}


@pytest.mark.parametrize("name", PLAIN)
def test_other_forms(tmp_path, name):
    assert read_labels(write(tmp_path, name, PLAIN[name]), 4).names == CLASSES


@pytest.mark.parametrize(
    "names",
    [
        ("0 fingers", "1 finger", "2 fingers", "3 fingers"),
        ("3 fingers", "2 fingers", "1 finger", "0 fingers"),
        ("grade 1", "grade 2", "grade 3"),
        ("1 cent", "2 cents", "5 cents"),
        ("Boeing 737", "Boeing 747", "Airbus 320"),
        ("7 up", "5 gum", "coke"),
        ("3D printer", "2nd floor", "1st floor"),
        ("tench, Tinca tinca", "great white shark, Carcharodon", "hen"),
        ("cat, domestic", "dog, domestic"),
        ("no, entry", "class, first", "label, torn"),
        ("C++", "+", "-"),
        ("a (b)", "c [d]", "e.g. f"),
        ("item 1: cat", "item 2: dog", "other"),
    ],
)
def test_numbers_and_signs_that_are_part_of_names_stay(tmp_path, names):
    assert read_labels(write(tmp_path, "l.txt", lines(*names)), len(names)).names == names


@pytest.mark.parametrize("more", [(), ("A", "B"), ("10",)])
def test_the_ten_digits_each_on_its_own_class_are_names(tmp_path, more):
    digits = (*map(str, range(10)), *more)
    root = folders(tmp_path / "folders", *digits)
    if more == ("10",):
        for path in (write(tmp_path, "l.txt", lines(*digits)), root):
            with pytest.raises(SourceError, match="bare number"):
                read_labels(path, 11)
        return
    for path in (write(tmp_path, "l.txt", lines(*digits)), write(tmp_path, "l.json", json.dumps(digits)), root):
        assert read_labels(path, len(digits)).names == digits


def test_what_was_decided_is_said(tmp_path):
    column = read_labels(write(tmp_path, "l.csv", SHUFFLED["idx.csv"]), 4)
    assert len(column.notes) == 1 and "column 'idx' was taken for the class's index: class 0 is 'car'" in column.notes[0]
    front = read_labels(write(tmp_path, "l.txt", SHUFFLED["space.txt"]), 4)
    assert len(front.notes) == 1 and "number in front of each label" in front.notes[0] and "0 is 'car'" in front.notes[0]
    ids = read_labels(write(tmp_path, "l.txt", PLAIN["words.txt"]), 4)
    assert len(ids.notes) == 1 and "n00000001" in ids.notes[0]
    unsorted = read_labels(write(tmp_path, "l.txt", "n00000002 car\nn00000001 dog\n"), 2)
    assert unsorted.names == ("car", "dog") and "in another (first at n00000001)" in unsorted.notes[1]
    alone = read_labels(write(tmp_path, "l.txt", "n00000002\nn00000001\n"), 2)
    assert "in the order of their ids" in alone.notes[0]
    devkit = read_labels(write(tmp_path, "l.txt", "n00000002 0 car\nn00000001 1 dog\n"), 2)
    assert devkit.names == ("car", "dog") and "in another (first at n00000001)" in devkit.notes[2]
    behind = read_labels(write(tmp_path, "l.txt", "car (n00000002)\ndog (n00000001)\n"), 2)
    assert behind.names[0] == "car (n00000002)" and "in another (first at n00000001)" in behind.notes[0]
    held = read_labels(write(tmp_path, "l.json", '{"labels": ["car", "dog"], "categories": ["thing"]}'), 2)
    assert held.names == ("car", "dog") and "2 names under labels were taken for labels, not the 1 under cat" in held.notes[0]
    several = read_labels(write(tmp_path, "l.csv", "index,lemma,simple\n0,the car,car\n1,the dog,dog\n"), 2)
    assert several.names == ("car", "dog") and len(several.notes) == 1
    assert "column 'simple' was taken for the labels: class 0 is 'car', 1 is 'dog'. l.csv#NAME takes another" in several.notes[0]
    assert read_labels(write(tmp_path, "l.txt", "car\ndog\n"), 2).notes == ()
    assert read_labels(write(tmp_path, "l.csv", "index,label\n1,dog\n0,car\n"), 2).notes == ()


REFUSED = [
    # From 1 on, whatever the form: a question.
    *(
        (name, text, ["counts its 3 classes from 1 to 3", "'car'", "one smaller", place])
        for name, text, place in (
            ("l.csv", "idx,label\n1,car\n2,dog\n3,bus\n", "line 2"),
            ("l.csv", "label,rang\ndog,2\ncar,1\nbus,3\n", "column 'rang'"),
            ("l.txt", "2 dog\n1 car\n3 bus\n", "line 2"),
            ("l.txt", "{1: 'car',\n2: 'dog',\n3: 'bus'}", "line 1"),
            ("l.json", '{"car": 1, "dog": 2, "bus": 3}', "label car"),
            ("l.yaml", "names:\n  1: car\n  2: dog\n  3: bus\n", "line 2"),
            ("l.txt", "n02119789 1 car\nn02100735 2 dog\nn02110185 3 bus\n", "has 'dog' as class 0"),
        )
    ),
    # Two that differ.
    ("l.csv", "id,idx,label\n0,2,a\n1,1,b\n2,0,c\n", ["'id' and 'idx'", "0 and 2 in line 2", "class_index"]),
    ("l.csv", ",nummer,label\n0,3,a\n1,2,b\n2,1,c\n", ["without a name and 'nummer'", "differ"]),
    ("l.csv", ",idx,label\n0,1,2 a\n1,0,0 b\n2,2,1 c\n", ["makes '2 a' class 1", "says 2"]),
    ("l.json", '{"0": "2 a", "1": "0 b", "2": "1 c"}', ["makes '2 a' class 0", "says 2"]),
    ("l.txt", "0 a 2\n1 b 1\n2 c 0\n", ["in front of each label and one behind"]),
    ("l.json", '{"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 2, "c": 1}}', ["contradicts itself"]),
    # A slip in an index is no reason to fall back on the order of the lines.
    ("l.txt", "0 a\n1 b\n3 c\n", ["none for index 2", "one for 3 (line 3)"]),
    ("l.txt", "0: a\n1: b\n1: c\n", ["index 1 is given by line 2 and by line 3"]),
    ("l.txt", "0 a\n1 b\nc\n", ["line 3", "'c' has no number"]),
    ("l.txt", "index label\n0 a\n1 b\n2 c\n", ["line 1", "'index label' has no number"]),
    ("l.csv", "idx,label\n0,a\n1,b\nx,c\n", ["line 4", "'x' is no class index"]),
    ("l.csv", "label,name\n0,a\n1,b\n1,c\n", ["index 1 is given by line 3 and by line 4"]),
    ("l.csv", "nummer,tier\n0,a\n1,b\n1,c\n3,d\n", ["index 1 is given by line 3 and by line 4"]),
    ("l.csv", ",tier\n0,a\n1,b\n2,c\n4,d\n", ["none for index 3", "one for 4 (line 5)"]),
    ("l.txt", "a\n" * 100_001, ["100,001 entries"]),
    ("l.txt", "a\nb\n" + "c" * 1001 + "\n", ["line 3", "1,001 characters"]),
    ("l.csv", ",class_id,label\n0,5,a\n1,7,b\n2,9,c\n", ["none for index"]),
    ("l.csv", "id,label\nn1,a\nn2,b\nn3,c\n", ["line 2", "'n1' is no class index"]),
    # Syntax and numbers are no names.
    ("l.txt", "{\n'a',\n", ["line 1", "cannot be read", "'{'"]),
    ("l.txt", "a\n[\nb\n", ["line 2", "'['", "looks like syntax"]),
    ("l.txt", '"tench",\n"dog",\n"cat"\n', ["line 1", "tench", "looks like syntax"]),
    ("l.txt", "0: 'a',\n1: 'b',\n2: 'c'\n", ["line 1", "looks like syntax"]),
    ("l.txt", "{0: 'a',\n1: 'b',\n2: }", ["line 3", "'2: }'"]),
    ("l.txt", "a\n# b\nc\n", ["line 2", "looks like syntax"]),
    ("l.pbtxt", "item {\n id: 1\n name: 'cat'\n}\n", ["line 1", "item {"]),
    ("l.txt", "{'a', 'b', 'c'}", ["a set has no order"]),
    ("l.txt", "{'a': open('b')}", ["no plain list or dict"]),
    ("l.py", "import os\nA = ['a']\nB = ['b']\n", ["2 lists or dicts"]),
    ("l.py", "def f(:\n", ["line 1", "def f(:"]),
    ("l.txt", "0\n1\n2\n", ["line 1", "bare number"]),
    ("l.txt", "5\n7\n9\n", ["line 1", "'5' is a bare number", "digit 5"]),
    ("l.txt", "a\n1.5e3\nb\n", ["line 2", "bare number"]),
    ("l.csv", "0\na\nb\nc\n", ["line 1", "bare number"]),  # pandas, one column, index=False
    ("l.json", '{"0": "5", "1": "7", "2": "9"}', ["index 0", "bare number"]),
    ("l.csv", "index,label\n0,3\n1,7\n2,9\n", ["line 2", "bare number"]),
    ("l.yaml", "names:\n- a\n- no\n- c\n", ["line 3", "'no' as bool", "quotes"]),
    ("l.yaml", "names:\n- a\n- 3\n- c\n", ["line 3", "bare number"]),
    ("l.yaml", "names:\n- a\n- {b: c}\n- c\n", ["line 3", "where a label should be"]),
    ("l.yaml", "names: [a, b\n", ["line 2", "not YAML"]),
    ("l.yaml", "nc: 2\nnames: [a, b, c]\n", ["nc: 2 (line 1)", "names 3 classes"]),
    ("l.yaml", "names: [a, b, c]\nclasses: [d, e, f]\n", ["under classes and under names"]),
    ("l.csv", "a,b,c\n", ["one line", "3 names", "commas", "line of its own"]),
    ("l.txt", "a\na\n", ["has 2 labels, the model has 3 classes"]),  # before two that are the same
    ("l.txt", "a;b;c", ["one line", "3 names", "semicolons"]),
    ("l.txt", "a", ["has 1 label, the model has 3 classes"]),
    ("l.csv", "sep=;\nidx;label\n0;a\n1;b\nx;c\n", ["line 5", "'x' is no class index"]),
    ("l.md", "| idx | label |\n| --- | --- |\n| 0 | a |\n", ["table in Markdown"]),
    ("l.txt", "index label\n0 a\n1 b\n2 c\n", ["header of a table? Then leave that line out"]),
    ("l.json", '{"labels": ["a", "b", "c"], "classes": ["d", "e", "f"]}', ["under classes and others under labels"]),
    ("l.json", '[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}]', ["from 1 to 3", "index 0"]),
    ("l.json", '[[1, "a"], [0, "b"], [1, "c"]]', ["index 1 is given by index 0 and by index 2"]),
    ("l.html", "<!DOCTYPE html>\n<html>", ["HTML page"]),
    ("l.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", ["git lfs pull"]),
    ("l.txt", "background\na\nb\nc\n", ["4 labels", "'background' (line 1)", "leave it out"]),
    ("l.txt", "label\na\nb\nc\n", ["4 labels", "'label' (line 1)"]),
    ("imagenet", None, ["does not exist", "not built in"]),
    ("l.json#x", '["a", "b", "c"]', ["`#x` chooses a column of a table"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "words"), REFUSED)
def test_what_is_not_understood_is_refused_by_its_line(tmp_path, name, content, words):
    if content is not None:
        write(tmp_path, name.partition("#")[0], content)
    with pytest.raises(SourceError) as caught:
        read_labels(tmp_path / name, 3)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 700


names = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyzäöü", min_size=2, max_size=9).filter(lambda name: name not in ("no", "on", "yes", "off")),
    min_size=3,
    max_size=30,
    unique=True,
)
FORMS = (
    (".csv", "idx,label\n", "{i},{name}"),
    (".csv", ",tier\n", "{i},{name}"),
    (".csv", "", "{name};{i}"),
    (".txt", "", "{i} {name}"),
    (".txt", "", "{i}: {name}"),
    (".txt", "", "{name} {i}"),
    (".txt", "{{", "{i}: '{name}',"),
    (".tsv", "animal\twhatever\n", "{name}\t{i}"),
)


@settings(max_examples=60, deadline=None)
@given(names=names, form=st.sampled_from(FORMS), data=st.data())
def test_names_are_never_in_the_order_of_the_lines_when_there_is_an_index(tmp_path_factory, names, form, data):
    suffix, start, row = form
    order = data.draw(st.permutations(range(len(names))))
    text = start.replace("{{", "{") + lines(*(row.format(i=index, name=names[index]) for index in order))
    path = write(tmp_path_factory.getbasetemp(), f"property{suffix}", text + ("}" if start == "{{" else ""))
    try:
        found = read_labels(path, len(names))
    except SourceError:
        return  # a refusal is no fault: 'null' or 'true' in another form may be one
    assert found.names == tuple(names)


def test_the_property_is_not_refused_all_the_time(tmp_path):
    for suffix, start, row in FORMS:
        text = start.replace("{{", "{") + numbered(row) + ("}" if start == "{{" else "")
        assert read_labels(write(tmp_path, f"l{suffix}", text), 4).names == CLASSES


@settings(max_examples=150, deadline=None)
@given(text=st.text("0123,;:\t\n\"'{}[]-#ab n.", max_size=60), suffix=st.sampled_from(ENDINGS))
def test_any_text_gives_distinct_names_or_a_refusal(tmp_path_factory, text, suffix):
    path = write(tmp_path_factory.getbasetemp(), f"anything{suffix}", text)
    try:
        found = read_labels(path, None)
    except SourceError:
        return
    assert len(found.names) >= 2 and all(found.names) and len(set(found.names)) == len(found.names)


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
    return root


def test_a_folder_per_class_is_read_as_imagefolder_reads_it(tmp_path):
    junk = ("__MACOSX", ".ipynb_checkpoints", ".git", "__pycache__")
    root = folders(tmp_path / "train", "dog", "Zebra", "cat", "äffin", *junk)
    (root / "readme.md").write_text("no class")
    found = read_labels(root, 4)
    assert found.names == ("Zebra", "cat", "dog", "äffin")
    assert len(found.notes) == 1 and "class 0 is 'Zebra'" in found.notes[0]


def test_numbers_in_folders_names_do_not_change_imagefolders_order(tmp_path):
    found = read_labels(folders(tmp_path / "cub", "001.albatross", "002.auklet", "010.crow"), 3)
    assert found.names == ("001.albatross", "002.auklet", "010.crow") and len(found.notes) == 1
    root = folders(tmp_path / "d", *(f"{index} {chr(97 + index) * 3}" for index in range(12)))
    found = read_labels(root, 12)
    assert found.names[2] == "10 kkk" and "'10 kkk' is class 2 by that order, not class 10" in found.notes[1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), ["no subfolders"]),
        ((".git",), ["no subfolders"]),
        (("train", "val"), ["parts of a data set", str(Path("set") / "train")]),
        (("cat", "dog", "bus"), ["3 labels, the model has 2 classes"]),
        (tuple(map(str, range(12))), ["subfolder '0'", "class 2 is the folder '10'"]),
        (("cat", "caf\u00e9", "cafe\u0301"), ["the same label twice"]),
    ],
)
def test_a_folder_that_has_no_classes_is_refused(tmp_path, names, words):
    (tmp_path / "set").mkdir()
    with pytest.raises(SourceError) as caught:
        read_labels(folders(tmp_path / "set", *names), 3 if "the same label twice" in words else 2)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_bundle_is_no_folder_per_class(tmp_path):
    root = folders(tmp_path / "bundle", "golden", "starters")
    (root / "manifest.json").write_text("{}")
    with pytest.raises(SourceError, match=r"is a bundle.*labels\.txt"):
        read_labels(root, 2)


def test_a_bundles_own_labels_are_taken_as_they_stand(tmp_path):
    odd = ("1 car", "0 dog", "7", "[other]", "- bus")
    assert read_bundle_labels(write(tmp_path, "labels.txt", lines(*odd)), 5) == odd
    for content, word in (("a\n\nb\n", "empty"), ("a\nb\n", "2 labels"), ("a\na\nb\n", "twice")):
        with pytest.raises(SourceError, match=word):
            read_bundle_labels(write(tmp_path, "labels.txt", content), 3)


@pytest.mark.parametrize("form", ['({}, "{}")', "class {}: {}", "class_{} {}", "#{} {}", "Label {} {}"])
def test_numbers_inside_of_names_that_count_in_another_order_are_refused(tmp_path, form):
    """Whatever stands around them: `cat` would be class 0 in silence, and its number says 3."""
    rows = [(3, "cat"), (1, "dog"), (0, "car"), (2, "bus"), (4, "ant")]
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{form.format(*row)}\n" for row in rows), encoding="utf-8")
    with pytest.raises(SourceError, match="line 1"):
        read_labels(path, 5)
    path.write_text("".join(f"{form.format(*row)}\n" for row in sorted(rows)), encoding="utf-8")
    assert read_labels(path, 5).names[0]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps([form.format(*row) for row in rows]), encoding="utf-8")
    assert "3" in read_labels(path, 5).names[0]
