"""Payloads: what users hand in and steps return, as JSON text and back.

What must stay true: what is encoded here decodes to the same data, in every store, or is refused before anything is
written; the same data is the same text; nothing is pickled. A saga stores a payload at every step, so a small one
must cost about a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from .payload_types import has_other_keys, read_custom, shown, unstorable
from .payload_values import LEAVES, NotStorable, find_text, has_nul, has_surrogate, look, too_deep, write_custom

__all__ = ["LIMIT", "NotReadable", "NotStorable", "convert", "decode", "decoder", "encode", "unstorable"]

LIMIT: Final = 1_048_576  # bytes of one payload

# In a fixed order, so that the same data is the same text: a second start is known by that.
_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=write_custom, order="sorted").encode
_encode_unordered: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=write_custom).encode
_plain = msgspec.json.Decoder(Any, dec_hook=read_custom)


class NotReadable(ValueError):
    """Stored JSON does not fit the type that it is read as; says where, and what was expected."""


def encode(value: Any, *, what: str, limit: int = LIMIT, kind: Any = Any) -> msgspec.Raw:
    """``value`` as JSON, with sorted keys. ``what`` names it in errors; ``limit`` is in bytes.

    ``kind`` is what it will be read as, where that is known: keys that are not strings survive only if it says so.
    Raises :class:`NotStorable`.
    """
    other_keys = kind is not Any and has_other_keys(kind)
    try:
        text = _encode(value)
        if value.__class__ not in LEAVES:
            look(value, 0, other_keys)
    except Exception as error:  # also what a class of the user raises when it is looked at
        text = _encode_with_care(value, error, other_keys, what)
    if len(text) > limit:
        raise NotStorable(
            f"{len(text):,} bytes of JSON are over the limit of {limit:,}; store it elsewhere and keep a reference"
        ).of(what)
    # Not ``in``: bytes first take it for a number, and make an exception of that.
    if text.find(b"\\u0000") >= 0 and (path := find_text(_plain.decode(text), "", has_nul)) is not None:
        raise NotStorable("a NUL character, which databases refuse", path).of(what)
    return msgspec.Raw(text)


def decode(raw: msgspec.Raw | bytes, kind: Any = Any, *, what: str = "stored data") -> Any:
    """What :func:`encode` made of a value, as ``kind``; ``what`` names it in errors. Raises :class:`NotReadable`."""
    try:
        return (_plain if kind is Any else decoder(kind)).decode(raw)
    except msgspec.ValidationError as error:
        raise NotReadable(f"{what} does not fit {shown(kind)}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotReadable(f"{what} is not JSON: {error}") from error
    except Exception as error:  # a class of the user looked at what it was given
        raise NotReadable(f"{what} does not fit {shown(kind)}: {type(error).__name__}: {error}") from error


def convert(value: Any, kind: Any) -> Any:
    """Plain data as ``kind``. Raises :class:`NotReadable`."""
    if kind is Any:
        return value
    try:
        return msgspec.convert(value, kind, dec_hook=read_custom)
    except msgspec.ValidationError as error:
        raise NotReadable(f"data does not fit {shown(kind)}: {error}") from error
    except Exception as error:  # a class of the user looked at what it was given
        raise NotReadable(f"data does not fit {shown(kind)}: {type(error).__name__}: {error}") from error


def decoder(kind: Any = Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type; made once, so it can be kept."""
    try:
        return _decoder(kind)
    except TypeError:  # an unhashable annotation
        return msgspec.json.Decoder(kind, dec_hook=read_custom)


@lru_cache(1024)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=read_custom)


def _encode_with_care(value: Any, error: Exception, other_keys: bool, what: str) -> bytes:
    """The text after all, where only the order of a set could not be settled; else the reason, with its path."""
    try:
        look(value, 0, other_keys)
        return _encode_unordered(value)
    except NotStorable as found:
        raise found.of(what) from error
    except RecursionError:
        raise too_deep().of(what) from error
    except Exception as still:
        raise _reason(value, still).of(what) from still


def _reason(value: Any, error: Exception) -> NotStorable:
    if isinstance(error, UnicodeEncodeError):
        plain = msgspec.to_builtins(value, enc_hook=write_custom, str_keys=True)
        return NotStorable("a lone surrogate, which is not Unicode text", find_text(plain, "", has_surrogate) or "")
    known = isinstance(error, (TypeError, ValueError))
    return NotStorable(str(error) if known else f"{type(error).__name__}: {error}")
