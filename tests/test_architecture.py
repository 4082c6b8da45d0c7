"""The architecture, as far as a test can hold it: who imports whom, what a file may be, and what is shipped."""

import ast
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import hatchling.build
import pytest

ROOT = Path(__file__).parents[1]
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUG_INS = sorted(path.parent for kind in ("stores", "adapters") for path in ROOT.glob(f"{kind}/sagafsm_*/__init__.py"))
PACKAGES = [ROOT / "sagafsm", *PLUG_INS]
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))

LONGEST_FILE = 400
NEVER_PURE = {"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "open", "print", "input"}
NEVER_RIGHT = "S102,S301,S302,S307,T10,TID251"  # exec, pickle, marshal, eval, breakpoint, the banned-api list


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


def in_every(sources: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", [pytest.param(path, id=short(path)) for path in sources])


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment at the top of the checkout."""
    program = str(Path(sys.executable).with_name(command[0]))
    return subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


def test_the_import_contracts_of_pyproject_hold():
    done = tool("lint-imports", "--no-logo", "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_plug_in_is_under_the_checks():
    """A plug-in that nobody lists would be outside the import contracts and the type check."""
    names = {path.name for path in PLUG_INS}
    linter = CONFIGURATION["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in linter["contracts"]}
    assert set(linter["root_packages"]) == names | {"sagafsm"}
    assert set(contracts["no-plug-in"]["forbidden_modules"]) == names
    assert set(contracts["plug-ins-apart"]["modules"]) == names
    assert set(CONFIGURATION["tool"]["mypy"]["files"]) == {short(package) for package in PACKAGES}


@in_every(SOURCES)
def test_a_file_is_one_noun(path):
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines: probably two nouns"


@in_every([path for path in SOURCES if path.name == "__init__.py"])
def test_an_init_re_exports_and_does_nothing_else(path):
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Expr(value=ast.Constant(value=str())) | ast.ImportFrom():
                continue
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple()):
                continue
            case _:
                pytest.fail(f"line {node.lineno}: {ast.unparse(node)[:80]}")


@in_every([path for path in SOURCES if "core" in path.parts])
def test_the_core_asks_nobody_for_time_chance_or_text(path):
    """What the import contract cannot see: calls on modules whose types the core may use."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    called = [(getattr(call.func, "attr", getattr(call.func, "id", "")), call.lineno) for call in calls]
    assert [name for name in called if name[0] in NEVER_PURE] == []


def test_what_is_banned_is_banned_without_exception():
    done = tool("ruff", "check", "--ignore-noqa", "--select", NEVER_RIGHT, "sagafsm", "stores", "adapters")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", [pytest.param(package, id=package.name) for package in PACKAGES])
def test_every_package_says_that_it_is_typed(package):
    assert (package / "py.typed").is_file()


# --- what is shipped ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built by the back end that pip would call."""
    directory = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = hatchling.build.build_wheel(str(directory))
    with zipfile.ZipFile(directory / name) as archive:
        yield archive


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    shipped = {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")}
    ours = {
        path.relative_to(package.parent).as_posix()
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == ours
    assert any(name.endswith(".sql") for name in shipped)


def test_the_wheel_says_what_it_is(wheel):
    (information,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(f"{information}/METADATA").decode()
    for line in ("Name: sagafsm", "License-Expression: Apache-2.0", "Requires-Python: >=3.11", "Provides-Extra: yaml"):
        assert f"\n{line}\n" in metadata
    assert "Apache License" in wheel.read(f"{information}/licenses/LICENSE").decode()
    entry_points = wheel.read(f"{information}/entry_points.txt").decode()
    assert "[sagafsm.stores]" in entry_points
    assert "sagafsm = sagafsm.cli:main" in entry_points


def test_the_wheel_works_where_the_checkout_is_not(wheel, tmp_path):
    """What a plug-in reads from its folder (SQL, schema files) must have come along."""
    wheel.extractall(tmp_path / "site")
    program = (
        "import asyncio, pathlib, sagafsm, sagafsm.store\n"
        "assert pathlib.Path('site') in pathlib.Path(sagafsm.__file__).relative_to(pathlib.Path.cwd()).parents\n"
        "async def main():\n"
        "    store = sagafsm.store.open_store('sqlite:///sagas.db')\n"
        "    await store.setup()\n"
        "    print(await store.counts())\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_source_distribution_can_run_its_own_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    name = hatchling.build.build_sdist(str(tmp_path))
    with tarfile.open(tmp_path / name) as archive:
        shipped = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert {"pyproject.toml", "Makefile", "LICENSE", "conftest.py", "tests/test_architecture.py"} <= shipped
    folders = {name.split("/")[0] for name in shipped if "/" in name}
    assert folders == {"sagafsm", "stores", "adapters", "tests", "benchmarks", "docs"}
