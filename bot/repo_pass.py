"""One look at a repository: its set-up, its policy, its thoughts, its queue.

Serial per repository by the key's queue. The order matters: the policy read now decides about mirroring, and what was
mirrored takes part in the scheduling of the same pass. Reads are conditional; a quiet repository costs no quota.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog
from cachetools import LRUCache

from bot.claims import NotClaimed
from bot.domain.attempt import Worker, WorkerKind
from bot.domain.attempting import RUN_WORKFLOW
from bot.domain.front_matter import FrontMatterResult, Source, effective_spec
from bot.domain.labels import READY
from bot.domain.line import NEAR, Told, news
from bot.domain.mirror import (
    CreateIssue,
    Implemented,
    Listed,
    ListedBecause,
    MirrorDecision,
    Retitle,
    ThoughtBroken,
    ThoughtChanged,
    ThoughtRemoved,
    ThoughtText,
    mirror,
)
from bot.domain.model import IssueKey, Item, ItemState, Problem, RepoKey
from bot.domain.policy import MAX_POLICY_CHARS, POLICY_PATH
from bot.domain.policy_model import Policy
from bot.domain.questions import QuestionStatus
from bot.domain.repository import RepoRecord
from bot.domain.schedule import schedule
from bot.domain.survey import CHECK_AGAIN, ENVIRONMENTS, RepoChecks, check, checks_due, take_policy
from bot.domain.thoughts import recognise
from bot.errors import GitHubError, NotFound
from bot.incident_issues import IncidentIssues
from bot.kept import Kept
from bot.late_reads import LAG, LateReads
from bot.look import Look
from bot.mirror_acts import MirrorActs
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub, RepoView
from bot.protocols.ledger import Ledger, Store
from bot.rebuild import Rebuilder, shown_at
from bot.rebuilt_records import Report
from bot.resync import Resync
from bot.session_service import SessionService
from bot.setup_issue import SetUpIssue
from bot.starter import Claimer, Starter
from bot.thought_reader import ThoughtReader

VIEWS_KEPT = 2_000
"""Repositories whose view is kept in memory; losing one costs a conditional read."""

VIEW_KEPT = timedelta(minutes=10)
"""Name, default branch and archiving come with webhooks; without any, this is how old they may be."""

MIRROR_WINDOW = timedelta(hours=1)
"""The window of `mirror.per_hour`."""

REGULAR_FILES = frozenset({"100644", "100755"})
"""Git's modes of plain files; links are not followed."""

TOLD_AT_ONCE = 200
"""Items that are told their place in one unit, so that webhooks do not wait behind a long queue."""

GLANCE_FROM = 20
"""So many single reads cost more than the lists of most queues."""

READ_ROUNDS = 3
"""Plans are read only when a decision needs them; deciding again after reading settles in two rounds."""

log = structlog.get_logger(__name__)


