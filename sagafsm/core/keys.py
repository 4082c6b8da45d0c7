"""Idempotency keys: the same effect asked for again carries the same key.

What must stay true: a key is made of the namespace, the saga, the step and the purpose alone. No attempt, worker,
fence or time is in it, so that every retry, by whatever process, is recognised by the participant.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from .payload import NotReadable, decode
from .template import TemplateError, render

Purpose = Literal["action", "fallback", "compensation"]


def derived_key(namespace: str, saga_id: str, step: str, purpose: Purpose) -> str:
    """32 hexadecimal digits for one purpose of one step of one saga."""
    material = f"{namespace}\0{saga_id}\0{step}\0{purpose}".encode()
    return hashlib.blake2b(material, digest_size=16).hexdigest()


def templated_key(template: str, data: msgspec.Raw, purpose: Purpose) -> str:
    """The user's template filled from the saga's input; what is not the action has its purpose appended.

    Raises TemplateError.
    """
    try:
        key = render(template, decode(data, what="the saga's input"))
    except NotReadable as exc:
        raise TemplateError(str(exc)) from exc
    return key if purpose == "action" else f"{key}:{purpose}"
