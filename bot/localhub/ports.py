"""Values that pass between the hub's core and its git part: ref updates and objects.

Promise: neither side has to know how the other works to use them.
"""

from __future__ import annotations

from dataclasses import dataclass

ZERO_OID = "0" * 40
"""As `before`: the ref must not exist. As `after`: delete the ref."""


@dataclass(frozen=True)
class RefUpdate:
    """One entry of a GraphQL `updateRefs`; `before` None means "whatever it is now"."""

    name: str
    before: str | None
    after: str
    force: bool = False


class RefConflictError(Exception):
    """No ref of the batch was changed; the message says which one did not match and why."""


@dataclass(frozen=True)
class GitObject:
    """A commit, tree, blob or tag as GraphQL shows it; `text` for blobs that are text."""

    kind: str
    oid: str
    text: str | None = None
    byte_size: int = 0
    message: str = ""
