"""Runs the code blocks of the pages: README.md, CONTRIBUTING.md and docs/**/*.md. CONTRIBUTING.md tells the rules.

What must stay true: a block of a language that is not listed here is an error, so that none is skipped by accident;
the blocks of a page run in order, share one namespace, one event loop and one empty directory, and leave nothing.
"""

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import tomllib
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import yaml
from sybil import Document, Example, Region, Sybil

FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>```+)[ ]*(?P<language>[\w-]*)(?P<info>[^\n]*)\n"
    r"(?P<code>.*?)^(?P=indent)(?P=fence)[ ]*$"
    r"|^<!-- invisible-code-block: (?P<hidden_language>\w+)\n(?P<hidden_code>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
TITLE = re.compile(r'title="?(?P<title>[^"\s]+)"?')
EXIT_CODE = re.compile(r"#\s*exit (\d+)\s*$")
COMMANDS = ("sagafsm", "python", "cat", "ls")
NOT_RUN = ("sh", "text", "mermaid", "dot", "sql", "diff", "http")


@attrs.frozen
class Block:
    """One code block. ``title`` is the name of the file that the page says it goes into."""

    language: str
    code: str
    title: str | None


class Page(Document):
    """One page, whose blocks share a module, a directory and an event loop."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        self.printed = ""
        # A module of its own: annotations are looked up by the name of the module they stand in.
        self.module = types.ModuleType(f"page_{re.sub(r'[^a-z0-9]', '_', Path(path).stem)}_{id(self):x}")
        self.namespace = self.module.__dict__
        self.namespace["__page__"] = self

    def open(self) -> None:
        """Enter an empty directory, from which modules can be imported."""
        self._left = contextlib.ExitStack()
        directory = self._left.enter_context(tempfile.TemporaryDirectory(prefix="page-"))
        self._left.enter_context(contextlib.chdir(directory))
        sys.path.insert(0, directory)
        self._left.callback(sys.path.remove, directory)
        sys.modules[self.module.__name__] = self.module
        self._left.callback(sys.modules.pop, self.module.__name__)
        self.runner = self._left.enter_context(asyncio.Runner())

    def write(self, title: str, code: str) -> None:
        """Write a file of the page; where it is Python, it can be imported until the page is closed."""
        Path(title).parent.mkdir(parents=True, exist_ok=True)
        Path(title).write_text(code)
        self._left.callback(_forget, title.removesuffix(".py").split("/")[0])

    def close(self) -> None:
        """Leave nothing of :meth:`open` behind."""
        self._left.close()


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


def blocks(document: Document) -> Iterator[Region]:
    """Every code block of a page, and what runs it."""
    for found in FENCE.finditer(document.text):
        language = found["language"] or found["hidden_language"] or ""
        code = textwrap.dedent(found["code"] if found["code"] is not None else found["hidden_code"])
        title = TITLE.search(found["info"] or "")
        yield Region(found.start(), found.end(), Block(language, code, title and title["title"]), run_block)


def run_block(example: Example) -> str | None:
    """Run one block; what is returned says what is wrong with it."""
    block: Block = example.parsed
    page: Page = example.namespace["__page__"]
    if block.title is not None:
        page.write(block.title, block.code)
    if block.language in NOT_RUN:
        return None
    if block.language not in RUNNERS:
        known = ", ".join([*RUNNERS, *NOT_RUN])
        return f"a code block needs one of these languages: {known}; not {block.language!r}"
    return RUNNERS[block.language](page, block, example.line)


def run_python(page: Page, block: Block, line: int) -> str | None:
    """Run Python, with ``await`` allowed at top level as in ``python -m asyncio``; then its ``test_`` functions."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if block.title is not None and block.title.endswith(".py"):
            importlib.invalidate_caches()
            module = importlib.import_module(block.title.removesuffix(".py").replace("/", "."))
            page.namespace.update({name: value for name, value in vars(module).items() if not name.startswith("__")})
        else:
            source = "\n" * line + block.code
            code = compile(source, page.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            _call(page, types.FunctionType(code, page.namespace), awaited=bool(code.co_flags & inspect.CO_COROUTINE))
        for node in ast.parse(block.code).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                function = page.namespace[node.name]
                _call(page, function, awaited=inspect.iscoroutinefunction(function))
    page.printed = out.getvalue()
    return None


def _call(page: Page, function: Callable[[], Any], *, awaited: bool) -> None:
    if awaited:
        page.runner.run(function())
    else:
        function()


def check_output(page: Page, block: Block, line: int) -> str | None:
    """Compare with what the block before it printed; ``...`` stands for anything."""
    return None if _matches(block.code, page.printed) else f"this was printed instead:\n{page.printed}"


def run_session(page: Page, block: Block, line: int) -> str | None:
    """Run a ``>>>`` session."""
    session = doctest.DocTestParser().get_doctest(block.code, page.namespace, page.path, page.path, line)
    report = io.StringIO()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST
    runner = doctest.DocTestRunner(optionflags=flags)
    runner.run(session, out=report.write, clear_globs=False)
    page.namespace.update(session.globs)
    return report.getvalue() or None


def run_commands(page: Page, block: Block, line: int) -> str | None:
    """Run each ``$`` line and compare its output, where some is shown; ``# exit 2`` says how it is to end."""
    for part in re.split(r"^\$ ", block.code.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        words = shlex.split(command, comments=True)
        if words[0] not in COMMANDS:
            return f"`$ {command}`: only {', '.join(COMMANDS)} are run; show other commands in an `sh` block"
        words[0] = {"python": sys.executable, "sagafsm": str(Path(sys.executable).with_name("sagafsm"))}.get(
            words[0], words[0]
        )
        environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "PYTHONPATH": str(Path.cwd())}
        done = subprocess.run(words, capture_output=True, text=True, timeout=50, env=environment, check=False)
        wanted = EXIT_CODE.search(command)
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # a signal, as shells say it
        if code != (int(wanted[1]) if wanted else 0):
            return f"`$ {command}` ended with {code}:\n{done.stdout}{done.stderr}"
        page.printed = done.stdout + done.stderr
        if expected.strip() and not _matches(expected, page.printed):
            return f"`$ {command}` printed:\n{page.printed}"
    return None


def _matches(expected: str, printed: str) -> bool:
    def lines(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    pattern = ".*?".join(re.escape(part) for part in re.split(r"\.\.\.|…", lines(expected)))
    return re.fullmatch(pattern, lines(printed), re.DOTALL) is not None


def parser_of(parse: Callable[[str], object]) -> Callable[[Page, Block, int], str | None]:
    """A runner for data: it only has to be well-formed."""

    def run(page: Page, block: Block, line: int) -> str | None:
        parse(block.code)
        return None

    return run


RUNNERS: dict[str, Callable[[Page, Block, int], str | None]] = {
    "python": run_python,
    "pycon": run_session,
    "pyi": parser_of(ast.parse),
    "output": check_output,
    "console": run_commands,
    "json": parser_of(json.loads),
    "jsonl": parser_of(lambda text: [json.loads(line) for line in text.splitlines()]),
    "toml": parser_of(tomllib.loads),
    "yaml": parser_of(yaml.safe_load),
}

PAGES = Sybil(
    parsers=[blocks],
    patterns=["README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md"],
    path=str(Path(__file__).parents[2]),
    document_types={".md": Page},
    setup=lambda namespace: namespace["__page__"].open(),
    teardown=lambda namespace: namespace["__page__"].close(),
)
