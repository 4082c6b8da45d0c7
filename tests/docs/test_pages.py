"""The runner of the code blocks finds what is wrong with a page, and runs what is right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, Page, blocks


@pytest.fixture
def run(tmp_path: Path) -> Iterator[object]:
    """Runs a page's blocks, as pytest does with those in docs/."""
    opened: list[Page] = []

    def run_page(text: str) -> Page:
        page = Page(text.replace("'''", "```"), str(tmp_path / "page.md"))
        for region in blocks(page):
            page.add(region)
        page.open()
        opened.append(page)
        for example in page.examples():
            example.evaluate()
        return page

    yield run_page
    for page in reversed(opened):
        page.close()


def test_blocks_run_in_order_in_one_namespace_and_may_await(run):
    page = run(
        "'''python\nimport asyncio\nseen = []\n'''\n"
        "<!-- invisible-code-block: python\nseen.append('hidden')\n-->\n"
        "- in a list:\n\n  '''python\n  await asyncio.sleep(0)\n  seen.append(asyncio.get_running_loop())\n  '''\n"
        "'''python\nassert seen[1] is asyncio.get_running_loop() and await asyncio.sleep(0) is None\n'''\n"
    )
    assert page.namespace["seen"][0] == "hidden"


def test_an_example_of_a_test_is_run_as_one(run):
    run("'''python\nasync def test_it():\n    print('ran')\n'''\n'''output\nran\n'''")
    with pytest.raises(AssertionError, match="wrong sum"):
        run("'''python\ndef test_it():\n    assert 1 + 1 == 3, 'wrong sum'\n'''")


def test_a_titled_block_is_a_file_that_later_blocks_can_import(run):
    run(
        "'''python title=\"shop/orders.py\"\nclass Order: ...\n'''\n"
        "'''python\nfrom shop.orders import Order as Imported\nassert Imported is Order\n'''\n"
        "'''jsonl title=\"orders.jsonl\"\n{\"id\": 1}\n'''\n"
        "'''console\n$ cat orders.jsonl\n{\"id\": ...}\n'''"
    )


def test_a_command_that_is_killed_ends_as_in_a_shell(run):
    run("'''console\n$ python -c 'import os; os.kill(os.getpid(), 9)'  # exit 137\n'''")


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        pytest.param("'''\nx\n'''", "needs one of these languages", id="no-language"),
        pytest.param("'''pyhton\nx\n'''", "needs one of these languages", id="misspelt-language"),
        pytest.param("'''python\nraise ValueError('boom')\n'''", "boom", id="python-raises"),
        pytest.param("'''python\nprint('a')\n'''\n'''output\nb\n'''", "printed instead:\na", id="other-output"),
        pytest.param("'''pycon\n>>> 1 + 1\n3\n'''", "Got:", id="session-differs"),
        pytest.param("'''console\n$ python -c 'print(1)'\n2\n'''", "printed:\n1", id="command-prints-otherwise"),
        pytest.param("'''console\n$ python -c 'exit(3)'\n'''", "ended with 3", id="command-fails"),
        pytest.param("'''console\n$ python -c 'pass'  # exit 3\n'''", "ended with 0", id="command-does-not-fail"),
        pytest.param("'''console\n$ rm -r x\n'''", "only sagafsm", id="command-not-listed"),
        pytest.param("'''json\n{\n'''", "Expecting property name", id="bad-json"),
        pytest.param("'''pyi\ndef f(:\n'''", "invalid syntax", id="bad-signature"),
    ],
)
def test_what_is_wrong_on_a_page_is_found(run, page, complaint):
    with pytest.raises(Exception, match=complaint):
        run(page)


def test_every_page_of_the_project_is_collected():
    """A page that no pattern matches would hold examples that nobody runs."""
    root = Path(__file__).parents[2]
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]
    assert [page for page in pages if not PAGES.should_parse(page)] == []
