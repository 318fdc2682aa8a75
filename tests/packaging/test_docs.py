"""The pages: short, linked without a break, and every command in them executed here or elsewhere, or marked with what it needs.

Commands are indented by four blanks; all else that is no prose stands between fences that name its language. In front of commands
stands `<!-- run -->` or `<!-- needs: ... -->`, or they are among those whose output a page shows, which test_readme.py executes.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import typer

from squeeze_export.commands.cli import app
from tests.generate import README, ROOT, shown_commands
from tests.integration.conftest import run_python, run_tool

PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARKED = re.compile(r"<!-- (run|needs: .+) -->")
INSTALLS = re.compile(
    r"python3 -m venv \.venv && \.venv/bin/pip install -e .*"
)  # the two that CI and the first test of a wheel run
LANGUAGES = {"console", "python", "toml", "text"}  # commands in a fence of their own would be passed over
FOREIGN = {  # options of other programs that pages name
    "--calibration": "benchmarks, made in a loop",
    "--dest": "pip",
    "--find-links": "pip",
    "--no-index": "pip",
    "--strict": "swift format",
}


@dataclass(frozen=True)
class Block:
    """Commands that stand together on a page, and the comment in front of them."""

    page: Path
    line: int
    mark: str
    commands: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{named(self.page)}:{self.line}"


def prose(text: str) -> list[str]:
    """The lines of a page, empty where they are fenced."""
    fenced, kept = False, []
    for line in text.splitlines():
        fence = line.startswith("```")
        kept.append("" if fenced or fence else line)
        fenced ^= fence
    return kept


def blocks_of(page: Path, text: str) -> list[Block]:
    """The blocks of commands of a page; a line that ends with \\ goes on."""
    found: list[Block] = []
    lines = prose(text)
    last, number = "", 0
    while number < len(lines):
        line = lines[number]
        begins = number == 0 or not lines[number - 1].strip() or lines[number - 1].endswith("-->")
        if line.startswith("    ") and begins:
            end = number
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            joined = re.sub(r"\\\n", " ", "\n".join(part.strip() for part in lines[number:end]))
            found.append(Block(page, number + 1, last, tuple(joined.splitlines())))
            number = end
            continue
        last = line if line.strip() else last
        number += 1
    return found


def blocks(page: Path) -> list[Block]:
    return blocks_of(page, page.read_text(encoding="utf-8"))


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


EVERY = [block for page in PAGES for block in blocks(page)]
RUN = [page for page in PAGES if any(block.mark == "<!-- run -->" for block in blocks(page))]
GROUP = typer.main.get_command(app)


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 140
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_fit_a_screen(page):
    """Tables and code are as long as they are."""
    lines = enumerate(prose(page.read_text(encoding="utf-8")), 1)
    assert [number for number, line in lines if len(line) > 120 and not re.match(r"\s*\||    ", line)] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_site_has_the_lists_that_github_has(page):
    """The site takes a list inside a list for one only where it is indented by four blanks."""
    assert [line for line in prose(page.read_text(encoding="utf-8")) if re.match(r" {1,3}([-*]|\d+\.) ", line)] == []


def sentences(text: str) -> list[str]:
    """The sentences of a page's paragraphs and lists; a piece of code is one word, and a colon ends a sentence."""
    paragraphs, open_ = [], False
    for line in prose(re.sub(r"<!--.*?-->", "\n", text, flags=re.DOTALL)):
        if not line.strip() or re.match(r"#|\s*\|", line) or (line.startswith("    ") and not open_):
            open_ = False
            continue
        item = re.match(r"\s*([-*]|\d+\.) +(?!\d)", line)
        if open_ and not item:
            paragraphs[-1] += f" {line.strip()}"
        else:
            paragraphs.append(line[item.end() :] if item else line)
        open_ = True
    plain = [re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", paragraph)) for paragraph in paragraphs]
    return [each for paragraph in plain for each in re.split(r"(?<=[.!?:])[\"*)]*\s+(?=[\[(*\"\w])", paragraph)]


def words(sentence: str) -> int:
    """How many words it has; figures and signs are none."""
    return len([word for word in sentence.split() if re.search(r"[^\W\d_]", word)])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_sentences_are_short(page):
    assert [each for each in sentences(page.read_text(encoding="utf-8")) if words(each) > 25] == []


def test_a_long_sentence_is_seen():
    long = "word " * 26
    page = f"# {long}\n\nShort. {long}\nand more.\n\n- an `item of code`: short\n- {long}\n\n| {long} |\n\n    {long}\n"
    assert [words(each) for each in sentences(page) if words(each) > 25] == [28, 26]


def test_every_page_that_code_names_is_there():
    """In messages, comments, templates and build files."""
    folders = ("src", "exporters", "validation", "mobile_templates", "benchmarks", "training", "tests", ".ci", ".github")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and not path.is_symlink()]
    named_pages = set()
    for path in [*files, ROOT / "pyproject.toml", ROOT / "Justfile", ROOT / "README.md"]:
        text = path.read_bytes().decode(errors="ignore") if path.suffix != ".pyc" else ""
        named_pages |= {(page, path.name) for page in re.findall(r"\bdocs/[\w/-]+\.(?:md|svg)\b", text)}
    assert len(named_pages) > 20
    assert [each for each in sorted(named_pages) if not (ROOT / each[0]).exists()] == []


