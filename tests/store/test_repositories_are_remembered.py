"""What payloads say of repositories and installations is remembered, in the order in which it was said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from bot.domain.intake import InstallationChange, Intake, SeenRepo, Touch, TouchKind
from bot.domain.model import RepoId, RepoKey
from bot.store.engine import SqlStore
from bot.store.inbox import SqlInbox
from bot.store.router import Router
from tests.store.support import OTHER_TENANT, REPO, StillClock, a_repo, ask, fail, fresh_store

SEEN = SeenRepo(REPO, "octo/widgets", 5, private=False, default_branch="main")
NEW_REPO = RepoKey(REPO.installation, RepoId(20))
NEW = SeenRepo(NEW_REPO, "octo/new", 5, private=False)
POINTED = Touch(TouchKind.REPO, NEW_REPO.installation, NEW_REPO.repo)


async def accept(inbox: SqlInbox, intake: Intake) -> None:
    assert await inbox.accept(uuid4().hex, "event", None, intake, None)


async def hear(inbox: SqlInbox, router: Router, intake: Intake) -> None:
    """As `accept`, and it is routed."""
    await accept(inbox, intake)
    await router.route_all()


def change(
    *,
    active: bool = True,
    removed: bool = False,
    permissions: tuple[tuple[str, str], ...] | None = None,
    added: tuple[SeenRepo, ...] = (),
    taken: tuple[RepoId, ...] = (),
) -> Intake:
    return Intake(
        installation=InstallationChange(
            REPO.installation, 5, "octo", active, removed, permissions, repos_added=added, repos_removed=taken
        )
    )


async def test_a_repository_is_remembered_as_first_seen_and_follows_what_payloads_say(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    first = SeenRepo(NEW_REPO, "octo/new", 5, private=True)
    renamed = SeenRepo(NEW_REPO, "octo/renamed", 6, private=False, default_branch="trunk", archived=True)
    vague = SeenRepo(NEW_REPO, "octo/renamed", 6, private=False)

    await hear(inbox, router, Intake(repos=(first,)))
    stored = await store.read(lambda tx: tx.repo(NEW_REPO))
    assert stored is not None
    assert (stored.full_name, stored.private, stored.default_branch, stored.active) == ("octo/new", True, "", True)

    for seen in (renamed, renamed, vague):
        await hear(inbox, router, Intake(repos=(seen,)))
    after = await store.read(lambda tx: tx.repo(NEW_REPO))
    assert after == replace(
        stored, full_name="octo/renamed", owner_id=6, private=False, default_branch="trunk", archived=True, revision=1
    )


async def test_a_decision_made_before_a_rename_is_refused_as_stale(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    before = a_repo()
    await hear(inbox, router, Intake(repos=(replace(SEEN, full_name="octo/gadgets"),)))

    assert not await store.write(lambda tx: tx.save_repo(before, replace(before, preflight_ok=True)))


async def test_suspension_and_return_of_an_installation_reach_its_repositories(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    await store.write(lambda tx: tx.put_repo(a_repo(OTHER_TENANT)))
    await hear(inbox, router, change(active=False))
    suspended = await store.read(lambda tx: tx.repos())
    await hear(inbox, router, change(active=True, permissions=(("issues", "write"),)))
    back = await store.read(lambda tx: tx.repo(REPO))

    assert [(repo.key, repo.active) for repo in suspended] == [(REPO, False), (OTHER_TENANT, True)]
    assert back is not None
    assert (back.active, back.permission("issues")) == (True, "write")


async def test_a_repository_that_was_taken_out_comes_back_only_when_added(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    async def active() -> bool:
        repo = await store.read(lambda tx: tx.repo(REPO))
        assert repo is not None
        return repo.active

    await hear(inbox, router, change(taken=(REPO.repo,)))
    assert not await active()
    await hear(inbox, router, Intake(repos=(SEEN,)))
    assert not await active(), "a late webhook mentions it"
    await hear(inbox, router, change(active=True))
    assert not await active(), "the installation was changed otherwise"
    await hear(inbox, router, change(added=(SEEN,)))
    assert await active()


async def test_a_repository_that_is_new_takes_the_state_of_its_installation(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    await hear(inbox, router, change(active=False, removed=True, permissions=(("issues", "read"),)))
    await hear(inbox, router, Intake(repos=(SeenRepo(NEW_REPO, "octo/new", 5, private=False),)))

    repo = await store.read(lambda tx: tx.repo(NEW_REPO))
    assert repo is not None
    assert (repo.active, repo.permissions) == (False, (("issues", "read"),))


async def test_what_was_said_before_a_change_of_the_installation_was_so_before_it(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    await accept(inbox, Intake(repos=(NEW,)))
    await accept(inbox, change(taken=(NEW_REPO.repo,)))
    await router.route_all()

    repo = await store.read(lambda tx: tx.repo(NEW_REPO))
    assert repo is not None
    assert not repo.active, "it was mentioned first and taken out then"


async def test_what_an_earlier_delivery_says_is_not_carried_over_after_a_later_one(
    store: SqlStore, router: Router
) -> None:
    many, few = SqlInbox(store), SqlInbox(store, lambda: None)
    await accept(many, Intake(repos=(NEW,)))
    await accept(few, Intake(repos=(replace(NEW, full_name="octo/renamed"),)))
    await router.route_all()

    repo = await store.read(lambda tx: tx.repo(NEW_REPO))
    assert repo is not None
    assert repo.full_name == "octo/renamed"


async def test_a_delivery_that_only_mentions_a_repository_is_one_statement_and_is_routed_once(
    path: Path, clock: StillClock
) -> None:
    async with fresh_store(path, clock) as store:
        nudged: list[bool] = []
        inbox, router = SqlInbox(store, lambda: nudged.append(True), few=0), Router(store, fail)

        await accept(
            inbox, Intake(repos=(NEW,), touches=(Touch(TouchKind.REPO, NEW_REPO.installation, NEW_REPO.repo),))
        )

        assert nudged == [True]
        assert await store.read(lambda tx: tx.repo(NEW_REPO)) is None
        assert await router.route_all() == [NEW_REPO]
        stored = await store.read(lambda tx: tx.repo(NEW_REPO))
        assert stored is not None
        assert (stored.full_name, stored.revision) == ("octo/new", 0)
        assert ask(path, "SELECT count(*) FROM deliveries WHERE seen IS NOT NULL OR routed_at IS NULL") == [(0,)]
