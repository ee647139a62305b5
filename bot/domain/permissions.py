"""Who may do what: a capability, a person's role, and the repository's roles give `Allowed` or `Denied`.

Promise: fails closed. A role that could not be read (None) and `Role.NONE` are denied everything, whatever the policy
says. Roles change at any time, so the caller reads the role again right before it executes a command.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, assert_never

from bot.domain.model import Role

BOTS_ROLE: Final = Role.WRITE
"""What a bot may that the policy lists by its number; GitHub knows no role of bots."""


class Capability(StrEnum):
    """What a command needs. All but `READ` are roles in the policy file (`roles.<name>`)."""

    READ = "read"
    START = "start"
    HOLD = "hold"
    STOP = "stop"
    PRIORITISE = "prioritise"
    MERGE = "merge"
    APPROVE = "approve"
    ANSWER = "answer"


class RoleTable(Protocol):
    """The part of the policy that this module needs (`bot.domain.policy_model.Roles` is one)."""

    @property
    def start(self) -> Role: ...
    @property
    def hold(self) -> Role: ...
    @property
    def stop(self) -> Role: ...
    @property
    def prioritise(self) -> Role: ...
    @property
    def merge(self) -> Role: ...
    @property
    def approve(self) -> Role: ...
    @property
    def answer(self) -> Role: ...


@dataclass(frozen=True, slots=True)
class Allowed:
    """The person may do it."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The person may not. `has` None: the role could not be read."""

    capability: Capability
    needs: Role
    has: Role | None


Decision = Allowed | Denied


def needed(capability: Capability, roles: RoleTable) -> Role:
    """The lowest role that has this capability. Never below read: a person without any role may do nothing."""
    match capability:
        case Capability.READ:
            role = Role.READ
        case Capability.START:
            role = roles.start
        case Capability.HOLD:
            role = roles.hold
        case Capability.STOP:
            role = roles.stop
        case Capability.PRIORITISE:
            role = roles.prioritise
        case Capability.MERGE:
            role = roles.merge
        case Capability.APPROVE:
            role = roles.approve
        case Capability.ANSWER:
            role = roles.answer
        case _:
            assert_never(capability)
    return max(role, Role.READ)


def decide(capability: Capability, role: Role | None, roles: RoleTable) -> Decision:
    """Whether a person with this role may do it. None (unreadable) is denied."""
    needs = needed(capability, roles)
    if role is None or role < needs:
        return Denied(capability, needs, role)
    return Allowed()
