"""The diagrams: what stands in them, and that nothing a user names can get out of its label."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagafsm.core.diagram import FORMATS, definition_diagram, lifecycle_diagram
from sagafsm.core.diagram_graph import MARKS, plain
from sagafsm.core.diagram_markup import dot_text, mermaid_text
from sagafsm.core.lifecycle import SAGA_TRANSITIONS, STEP_TRANSITIONS, SagaState, StepState
from tests.generated import assert_current

GOLDEN = Path(__file__).parent / "diagrams"


def action(name: str, *after: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "kind": "action", "after": list(after), "idempotent": True, **facts}


UNDONE = {"compensation": True, "compensatable": True}

TRANSFER = {
    "name": "transfer",
    "version": 1,
    "steps": [action("withdraw", **UNDONE), action("deposit", "withdraw", **UNDONE), action("tell", "deposit")],
}
ORDER = {
    "name": "order",
    "version": 3,
    "steps": [
        action("create_order", **UNDONE),
        action("reserve", "create_order", **UNDONE, compensation_awaits_reply=True),
        action("score", "create_order", when=True),
        action("review", "score", awaits_reply=True),
        {
            "name": "approval",
            "kind": "signal",
            "signal": "ok",
            "after": ["reserve", "review"],
            "on_timeout": "continue",
        },
        action("charge", "approval", **UNDONE, fallback=True, idempotent=False),
        action("ship", "charge", pivot=True, probe=True, on_unknown="probe", compensatable=True),
        {"name": "cooling_off", "kind": "sleep", "after": ["ship"]},
        {"name": "notify", "kind": "child", "child": "Notify", "after": ["ship"], "compensatable": True},
    ],
}
ROLLED_BACK = {
    "create_order": "compensated",
    "reserve": "compensation_failed",
    "score": "succeeded",
    "review": "skipped",
}
DRAWINGS: dict[str, dict[str, Any]] = {
    "transfer": {"shape": TRANSFER},
    "order": {"shape": ORDER},
    "order-stuck": {
        "shape": ORDER,
        "states": {**ROLLED_BACK, "approval": "succeeded", "charge": "failed"},
        "saga_state": "compensating",
        "stuck": ["reserve"],
    },
    "transfer-completed": {
        "shape": TRANSFER,
        "states": dict.fromkeys(("withdraw", "deposit", "tell"), "succeeded"),
        "saga_state": "completed",
    },
}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", DRAWINGS)
def test_golden_diagrams(name, format_):
    """A changed drawing is looked at by a person: SAGAFSM_WRITE_DOCS=1 writes the files anew."""
    drawn = definition_diagram(**DRAWINGS[name], format=format_)
    path = GOLDEN / f"{name}.{format_}"
    if os.environ.get("SAGAFSM_WRITE_DOCS"):
        path.write_text(drawn)
    assert drawn == path.read_text()


def test_an_unknown_format_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="no diagram format 'svg'; there are mermaid, dot, text"):
        definition_diagram(TRANSFER, format="svg")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# --- what a diagram of one saga marks ---


def edges_of(mermaid: str, arrow: str) -> set[tuple[str, str]]:
    return set(re.findall(rf"^    (\w+) {re.escape(arrow)}(?:\|[^|]*\|)? (\w+)$", mermaid, re.MULTILINE))


def test_the_way_that_a_completed_saga_went_is_marked():
    drawn = definition_diagram(**DRAWINGS["transfer-completed"], format="mermaid")
    assert edges_of(drawn, "==>") == {("start", "s0"), ("s0", "s1"), ("s1", "s2"), ("s2", "completed")}
    assert edges_of(drawn, "-->") == set()


def test_the_way_back_of_a_failed_saga_is_marked():
    states = {"withdraw": "compensated", "deposit": "failed"}
    drawn = definition_diagram(TRANSFER, format="mermaid", states=states, saga_state="failed")
    assert edges_of(drawn, "==>") == {("start", "s0"), ("s0", "s1"), ("s0", "c0"), ("c0", "failed")}
    assert edges_of(drawn, "-->") == {("s1", "s2"), ("s2", "completed")}


def test_without_states_nothing_is_marked():
    assert edges_of(definition_diagram(ORDER, format="mermaid"), "==>") == set()
    assert "penwidth" not in definition_diagram(ORDER, format="dot")


def test_what_lies_after_the_pivot_has_no_way_back():
    steps = [action("pay", pivot=True), action("ship", "pay", **UNDONE)]
    drawn = definition_diagram({"name": "late", "version": 1, "steps": steps}, format="mermaid")
    assert "undo" not in drawn


def test_the_way_back_passes_over_what_is_not_undone():
    drawn = definition_diagram(ORDER, format="mermaid")
    assert edges_of(drawn, "-.->") == {
        ("s0", "c0"), ("s1", "c1"), ("s5", "c5"), ("c5", "c1"), ("c1", "c0"), ("c0", "failed"),
    }  # fmt: skip


def test_a_saga_of_thirty_steps_has_a_line_for_each():
    names = [f"step_{number}" for number in range(30)]
    steps = [action(name, *names[max(index - 1, 0) : index]) for index, name in enumerate(names)]
    lines = definition_diagram({"name": "long", "version": 1, "steps": steps}, format="text").splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == names
    assert max(map(len, lines)) < 40


# --- every step and every edge, once ---

STATES = st.sampled_from([state.value for state in StepState])


@st.composite
def shapes(draw: st.DrawFn, names: st.SearchStrategy[str] | None = None) -> dict[str, Any]:
    """Shapes with any graph; `names`: what its steps are called."""
    count = draw(st.integers(1, 9))
    if names is None:
        called = [f"n{index}" for index in range(count)]
    else:
        called = draw(st.lists(names, min_size=count, max_size=count, unique=True))
    pivot = draw(st.none() | st.integers(0, count - 1))
    return {
        "name": draw(names) if names is not None else "saga",
        "version": draw(st.integers(1, 9)),
        "steps": [
            {
                "name": name,
                "kind": draw(st.sampled_from(["action", "signal", "sleep", "child"])),
                "after": draw(st.lists(st.sampled_from(called[:index]), unique=True)) if index else [],
                "signal": name,
                "child": name,
                "pivot": index == pivot,
                **dict.fromkeys(draw(st.sets(st.sampled_from(["compensation", "fallback", "when"]))), True),
                "compensatable": draw(st.booleans()),
            }
            for index, name in enumerate(called)
        ],
    }


def forward_edges(shape: dict[str, Any]) -> list[tuple[str, str]]:
    """The edges that a definition has, by the names of its steps, with its start and its end."""
    edges = [(before, step["name"]) for step in shape["steps"] for before in step["after"] or ["start"]]
    followed = {before for before, _ in edges}
    return sorted(edges + [(step["name"], "completed") for step in shape["steps"] if step["name"] not in followed])


@given(shapes(), st.booleans())
def test_mermaid_and_dot_hold_every_step_and_every_edge_once(shape, marked):
    states = {step["name"]: "succeeded" for step in shape["steps"][::2]} if marked else None
    mermaid = definition_diagram(shape, format="mermaid", states=states)
    dot = definition_diagram(shape, format="dot", states=states)
    named = {f"s{index}": step["name"] for index, step in enumerate(shape["steps"])}
    named |= {"start": "start", "completed": "completed"}

    def names(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return sorted((named[a], named[b]) for a, b in pairs if a in named and b in named)

    assert names(re.findall(r"^    (\w+) [-=]+>(?:\|[^|]*\|)? (\w+)$", mermaid, re.MULTILINE)) == forward_edges(shape)
    assert names(re.findall(r"^    (\w+) -> (\w+)", dot, re.MULTILINE)) == forward_edges(shape)
    for drawn, node in ((mermaid, r'^    (s\d+)\W+?"(\w+)'), (dot, r'^    (s\d+) \[label="(\w+)')):
        assert sorted(re.findall(node, drawn, re.MULTILINE)) == sorted(
            (id_, n) for id_, n in named.items() if id_[1:].isdigit()
        )


@given(shapes())
def test_the_lanes_of_the_text_lead_along_every_edge_once(shape):
    """Walks down the lanes as a reader would, and writes down which step leads to which."""
    found: list[tuple[str, str]] = []
    lanes: dict[int, list[str]] = {}
    rows = definition_diagram(shape, format="text").split("\n\n")[0].splitlines()
    for row in rows:
        signs = [column for column, char in enumerate(row) if char in "○●◆◌■◎"]
        if signs:
            name = "start" if row[signs[0]] == "○" else row.split(row[signs[0]])[1].strip(" │").split()[0]
            found += [(source, name) for source in lanes.get(signs[0], [])]
            lanes[signs[0]] = [name]
            assert all(row[column] == "│" for column in lanes if column != signs[0])
            continue
        (first,) = (column for column, char in enumerate(row) if char == "├")
        (last,) = (column for column, char in enumerate(row) if char in "┐┘")
        for column in lanes.keys() - {first}:
            assert row[column] in ("┴┘┼" if first < column <= last else "│"), "a lane is cut"
        for column, char in enumerate(row):
            if char in "┬┐":
                lanes[column] = lanes[first]
            elif char in "┴┘":
                lanes[first] = lanes[first] + lanes.pop(column)
    assert sorted(found) == forward_edges(shape)


# --- names that mean harm ---

HARMFUL = st.one_of(
    st.text(min_size=1, max_size=12),
    st.sampled_from(
        [
            '"] --> x["', '"]; click s0 "javascript:alert(1)"', "end", "%%{init: {}}%%", "`**bold**`", "<b>x</b>",
            "#quot;", "\\", '\\"', "\\N", "&quot;", "a\nb", "\x1b[2J", "\u202egnp.exe", "│ ● x", "|", "ﬂ°°34¶ß", "}",
            '"', " ", "/", ":::",
        ]
    ),
)  # fmt: skip
LABEL = r"(?:\w|[ .,]|#\d+;|<br/>)+"
NODE = "|".join(
    re.escape(opening) + LABEL + re.escape(closing)
    for opening, closing in [
        ('(["', '"])'), ('["', '"]'), ('[/"', '"/]'), ('("', '")'), ('[["', '"]]'), ('{{"', '"}}'),
    ]
)  # fmt: skip
EDGE = r"\w+ (?:-->|==>|-\.->|<-\.->)(?:\|[a-z ]+\|)? \w+"
STYLE = r"classDef \w+ [\w:#,\- ]+|class \w+(?:,\w+)* \w+"
MERMAID_LINE = re.compile(rf"flowchart TD|    (?:\w+(?:{NODE})|{EDGE}|{STYLE})")
DOT_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')


@given(shapes(HARMFUL), st.dictionaries(HARMFUL, st.text() | STATES), st.sampled_from([None, "failed", 'x"]']))
def test_no_name_gets_out_of_its_label(shape, states, saga_state):
    states |= {step["name"]: "compensated" for step in shape["steps"][::2]}
    facts: dict[str, Any] = {"states": states, "saga_state": saga_state, "stuck": list(states)}
    for line in definition_diagram(shape, format="mermaid", **facts).splitlines():
        assert MERMAID_LINE.fullmatch(line), line
    dot = definition_diagram(shape, format="dot", **facts)
    assert re.fullmatch(r"[\w\s\[\]{}=,>-]*", DOT_STRING.sub("", dot)), dot
    for line in definition_diagram(shape, format="text", **facts).splitlines():
        assert line.isprintable()


@given(st.text())
def test_a_label_says_what_was_said(text):
    said = plain(text)
    assert said.isprintable()
    assert said.strip()
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), mermaid_text(said)) == said
    assert re.sub(r"\\(.)", r"\1", dot_text(said)).replace("&amp;", "&") == said
    if text.strip() and text.isprintable():
        assert said == text


def test_a_stored_circle_and_a_step_that_is_gone_are_drawn_all_the_same():
    """A shape that no definition would accept must not hang the tool that shows it."""
    shape = {"name": "odd", "version": 1, "steps": [action("a", "b"), action("b", "a"), action("c", "gone")]}
    for format_ in FORMATS:
        drawn = definition_diagram(shape, format=format_)
        assert all(name in drawn for name in ("a", "b", "c"))


# --- the lifecycles ---


@pytest.mark.parametrize(
    ("of", "table", "states"), [("saga", SAGA_TRANSITIONS, SagaState), ("step", STEP_TRANSITIONS, StepState)]
)
def test_a_lifecycle_shows_the_whole_table_and_nothing_else(of, table, states):
    expected = sorted((source.value, target.value, trigger) for trigger, source, target in table)
    mermaid = lifecycle_diagram(of, format="mermaid")
    assert sorted(re.findall(r"^    (\w+) --> (\w+) : (\w+)$", mermaid, re.MULTILINE)) == expected
    dot = lifecycle_diagram(of, format="dot")
    assert sorted(re.findall(r'^    (\w+) -> (\w+) \[label="(\w+)"\]$', dot, re.MULTILINE)) == expected
    text = lifecycle_diagram(of, format="text")
    assert re.findall(r"^[○●◎] (\w+)", text, re.MULTILINE)[0] == next(iter(states)).value
    assert sorted(re.findall(r"^[○●◎] (\w+)", text, re.MULTILINE)) == sorted(state.value for state in states)
    assert sorted(re.findall(r"── (\w+)─+▶ (\w+)$", text, re.MULTILINE)) == sorted((t, b) for _, b, t in expected)


def test_every_step_state_has_a_sign_of_its_own():
    assert MARKS.keys() == {state.value for state in StepState}
    assert len(set(MARKS.values())) == len(MARKS)


@pytest.mark.parametrize("of", ["saga", "step"])
def test_the_page_shows_the_tables_as_they_are(of):
    drawn = lifecycle_diagram(of, format="mermaid")
    assert_current(Path("docs/explanation/lifecycle.md"), of, f"```mermaid\n{drawn}```")
