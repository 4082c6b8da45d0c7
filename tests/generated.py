"""Pages of docs/ that hold generated parts, between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.

`SAGAFSM_WRITE_DOCS=1 pytest` writes the parts anew instead of comparing them.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def assert_current(page: Path, name: str, text: str) -> None:
    """The part `name` of a page is `text`."""
    path = ROOT / page
    old = path.read_text()
    pattern = rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end of {name} -->)"
    found = re.search(pattern, old, re.DOTALL)
    assert found, f"{page} has no part '<!-- generated: {name} -->'"
    text = f"\n{text.strip()}\n\n"
    if os.environ.get("SAGAFSM_WRITE_DOCS"):
        path.write_text(old[: found.start(2)] + text + old[found.end(2) :])
        return
    assert found[2] == text, f"{page} is out of date; write it anew with: SAGAFSM_WRITE_DOCS=1 pytest {page.stem}"