class RepoPass:
    """Looks at one repository."""

    def __init__(
        self,
        github: GitHub,
        store: Store,
        clock: Clock,
        starter: Starter,
        mirror_acts: MirrorActs,
        set_up: SetUpIssue,
        incidents: IncidentIssues,
        serves: Callable[[int], bool],
        sessions: SessionService,
        resync: Resync,
        rebuilder: Rebuilder,
        kept: Kept,
    ) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._starter = starter
        self._mirror_acts = mirror_acts
        self._set_up = set_up
        self._incidents = incidents
        self._serves = serves
        self._sessions = sessions
        self._resync = resync
        self._rebuilder = rebuilder
        self._kept = kept
        self._thoughts = ThoughtReader(github, store)
        self._late = LateReads(github, clock)
        self._views: LRUCache[RepoKey, tuple[RepoView, datetime]] = LRUCache(VIEWS_KEPT)

    async def __call__(self, key: RepoKey) -> Look:
        repo = await self._store.read(lambda tx: tx.repo(key))
        if repo is None or not repo.active or not self._serves(repo.owner_id):
            return Look()
        now = self._clock.now()
        try:
            view = await self._view(repo, now)
        except NotFound:
            log.info("repository_gone", repo=repo.full_name)
            await self._save(repo, replace(repo, active=False))
            return Look()
        repo, head = await self._facts(await self._resync.listen(repo), view, now)
        if not repo.archived:
            repo = await self._rebuilder.once(repo, head)
        if repo.rebuilt_at is None:
            shown = shown_at(repo)
            return Look(at=shown if shown is not None and shown > now else now + CHECK_AGAIN)
        if repo.resync_asked_at is not None and not repo.archived:
            repo = await self._resync.look(repo)
        policy = policy_of(repo)
        wake: list[datetime] = []
        listed: tuple[Listed, ...] = ()
        if head is not None and not repo.archived:
            repo, decision = await self._mirror(repo, head, policy, now)
            listed = decision.listed
            tried = {action.thought.dir for action in decision.actions if isinstance(action, CreateIssue)}
            wake += [at for at in (decision.wake_at, await self._mirror_acts.settle(repo, tried)) if at is not None]
        if not repo.archived:
            set_up_at = await self._set_up.show(repo, listed, policy)
            wake += [set_up_at] if set_up_at is not None else []
            incident_at = await self._incidents.show(repo, policy)
            wake += [incident_at] if incident_at is not None else []
        session_at = await self._sessions.keep(repo)
        wake += [session_at] if session_at is not None else []
        await self._mind_questions(repo, now)
        wake_at = await self._schedule(repo, policy, now)
        wake += [wake_at] if wake_at is not None else []
        if not repo.preflight_ok:
            wake.append(now + CHECK_AGAIN)
        return Look(at=min(wake, default=None))

    async def rebuild(self, key: RepoKey) -> Report | None:
        """Make records from what GitHub shows that are not there, and nothing else; None: it is not served.

        Raises GitHubError when GitHub cannot be read.
        """
        repo = await self._store.read(lambda tx: tx.repo(key))
        if repo is None or not repo.active or repo.archived or not self._serves(repo.owner_id):
            return None
        now = self._clock.now()
        view = await self._view(repo, now)
        repo, head = await self._facts(await self._resync.listen(repo), view, now)
        return None if repo.archived else await self._rebuilder.now(repo, head)

    async def _view(self, repo: RepoRecord, now: datetime) -> RepoView:
        """The repository as GitHub shows it; not asked for again while what webhooks told us still agrees."""
        known = self._views.get(repo.key)
        if known is not None:
            view, at = known
            told = (repo.full_name, repo.archived, repo.default_branch)
            same = told == (view.full_name, view.archived, view.default_branch)
            if same and now - at < VIEW_KEPT and repo.preflight_at is not None and not view.empty:
                return view
        view = await self._github.repository(repo.key)
        self._views[repo.key] = (view, now)
        return view

    # --- set-up and policy -------------------------------------------------------------------------

    async def _facts(self, repo: RepoRecord, view: RepoView, now: datetime) -> tuple[RepoRecord, str | None]:
        key = repo.key
        permissions = dict(await self._github.permissions(key.installation))
        told = tuple(sorted(permissions.items()))
        if told != repo.permissions:
            # A webhook told of other permissions than our token has: an owner changed them.
            permissions = dict(await self._github.permissions(key.installation, renew=True))
        readable = "contents" in permissions
        head = await self._github.head(key, view.default_branch) if readable and not view.empty else None
        after = replace(
            repo,
            full_name=view.full_name,
            owner_id=view.owner_id,
            default_branch=view.default_branch,
            private=view.private,
            archived=view.archived,
            bot=repo.bot or await self._github.bot_user(key.installation),
        )
        if head != repo.head_sha and head is not None:
            after = replace(take_policy(after, await self._policy_file(key, head)), head_sha=head)
        elif head is None:
            after = replace(after, head_sha=None)
        if told != repo.permissions:
            after = replace(after, permissions=tuple(sorted(permissions.items())), preflight_at=None)
        if checks_due(after, head, now) and not view.archived:
            after = check(await self._checks(key, head, permissions), after, now)
        return await self._save(repo, after), head

    async def _policy_file(self, key: RepoKey, head: str) -> tuple[str, str] | None:
        """(blob SHA, text) of the policy file. A folder or a link at that place is none.

        Read through the trees, which the look at the thoughts needs anyway and which never change.
        """
        folder, _, name = POLICY_PATH.rpartition("/")
        tree = await self._github.tree(key, head, folder, recursive=False)
        entry = next((x for x in tree.entries if x.path == name), None) if tree is not None else None
        if entry is None or entry.type != "blob" or entry.mode not in REGULAR_FILES:
            return None
        if entry.size is not None and entry.size > 4 * MAX_POLICY_CHARS:
            # The parser refuses it with its reason; there is no need to fetch all of it.
            return entry.sha, "#" * (MAX_POLICY_CHARS + 1)
        content = await self._github.blob(key, entry.sha)
        return entry.sha, content.decode("utf-8", "replace")

    async def _checks(self, key: RepoKey, head: str | None, permissions: dict[str, str]) -> RepoChecks:
        if head is None and "contents" in permissions:
            return RepoChecks(True, None, frozenset(), permissions)
        if permissions.get("actions") is None or head is None:
            # What cannot be read is not called missing; the permission is.
            return RepoChecks(False, "active", frozenset(ENVIRONMENTS), permissions)
        workflow = await self._github.workflow_state(key, RUN_WORKFLOW)
        found = [name for name in ENVIRONMENTS if await self._github.environment_exists(key, name)]
        return RepoChecks(False, workflow, frozenset(found), permissions)

    async def _save(self, before: RepoRecord, after: RepoRecord) -> RepoRecord:
        """Writes and returns the record as it is now; a concurrent change is taken over by the next look."""
        if before == after:
            return before

        def write(tx: Ledger) -> RepoRecord:
            if not tx.save_repo(before, after):
                tx.mark(before.key)
            if before.archived and not after.archived:
                for item in tx.items(before.key):
                    tx.mark(item.key)
            return tx.repo(before.key) or after

        return await self._store.write(write)

    # --- thoughts ----------------------------------------------------------------------------------

    async def _mirror(
        self, repo: RepoRecord, head: str, policy: Policy, now: datetime
    ) -> tuple[RepoRecord, MirrorDecision]:
        tree = await self._thoughts.tree(repo.key, head)
        thoughts, problems = recognise(tree)
        if repo.thoughts_at_installation is None:
            items = await self._store.read(lambda tx: tx.items_of_thoughts(repo.key))
            mirrored = {item.thought.dir for item in items if item.thought}
            new = (thought.dir for thought in thoughts if not thought.implementation)
            there = tuple(sorted(name for name in new if name not in mirrored))
            repo = await self._save(repo, replace(repo, thoughts_at_installation=there))
        if not policy.mirror.enabled and not thoughts:
            return repo, MirrorDecision()
        undecided = frozenset(() if repo.mirror_decided else repo.thoughts_at_installation or ())
        texts = await self._thoughts.read(repo.key, thoughts, frozenset(), whole=True)
        items = await self._store.read(lambda tx: tx.items_of_thoughts(repo.key))
        counted = await self._store.read(lambda tx: tx.count_mirrored(repo.key, now - MIRROR_WINDOW))
        decision = MirrorDecision()
        for _ in range(READ_ROUNDS):
            open_texts = [text for text in texts if text.thought.dir not in undecided]
            decision = mirror(open_texts, items, problems, policy, True, now, counted)
            if not decision.read:
                break
            texts = await self._thoughts.read(repo.key, thoughts, frozenset(thought.dir for thought in decision.read))
        waiting = tuple(
            Listed(text.thought.dir, ListedBecause.UNDECIDED)
            for text in texts
            if text.thought.dir in undecided and not text.thought.implementation
        )
        decision = replace(decision, listed=tuple(sorted((*decision.listed, *waiting))))
        if not repo.archived:
            seen = {item.key: item.thought.commit_sha for item in items if item.thought is not None}
            unsure = await self._carry_out(repo, head, decision, texts, policy, seen)
            times = [at for at in (*unsure, decision.wake_at) if at is not None]
            decision = replace(decision, wake_at=min(times, default=None))
        return repo, decision

    async def _carry_out(
        self,
        repo: RepoRecord,
        head: str,
        decision: MirrorDecision,
        texts: Sequence[ThoughtText],
        policy: Policy,
        seen: Mapping[IssueKey, str],
    ) -> list[datetime | None]:
        """When to look again at acts of which it is not known whether they happened, and at what an older commit seems
        to say. `seen` are the commits at which the plans of items were read."""
        unsure: list[datetime | None] = []
        matter: dict[str, FrontMatterResult] = {
            text.thought.dir: text.front_matter for text in texts if text.front_matter is not None
        }
        for action in decision.actions:
            known = seen.get(action.issue, "") if isinstance(action, ThoughtChanged | ThoughtRemoved) else ""
            if await self._late.doubts(repo.key, known, head):
                unsure.append(self._clock.now() + LAG)
                continue
            match action:
                case CreateIssue(thought=thought):
                    unsure.append(await self._mirror_acts.create(repo, head, action, matter[thought.dir], policy))
                case Retitle(issue=issue, title=title):
                    await self._github.edit_issue(issue, title=title)
                case ThoughtChanged():
                    await self._changed(repo, head, action, matter[action.thought.dir], policy)
                case ThoughtRemoved(issue=issue):
                    await self._flag(issue, lambda item: replace(item, thought_gone=True))
                case ThoughtBroken(issue=issue, problem=problem):
                    await self._broken(issue, problem)
                case Implemented(issue=issue):
                    await self._flag(issue, lambda item: replace(item, implemented=True))
        return unsure

    async def _broken(self, issue: IssueKey, problem: Problem) -> None:
        await self._flag(issue, lambda item: replace(item, findings=(problem,)))

    async def _changed(
        self, repo: RepoRecord, head: str, action: ThoughtChanged, matter: FrontMatterResult, policy: Policy
    ) -> None:
        """The item follows its plan; whether an approval still holds is the item's own decision."""
        spec, findings = effective_spec(policy, matter, Source.PLAN, repo.full_name)
        ready = policy.mirror.auto_ready and not action.draft
        await self._flag(
            action.issue,
            lambda item: replace(
                item,
                thought=action.thought.ref(head),
                spec=item.asked.over(spec),
                findings=findings,
                thought_gone=False,
                mirror_ready=ready,
            ),
        )

    async def _flag(self, key: IssueKey, change: Callable[[Item], Item]) -> None:
        """Tell the item's own rules what the default branch shows."""

        def write(tx: Ledger) -> None:
            item = tx.item(key)
            if item is None:
                return
            after = change(item)
            if after != item and tx.save_item(item, after):
                tx.mark(key)

        await self._store.write(write)

    async def _mind_questions(self, repo: RepoRecord, now: datetime) -> None:
        """A pause, and its end, are looked at by every item whose agent waits for an answer: its time stands still."""
        paused = repo.pause is not None and repo.pause.active(now)

        def other_than(tx: Ledger) -> list[IssueKey]:
            open_ = [q for q in tx.waiting_questions(repo.key) if q.status is QuestionStatus.OPEN]
            found = {q.key for q in open_ if (q.deadline is None) is not paused}
            if not found:
                return []
            items = {item.key: item for item in tx.items(repo.key, states=[ItemState.NEEDS_INPUT.value])}
            return [
                key
                for key in found
                if key in items and (paused or (items[key].held_by is None and not items[key].human_owned))
            ]

        found = await self._store.read(other_than)

        def mark(tx: Ledger) -> None:
            for key in sorted(found):
                tx.mark(key)

        if found:
            await self._store.write(mark)

    # --- queue -------------------------------------------------------------------------------------

    async def _schedule(self, repo: RepoRecord, policy: Policy, now: datetime) -> datetime | None:
        backlog = await self._starter.backlog(repo, policy)
        plan = schedule(backlog, policy, now, near=NEAR)
        started = False
        for item in plan.start:
            result = await self._starter.start(repo, item, policy, Claimer(Worker(WorkerKind.ACTIONS, "actions")))
            if isinstance(result, NotClaimed):
                await self._note_waiting(item.key, result)
            else:
                started = True

        if started and plan.waiting:
            return now  # the others are told their places when nothing more can start
        untold = news(plan.waiting, backlog.told)
        numbers = list(untold)
        await self._glance(repo, numbers, now)
        for start in range(0, len(numbers), TOLD_AT_ONCE):
            some = {number: untold[number] for number in numbers[start : start + TOLD_AT_ONCE]}
            await self._store.write(partial(_tell, repo=repo.key, told=some))
        return plan.wake_at

    async def _glance(self, repo: RepoRecord, numbers: Sequence[int], now: datetime) -> None:
        """Where many items are about to be looked at, their issues are read by lists and not one by one."""
        keys = [IssueKey(repo.key.installation, repo.key.repo, number) for number in numbers]
        if self._kept.unknown(keys, now) < GLANCE_FROM:
            return
        try:
            self._kept.read_list(await self._github.issues_with_label(repo.key, READY), now)
        except GitHubError as error:
            log.info("not_glanced_at", repo=repo.full_name, error=str(error))

    async def _note_waiting(self, key: IssueKey, why: NotClaimed) -> None:
        """An item that could not be started after all is told why, as the first of the queue."""
        reasons = why.reasons

        def write(tx: Ledger) -> None:
            state = tx.states_of(key.repo_key, [key.number]).get(key.number)
            seen = tuple((reason.code, reason.params) for reason in reasons)
            if state in {ItemState.READY, ItemState.IN_PROGRESS} and tx.set_waiting(key, seen, 1):
                tx.mark(key)

        await self._store.write(write)


def _tell(tx: Ledger, repo: RepoKey, told: Mapping[int, Told]) -> None:
    tx.tell_places(repo, told)
    for number in told:
        tx.mark(IssueKey(repo.installation, repo.repo, number))