def unmarked(found: list[Block]) -> list[str]:
    shown = {each.command for each in shown_commands()}
    return [
        block.place
        for block in found
        if not MARKED.fullmatch(block.mark)
        and not all(command in shown or INSTALLS.fullmatch(command) for command in block.commands)
    ]


def test_every_block_of_commands_is_executed_or_says_what_it_needs():
    assert len(EVERY) > 30
    assert unmarked(EVERY) == []


def test_a_block_without_a_mark_is_seen_wherever_it_stands():
    page = (
        "Text.\n\n    {0} one\n\n<!-- needs: a Mac -->\n\n    {0} two\n\nText.\n<!-- more -->\n    {0} three \\\n        four\n"
    )
    for program in ("squeeze-export", "cd here &&", "make"):
        found = blocks_of(README, page.format(program))
        assert [block.line for block in found] == [3, 7, 11]
        assert found[2].commands == (f"{program} three  four",)
        assert unmarked(found) == ["README.md:3", "README.md:11"]


def test_what_stands_between_fences_is_no_command():
    for page in PAGES:
        fences = re.findall(r"^\s*```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) % 2 == 0 and set(fences[1::2]) <= {""}, named(page)
        assert set(fences[::2]) <= LANGUAGES, f"{named(page)}: indent commands, and name the language of what is none"


def refused(command: str) -> str:
    """What the command line says against a command, without running it; nothing where it takes it."""
    name, *rest = shlex.split(re.sub(r" [>|].*", "", command), comments=True)[1:]
    chosen = GROUP.commands.get(name)  # type: ignore[attr-defined]
    given = rest if chosen else [name, *rest]
    try:
        with (chosen or GROUP).make_context(name, given) as context:
            return f"{command}: no command {context.args}" if context.args else ""
    except typer.Exit:  # --help and the like
        return ""
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises has no public name
            raise
        return f"{command}: {error.format_message()}"


def test_every_command_in_the_pages_is_one_that_the_command_line_takes():
    commands = [command for block in EVERY for command in block.commands if command.startswith("squeeze-export ")]
    commands += [shown.command for shown in shown_commands()]
    assert len(commands) > 40
    assert list(filter(None, map(refused, commands))) == []


def test_a_command_that_does_not_exist_is_seen():
    for command in (
        "--targte all",
        "verify",
        "verify dist/a dist/b",
        "evaluate dist/a --imagse x",
        "ladder --limit many",
        "prove dist/a",
    ):
        assert refused(f"squeeze-export {command}"), command


def test_every_option_that_a_page_names_exists():
    every = [GROUP, *GROUP.commands.values()]  # type: ignore[attr-defined]
    known = {flag for command in every for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").rglob("*.py"))
    known |= {"--help", *FOREIGN, *re.findall(r"\"(--[a-z-]+)\"", scripts)}
    strange = []
    for page in PAGES:
        named_here = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
        strange += [f"{named(page)}: {option}" for option in sorted(named_here - known)]
    assert "--rung" in known and "--target" in known
    assert set(FOREIGN) <= {option for page in PAGES for option in re.findall(r"--[a-z-]+", page.read_text(encoding="utf-8"))}
    assert strange == []


def test_every_file_that_contributing_names_is_there():
    """Paths with a placeholder, such as <format>, are held by their folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"`([\w./<>-]+)`", text) if "/" in path and not path.startswith(".venv")]
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path.partition("<")[0]).exists()] == []


def test_every_name_of_the_code_that_contributing_says_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = {name for name in re.findall(r"`(\w+)`", text) if "_" in name or not name.islower()}
    rooms = [path for room in ("src", "exporters", "validation", "tests") for path in (ROOT / room).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in rooms)
    assert len(names) > 30
    assert sorted(name for name in names - {"Justfile"} if not re.search(rf"\b{name}\b", code)) == []


@pytest.mark.parametrize("page", RUN, ids=named)
def test_the_commands_of_a_page_run_in_their_order(page, tmp_path):
    for block in blocks(page):
        if block.mark != "<!-- run -->":
            continue
        for command in block.commands:
            program, *arguments = shlex.split(command)
            assert program == "squeeze-export"
            ended = run_tool(*arguments, cwd=tmp_path, env={"XDG_CACHE_HOME": str(tmp_path / "cache")}, timeout=500)
            assert ended.code == 0, f"{command}\n{ended.err}"


def test_the_python_of_the_pages_runs(tmp_path):
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    done = run_python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "proven again" in done.stdout and "1.0" in done.stdout.splitlines()
    assert (tmp_path / "dist" / "python-app" / "settings.gradle.kts").is_file()


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "mobile_templates" / "README.md"], ids=named)
def test_every_link_of_a_page_leads_somewhere(page):
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target, anchor = urldefrag(link)
        if "://" in link:
            continue
        there = (page.parent / unquote(target)).resolve() if target else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in headings(there)):
            broken.append(link)
    assert broken == []


class Links(HTMLParser):
    """What a page of the site points at, and the ids that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids |= {given["id"]} if given.get("id") else set()
        self.targets += [given[name] for name in ("href", "src") if given.get(name)]


def test_the_site_is_built_without_a_network_and_no_link_in_it_is_broken(tmp_path):
    tool = Path(sys.executable).parent / "zensical"
    if not tool.exists():
        pytest.skip("zensical is not installed: pip install -e '.[docs]'")
    for name in ("docs", "zensical.toml"):
        subprocess.run(["cp", "-R", str(ROOT / name), str(tmp_path / name)], check=True)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [str(tool), "build", "--strict"], cwd=tmp_path, env={**os.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    read = {}
    for page in site.rglob("*.html"):
        read[page] = Links()
        read[page].feed(page.read_text(encoding="utf-8"))
    assert len(read) > len(PAGES) - 2
    broken = []
    for page, links in read.items():
        for link in links.targets:
            target, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", link) or page.name == "404.html":
                continue
            there = (page.parent / unquote(target).partition("?")[0]).resolve() if target else page
            there = there / "index.html" if there.is_dir() else there
            if not there.exists() or (anchor and there in read and anchor not in read[there].ids | {"__top"}):
                broken.append(f"{page.relative_to(site)} -> {link}")
    assert broken == []
    fetched = [link for links in read.values() for link in links.targets if link.startswith("http") and "fonts" in link]
    assert fetched == []
