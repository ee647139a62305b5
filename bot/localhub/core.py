"""The names that feature modules and tests of the local hub build on.

Promise: what is importable from here stays; the modules behind may be split or moved.
"""

from bot.localhub import present
from bot.localhub.actor import ANONYMOUS, Actor, ActorKind, level_covers, role_on
from bot.localhub.faults import Fault, FaultKind
from bot.localhub.hooks import HookFault, HookFaultKind
from bot.localhub.http import (
    ApiError,
    Need,
    Reply,
    Request,
    Route,
    Surface,
    invalid,
    not_found,
)
from bot.localhub.hub import Hub
from bot.localhub.limits import Quota
from bot.localhub.model import (
    Account,
    AccountType,
    App,
    Comment,
    Delivery,
    Hook,
    Installation,
    Issue,
    IssueEvent,
    Json,
    Label,
    Reaction,
    Repository,
    Role,
)
from bot.localhub.ports import ZERO_OID, GitObject, RefConflictError, RefUpdate
from bot.localhub.reqlog import LogEntry

__all__ = [
    "ANONYMOUS",
    "ZERO_OID",
    "Account",
    "AccountType",
    "Actor",
    "ActorKind",
    "ApiError",
    "App",
    "Comment",
    "Delivery",
    "Fault",
    "FaultKind",
    "GitObject",
    "Hook",
    "HookFault",
    "HookFaultKind",
    "Hub",
    "Installation",
    "Issue",
    "IssueEvent",
    "Json",
    "Label",
    "LogEntry",
    "Need",
    "Quota",
    "Reaction",
    "RefConflictError",
    "RefUpdate",
    "Reply",
    "Repository",
    "Request",
    "Role",
    "Route",
    "Surface",
    "invalid",
    "level_covers",
    "not_found",
    "present",
    "role_on",
]
