"""The table of settings on the page says what the code says."""

import json
import re
from pathlib import Path

import attrs

from sagafsm import Settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "configuration.md"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (?:`([^`]*)`|none) \| (.+) \|$", re.MULTILINE)


def test_every_setting_is_in_the_table_with_its_variable_and_its_default():
    told = {key: (variable, default) for key, variable, default, _ in ROW.findall(PAGE.read_text())}
    meant = {}
    for field in attrs.fields(Settings):
        default = getattr(Settings(), field.name)
        shown = default if isinstance(default, str) else "" if default == {} else json.dumps(default)
        meant[field.name] = f"SAGAFSM_{field.name.upper()}", shown
    assert told == meant


def test_every_variable_of_the_table_is_read(tmp_path):
    (tmp_path / "empty.toml").touch()
    said = {variable: default for _, variable, default, _ in ROW.findall(PAGE.read_text())}
    assert len(said) == len(attrs.fields(Settings))
    assert Settings.from_env(said, tmp_path / "empty.toml") == Settings()
