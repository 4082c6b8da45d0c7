"""Stored events as no version of ours wrote them: JSON changed in its structure, not only in its bytes."""

import json

import msgspec
from hypothesis import strategies as st

DEEP = 3_000
HUGE = [
    "9" * 400,
    "-" + "9" * 400,
    "1e308",
    "-1e308",
    "1e999",
    "1e-999",
    str(2**63),
    str(-(2**63) - 1),
    "0." + "1" * 400,
]
NO_JSON = ["NaN", "Infinity", "-Infinity", "undefined", "'text'", "0x1F", "01", "+1", "1.", ".5", "tru", "", "//"]
STRANGE = [
    "null", "true", "0", "-1", "1.5", '""', '"x"', "[]", "{}", "[null]", '{"type":"x"}', '{"saga_id":"x"}',
    '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u202e"', '"😀"', '"' + "x" * 5_000 + '"', "[" * DEEP + "]" * DEEP,
    '{"a":' * DEEP + "1" + "}" * DEEP, *HUGE, *NO_JSON,
    # what could have been meant, of another saga or another time
    '"nap"', '"charge"', '"nobody"', '"action"', '"sleep"', '"compensated"', "1", "2", "1e15", "-1e15", '["nap"]',
    '{"type":"x","message":"y"}',
]  # fmt: skip
BYTES = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"\x1b[2J"]


@st.composite
def malformed(draw, data: bytes) -> bytes:
    """An event's JSON with something wrong in it: fields changed, added, doubled, dropped or renamed, text spoilt."""
    fields = [[key, json.dumps(value)] for key, value in msgspec.json.decode(data).items()]
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["change", "inside", "double", "drop", "rename", "add", "bytes", "cut", "wrap"]))
        place = draw(st.integers(0, max(0, len(fields) - 1)))
        strange = draw(st.sampled_from(STRANGE))
        if how in ("bytes", "cut", "wrap"):
            return _spoilt(draw, how, _joined(fields), strange)
        if how == "add" or not fields:
            fields.append([draw(st.sampled_from(["colour", "step", "type", "", "\x00", "__class__"])), strange])
        elif how == "change":
            fields[place][1] = strange
        elif how == "inside" and fields[place][1][:1] in ("[", "{"):
            text = fields[place][1]
            fields[place][1] = f"{text[0]}{strange}{',' if len(text) > 2 else ''}{text[1:]}"
        elif how == "double":
            fields.insert(place, [fields[place][0], strange])
        elif how == "drop":
            del fields[place]
        else:
            fields[place][0] = draw(st.sampled_from(["Step", "steps", "attempt", "data", "ſtep", ""]))
    return _joined(fields)


def _joined(fields) -> bytes:
    text = "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in fields) + "}"
    return text.encode("utf-8", "surrogatepass")


def _spoilt(draw, how: str, data: bytes, strange: str) -> bytes:
    at = draw(st.integers(0, len(data)))
    if how == "cut":
        return data[:at]
    if how == "wrap":
        return b"[" + data + b"]" if at % 2 else strange.encode("utf-8", "surrogatepass")
    return data[:at] + draw(st.sampled_from(BYTES)) + data[at:]
