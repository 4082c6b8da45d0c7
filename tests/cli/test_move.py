"""The verbs that move sagas: archive, copy."""

import contextlib
import sqlite3

import pytest

from sagafsm import read_archive
from tests.cli.conftest import on_a_terminal

STUCK = {"id": "back", "bad": "no funds", "blocked": "mended"}
ORDERS = [{"id": f"o-{n}"} for n in range(3)]
A, B = "sqlite:///sagas.db", "sqlite:///other.db"


@pytest.fixture
def shop(sagafsm):
    sagafsm.run(*ORDERS, STUCK, code=3)
    return sagafsm


def change(name, *statements):
    with contextlib.closing(sqlite3.connect(name)) as database, database:
        for statement in statements:
            database.execute(statement)


# --- archive ---


def test_archive_writes_what_ended_to_files_and_deletes_it(shop):
    result = shop("archive", "--older-than", "0", "--to", "old", "--limit", "2")
    assert result.stdout == "2 archived in old\n"
    assert result.stderr.startswith("2 sagas, 1 files, ")
    told = shop.json("archive", "--older-than", "0", "--to", "old", "--gzip")
    assert (told["archived"], told["files"], told["to"]) == (1, 1, "old")
    assert sorted(saga.saga_id for saga in read_archive(shop.folder / "old")) == ["o-0", "o-1", "o-2"]
    assert shop("ls", "--ids").stdout.split() == ["back"]
    assert "o-1' was used before" in shop.run(ORDERS[1], code=5)["not_completed"][0]["error"]


def test_ids_can_be_freed_at_once(shop):
    shop("archive", "--older-than", "0", "--to", "old", "--keep-ids", "0")
    shop.run(ORDERS[0])
    shop("purge", "--older-than", "0", "--keep-ids", "0")
    shop.run(ORDERS[0])


def test_an_archive_that_cannot_be_written(shop):
    (shop.folder / "file").write_text("")
    assert "nothing was purged" in shop.error("archive", "--older-than", "0", "--to", "file/old", code=6)
    assert len(shop("ls", "--ids").stdout.split()) == 4
    assert "'.' is the one here" in shop.error("archive", "--older-than", "0", "--to", "", code=2)
    assert "which ends now" in shop.error("archive", "--older-than", "0", "--to", "memory://x", code=2)
    assert len(shop("ls", "--ids").stdout.split()) == 4
    shop("archive", "--older-than", "0", code=2)
    assert "nowhere" in shop.error("archive", "--older-than", "0", "--to", "nowhere://x", code=2)


# --- copy ---


def test_copy_moves_what_lives_and_copies_what_has_ended(shop):
    assert shop("copy", A, B, "--dry-run").stdout == "3 that have ended would be copied, 1 live ones moved\n"
    assert shop.json("copy", A, B, "--dry-run", "--finished-only") == {"ended": 3, "live": 0}
    assert not (shop.folder / "other.db").exists()
    result = shop("copy", A, B)
    assert result.stdout == "3 that have ended copied, 1 live ones moved\n4 are the same in both stores\n"
    told = shop.json("copy", A, B)
    assert (told["ok"], told["already"], told["verified"], told["finished"]) == (True, 4, 4, 0)
    # The stuck one is mended where it is now, and only there.
    assert "was moved to sqlite:///other.db" in shop.error("show", "back", code=5).splitlines()[-1]
    assert "was moved to" in shop.error("retry", "back", "--reason", "mended", code=5)
    (found,) = shop.json("stuck", code=3)
    assert (found["saga_id"], found["remedies"]) == ("back", [])
    assert "sagafsm copy" in shop("stuck", code=3).stdout or "was moved to" in shop("stuck", code=3).stdout
    (shop.folder / "mended").touch()
    shop("retry", "back", "--reason", "mended", "--store", B)
    shop("resume", "back", "--store", B)


def test_copy_back_and_undo(shop):
    shop("copy", A, B)
    assert shop.json("copy", B, A)["moved"] == 1
    assert shop.state("back") == ("compensating", True, False)
    shop("copy", A, B)
    assert shop("copy", A, B, "--undo").stdout == "1 freed\n"
    assert shop.json("copy", A, B, "--undo") == {"freed": 0}
    assert shop.state("back") == ("compensating", True, False)


def test_copy_can_leave_the_living(shop):
    assert shop("copy", A, B, "--finished-only", "--no-verify").stdout == "3 that have ended copied\n"
    told = shop("copy", A, B, "--keep").stdout
    assert told == "1 live ones copied and set aside, 3 there already\n4 are the same in both stores\n"
    assert "is on its way from sqlite:///sagas.db" in shop.error("show", "back", "--store", B, code=5)


def test_what_cannot_be_copied_is_listed(shop):
    shop("copy", A, B)
    change("other.db", "UPDATE sagas SET digest = 'x' WHERE id = 'o-1'",
           "UPDATE saga_events SET at = 1 WHERE saga_id = 'o-2' AND seq = 2")  # fmt: skip
    result = shop("copy", A, B, code=1)
    assert "not copied: o-1: another saga has this id there" in result.stderr
    assert "WRONG: o-2: its log there is another one" in result.stderr


def test_live_sagas_that_a_worker_holds_are_left(shop):
    change("sagas.db", "INSERT INTO saga_workers VALUES ('w', 1e12)", "UPDATE sagas SET owner = 'w' WHERE id = 'back'")
    result = shop("copy", A, B, "--wait", "0s", code=3)
    assert result.stdout.startswith("3 that have ended copied, 1 held by workers\n")
    assert "run it again when the workers have let go" in result.stderr


def test_stores_that_are_not_there(shop):
    assert "cannot be copied to itself" in shop.error("copy", A, A, code=2)
    assert "are the same database" in shop.error("copy", A, "sqlite:///./sagas.db", code=2)
    assert shop.state("back") == ("compensating", True, False)
    for pair in ((A, "memory://x"), ("memory://", B)):
        assert "which ends now" in shop.error("copy", *pair, code=2)
    assert "does not exist" in shop.error("copy", "sqlite:///typo.db", B, code=6)
    assert not (shop.folder / "typo.db").exists()


def test_urls_may_lie_in_the_environment(shop, monkeypatch):
    """A password on a command line can be read by whoever lists processes."""
    monkeypatch.setenv("OLD_STORE", A)
    assert "'NEW_STORE' in the environment" in shop.error("copy", "env:OLD_STORE", "env:NEW_STORE", code=2)
    monkeypatch.setenv("NEW_STORE", B)
    assert shop.json("copy", "env:OLD_STORE", "env:NEW_STORE")["moved"] == 1
    assert "was moved to sqlite:///other.db" in shop.error("show", "back", code=5)


def test_a_person_sees_how_far_it_is(shop):
    done, shown = on_a_terminal("copy", A, B)
    assert done.returncode == 0
    assert done.stdout.startswith("3 that have ended copied")
    assert "copying" in shown
    assert "4/4" in shown


@pytest.mark.parametrize("other", ["--dry-run", "--keep", "--finished-only"])
def test_what_only_counts_or_leaves_alone_frees_nothing(shop, other):
    """``--undo --dry-run`` freed what had been moved: it was then at work in both stores."""
    shop("copy", A, B)
    assert "--undo frees what was moved" in shop.error("copy", A, B, "--undo", other, code=2)
    assert "was moved to" in shop.error("show", "back", code=5)
