"""The pages: short, linked without a break, and every command in them executed here or elsewhere, or marked with what it needs.

A block of commands is indented by four blanks. In front of it stands `<!-- run -->` or `<!-- needs: ... -->`, or it is one of the
commands whose output a page shows, which test_readme.py executes.
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

PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = r"(squeeze-export|python3?|pip|pipx|uv|\.venv/bin/\w+|just|pytest) "
INSTALLS = re.compile(
    r"python3 -m venv \.venv && \.venv/bin/pip install -e .*"
)  # the two that CI and the first test of a wheel run


@dataclass(frozen=True)
class Block:
    """Commands that stand together on a page, and the comment in front of them."""

    page: Path
    line: int
    mark: str
    commands: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """The blocks of commands of a page; a line that ends with \\ goes on."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    fenced, last, number = False, "", 0
    while number < len(lines):
        line = lines[number]
        fenced ^= line.startswith("```")
        if not fenced and line.startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            text = "\n".join(part.strip() for part in lines[number:end])
            if re.match(PROGRAMS, text):
                commands = tuple(re.sub(r"\\\n", " ", text).splitlines())
                found.append(Block(page, number + 1, last, commands))
            number = end
            continue
        last = line if line.strip() else last
        number += 1
    return found


EVERY = [block for page in PAGES for block in blocks(page)]
RUN = [page for page in PAGES if any(block.mark == "<!-- run -->" for block in blocks(page))]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 140
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_lines_fit_a_screen(page):
    """Tables, code and links that cannot be broken are as long as they are."""
    fenced, long = False, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.startswith("```")
        if len(line) > 120 and not fenced and not line.lstrip().startswith("|") and not line.startswith("    "):
            long.append(number)
    assert long == []


def test_every_block_of_commands_is_executed_or_says_what_it_needs():
    shown = {each.command for each in shown_commands()}
    assert len(EVERY) > 30
    unmarked = [
        f"{named(block.page)}:{block.line}"
        for block in EVERY
        if not re.match(r"<!-- (run|needs: .+) -->$", block.mark)
        and not all(command in shown or INSTALLS.match(command) for command in block.commands)
    ]
    assert unmarked == []


def test_every_command_and_option_in_the_pages_exists():
    group = typer.main.get_command(app)
    strange = []
    for block in EVERY:
        for command in block.commands:
            words = shlex.split(re.sub(r"[<>].*", "", command))
            if words[0] != "squeeze-export":
                continue
            chosen = group.commands[words[1]] if not words[1].startswith("-") else group  # type: ignore[attr-defined]
            flags = {flag for parameter in chosen.params for flag in (*parameter.opts, *parameter.secondary_opts)}
            strange += [f"{named(block.page)}: {word}" for word in words if word.startswith("-") and word not in flags]
    assert strange == []


@pytest.mark.parametrize("page", RUN, ids=named)
def test_the_commands_of_a_page_run_in_their_order(page, tmp_path):
    for block in blocks(page):
        if block.mark != "<!-- run -->":
            continue
        for command in block.commands:
            program, *arguments = shlex.split(command)
            assert program == "squeeze-export"
            done = subprocess.run(
                [sys.executable, "-m", "squeeze_export", *arguments],
                cwd=tmp_path,
                env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
                capture_output=True,
                text=True,
                timeout=500,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_python_of_the_pages_runs(tmp_path):
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
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
