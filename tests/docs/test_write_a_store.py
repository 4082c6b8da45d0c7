"""The store of the guide as a package of somebody else's: built, installed beside the wheel, found by its URL."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import hatchling.build
import pytest

from tests.docs.pages import Page, blocks

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "how-to" / "write-a-store.md"
USE = """
import asyncio, pathlib, sagafsm, sagafsm_jsonlines
from sagafsm import open_store
for module in (sagafsm, sagafsm_jsonlines):
    assert pathlib.Path.cwd() in pathlib.Path(module.__file__).parents, module.__file__
async def main():
    store = open_store("jsonlines:///sagas.jsonl")
    await store.setup()
    print(type(store).__name__, (await store.check()).synced)
    await store.close()
asyncio.run(main())
"""


@pytest.fixture
def package(tmp_path):
    """The files that the guide shows."""
    page = Page(GUIDE.read_text(), str(GUIDE))
    shown = {region.parsed.title: region.parsed.code for region in blocks(page) if region.parsed.title}
    folder = tmp_path / "package"
    folder.mkdir()
    for name, code in shown.items():
        (folder / name).write_text(code)
    return folder


def install(folder, site, monkeypatch):
    """Build the wheel of a project as pip does, and unpack it."""
    monkeypatch.chdir(folder)
    name = hatchling.build.build_wheel(str(site.parent))
    with zipfile.ZipFile(site.parent / name) as wheel:
        wheel.extractall(site)


@pytest.mark.timeout(180)
def test_the_store_of_the_guide_is_a_package_that_the_wheel_of_sagafsm_finds_and_tests(package, tmp_path, monkeypatch):
    site = tmp_path / "site"
    for folder in (ROOT, package):
        install(folder, site, monkeypatch)
    for name in ("conftest.py", "pyproject.toml", "test_sagafsm_jsonlines.py", "test_any_order.py"):
        (package / name).rename(tmp_path / name)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=80, check=False
        )

    used = run("-c", USE)
    assert used.stdout == "JSONLinesStore True\n", used.stderr
    tested = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "duplicate or twin or permit or AnyOrder")
    assert tested.returncode == 0, tested.stdout[-3000:]
