"""Makes the records of a repository anew from what GitHub shows: what to do when the ledger was lost, and with every
repository that a ledger sees for the first time.

Promises: nothing is decided in a repository before this is done, and it is done in one transaction, so a crash in the
middle leaves nothing. Records that are there are left alone. Only texts that the bot wrote *and* edited last are
believed. Comments that the bot wrote are noted as written, so nothing is said twice. Commands of the time before are
noted and not carried out; those that nobody has answered are answered with that. A repository without any trace of the
bot costs two requests.

Races: GitHub's lists may lag behind what the lost ledger did last; see `bot/domain/rebuild.py` for what is above that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from bot.domain import labels
from bot.domain.attempting import RUN_WORKFLOW
from bot.domain.branches import issue_of, prefix_of
from bot.domain.claim_record import ClaimRef
from bot.domain.commanded import Spoken, commands_of
from bot.domain.facts import IssueFacts, Presence, PullFacts
from bot.domain.front_matter import Source, effective_spec, from_issue
from bot.domain.intents import Intent
from bot.domain.memory import ItemMemory, RepoMemory, item_memory, repo_memory, shown_digest
from bot.domain.model import AttemptId, IssueKey, Person, Problem, ThoughtRef, WorkSpec
from bot.domain.question_memory import round_memory
from bot.domain.rebuild import rebuild
from bot.domain.repository import RepoRecord
from bot.domain.sighting import SeenRun, Sighting, StatusComment
from bot.domain.thoughts import Thought, recognise
from bot.errors import NotFound
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import Comment, GitHub
from bot.protocols.ledger import Store
from bot.rebuilt_records import Found, Report, Told, as_written, keep
from bot.texts import markers
from bot.texts.markers import MarkerKind
from bot.thought_reader import ThoughtReader

Wishes = tuple[WorkSpec, tuple[Problem, ...]]
"""What a text asks for within the policy, and what of it does not count, and why."""

RUNS_SINCE = timedelta(days=2)
"""A run waits for two hours at most and works for less than six; older ones have ended."""

TALK_SINCE = timedelta(days=3)
"""Comments of this age are looked through for items without a label, and for commands that nobody has answered."""

ENDED_SINCE = timedelta(days=30)
"""Closed issues that have not changed for longer come back when somebody labels them again."""


_RUN_NAME = re.compile(r"tgs #(?P<issue>[1-9][0-9]{0,8}) (?P<claim>[A-Za-z0-9_-]{1,64})")


class Rebuilder:
    """Rebuilds one repository at a time."""

    def __init__(self, github: GitHub, store: Store, clock: Clock) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._thoughts = ThoughtReader(github, store)

    async def once(self, repo: RepoRecord, head: str | None) -> RepoRecord:
        """The repository with its records, rebuilt if that was not done yet. Raises what shall be tried again."""
        return repo if repo.rebuilt_at is not None else (await self.now(repo, head)).repo

    async def now(self, repo: RepoRecord, head: str | None) -> Report:
        """Rebuild what is not there. Raises GitHubError when GitHub cannot be read; nothing is written then."""
        now = self._clock.now()
        ours = await self._github.issues_by_bot(repo.key)
        there = await self._github.labels_there(repo.key)
        if not ours and not any(labels.is_ours(name) for name in there):
            return await keep(self._store, repo, RepoMemory(), None, [], now)
        editors = await self._github.last_editors(repo.key, [issue.node_id for issue in ours])
        own = [issue for issue in ours if self._unedited(repo, editors.get(issue.node_id))]
        set_up = next((issue for issue in own if markers.carries(issue.body, markers.SETUP)), None)
        values = [repo_memory(value) for value in _values(set_up.body if set_up is not None else "")]
        memory = next((known for known in values if known is not None), RepoMemory())
        dirs = {issue.key.number: name for issue in own if (name := _mirrored(issue.body)) is not None}
        runs = await self._runs(repo, now)
        issues = await self._candidates(repo, there, own, set(dirs), set(runs), now)
        if set_up is not None:
            issues.pop(set_up.key.number, None)
        thoughts = await self._plans(repo, head, set(dirs.values()))
        branches = await self._branches(repo)
        refs = await self._claims(repo)
        found = [
            one
            for number, issue in sorted(issues.items())
            if (one := await self._one(repo, issue, dirs.get(number), thoughts, runs, branches, refs, now)) is not None
        ]
        return await keep(self._store, repo, memory, set_up, found, now)

    # --- reading -----------------------------------------------------------------------------------

    def _ours(self, repo: RepoRecord, person: Person | None) -> bool:
        return person is not None and repo.bot is not None and person.id == repo.bot.id

    def _unedited(self, repo: RepoRecord, editor: Person | None) -> bool:
        """Whether nobody else has touched a text of ours since."""
        return editor is None or self._ours(repo, editor)

    async def _candidates(
        self,
        repo: RepoRecord,
        there: frozenset[str],
        own: Iterable[IssueFacts],
        mirrored: set[int],
        running: set[int],
        now: datetime,
    ) -> dict[int, IssueFacts]:
        """The issues that may be items: labelled, mirrored, talked about by us, or with a run."""
        found = {issue.key.number: issue for issue in own if issue.key.number in mirrored}
        for label in sorted(name for name in there if labels.parse_state(name) is not None):
            for issue in await self._github.issues_with_label(repo.key, label):
                if issue.open or issue.updated_at >= now - ENDED_SINCE:
                    found[issue.key.number] = issue
        talked = {
            spoken.key.number
            for spoken in await self._github.comments_in(repo.key, now - TALK_SINCE)
            if self._ours(repo, spoken.author) and markers.carries(spoken.body, markers.STATUS)
        }
        for number in sorted((talked | running) - set(found)):
            presence, read = await self._github.issue(IssueKey(repo.key.installation, repo.key.repo, number))
            if presence is Presence.HERE and read is not None:
                found[number] = read
        return found

    async def _runs(self, repo: RepoRecord, now: datetime) -> dict[int, list[SeenRun]]:
        try:
            runs = await self._github.runs_named(repo.key, RUN_WORKFLOW, "tgs #", now - RUNS_SINCE)
        except NotFound:
            return {}
        found: dict[int, list[SeenRun]] = {}
        for run in sorted(runs, key=lambda run: run.id, reverse=True):
            name = _RUN_NAME.fullmatch(run.display_title)
            if name is not None:
                found.setdefault(int(name["issue"]), []).append(SeenRun(run, AttemptId(name["claim"])))
        return found

    async def _plans(self, repo: RepoRecord, head: str | None, wanted: set[str]) -> dict[str, tuple[Thought, Wishes]]:
        """The plans that have an issue, as the default branch has them, and what they wish for."""
        if head is None or not wanted:
            return {}
        policy = policy_of(repo)
        thoughts, _ = recognise(await self._thoughts.tree(repo.key, head))
        texts = await self._thoughts.read(repo.key, [t for t in thoughts if t.dir in wanted], frozenset(wanted))
        return {
            text.thought.dir: (
                text.thought,
                effective_spec(policy, text.front_matter, Source.PLAN, repo.full_name),
            )
            for text in texts
            if text.front_matter is not None
        }

    async def _branches(self, repo: RepoRecord) -> dict[int, list[tuple[str, str]]]:
        template = policy_of(repo).branch_template
        found: dict[int, list[tuple[str, str]]] = {}
        for name, sha in (await self._github.branches(repo.key, prefix_of(template))).items():
            number = issue_of(template, name)
            if number is not None:
                found.setdefault(number, []).append((name, sha))
        return found

    async def _claims(self, repo: RepoRecord) -> dict[int, tuple[ClaimRef, ...]]:
        if not policy_of(repo).claim_refs:
            return {}
        found: dict[int, tuple[ClaimRef, ...]] = {}
        for ref in await self._github.claim_refs(repo.key):
            if ref.record is not None:
                found[ref.record.issue] = (*found.get(ref.record.issue, ()), ref)
        return found

    async def _one(
        self,
        repo: RepoRecord,
        issue: IssueFacts,
        dir_: str | None,
        thoughts: Mapping[str, tuple[Thought, Wishes]],
        runs: Mapping[int, list[SeenRun]],
        branches: Mapping[int, list[tuple[str, str]]],
        refs: Mapping[int, tuple[ClaimRef, ...]],
        now: datetime,
    ) -> Found | None:
        number, policy = issue.key.number, policy_of(repo)
        told = await self._told(repo, issue.key, now)
        memory = told.memory
        dir_ = dir_ or (memory.thought.dir if memory is not None and memory.thought is not None else None)
        thought, (spec, findings) = _plan(dir_, memory, thoughts)
        if thought is None:
            spec, findings = effective_spec(policy, from_issue(issue.body), Source.ISSUE, repo.full_name)
        names = [memory.attempt.branch] if memory is not None and memory.attempt is not None else []
        names += [name for name, _ in branches.get(number, ()) if name not in names]
        pulls = await self._pulls(repo, names)
        sha = dict(branches.get(number, ())).get(names[0]) if names else None
        ahead = sha is not None and await self._github.commits_beyond(repo.key, repo.default_branch, sha) > 0
        seen = Sighting(
            issue,
            memory=memory,
            status=told.status,
            thought=thought,
            spec=spec,
            findings=findings,
            events=tuple(await self._github.label_events(issue.key)),
            pulls=tuple(pulls),
            runs=tuple(runs.get(number, ())),
            claims=refs.get(number, ()),
            branch_head=sha if ahead else None,
            mirror_ready=thought is not None and policy.mirror.auto_ready,
            rounds=told.rounds,
        )
        found = rebuild(seen, repo, policy, now)
        if found is None:
            return None
        if found.item.pull is not None and not found.item.terminal:
            on_pull = await self._told(
                repo, IssueKey(issue.key.installation, issue.key.repo, found.item.pull.number), now
            )
            told = replace(told, said=told.said + on_pull.said, commands=told.commands + on_pull.commands)
        return Found(found, told)

    async def _pulls(self, repo: RepoRecord, names: Iterable[str]) -> list[PullFacts]:
        """The pull requests of these branches that belong to an item: ours, from the repository itself."""
        for name in names:
            pulls = await self._github.pulls_of_branch(repo.key, name)
            own = [p for p in pulls if self._ours(repo, p.author) and p.head_repo_id == p.base_repo_id]
            if own:
                return own
        return []

    async def _told(self, repo: RepoRecord, key: IssueKey, now: datetime) -> Told:
        comments = await self._github.comments(key)
        own = [comment for comment in comments if self._ours(repo, comment.author)]
        editors = await self._github.last_editors(repo.key, [comment.node_id for comment in own]) if own else {}
        own = [comment for comment in own if self._unedited(repo, editors.get(comment.node_id))]
        status = next((c for c in own if markers.carries(c.body, markers.STATUS)), None)
        values = _values(status.body if status is not None else "")
        memory = next((found for value in values if (found := item_memory(value)) is not None), None)
        said = [
            (mark.value, key, comment.id, comment.created_at)
            for comment in own
            for mark in markers.read(comment.body)
            if mark.kind is MarkerKind.SAY
        ]
        once = {name for name, _, _, _ in said}
        return Told(
            memory=memory if memory is not None and memory.number == key.number else None,
            status=None if status is None else _status(status),
            said=tuple(said),
            commands=tuple(
                (intent, _answered(intent, key, once, comment) or comment.created_at < now - TALK_SINCE)
                for comment in comments
                if not comment.author.is_bot
                for intent in commands_of(_spoken(key, comment), comment.author)
            ),
            rounds=tuple(
                (asked, comment.id, comment.created_at)
                for comment in own
                for mark in markers.read(comment.body)
                if mark.kind is MarkerKind.ASKED and (asked := round_memory(mark.value)) is not None
            ),
        )


def _plan(
    dir_: str | None, memory: ItemMemory | None, thoughts: Mapping[str, tuple[Thought, Wishes]]
) -> tuple[ThoughtRef | None, Wishes]:
    """The plan as it was read last, or as it is now; its wishes are those of now."""
    if dir_ is None:
        return None, (WorkSpec(), ())
    thought, wishes = thoughts.get(dir_, (None, (WorkSpec(), ())))
    if memory is not None and memory.thought is not None and memory.thought.dir == dir_:
        return memory.thought, wishes
    if thought is None:
        return ThoughtRef(dir_, "", "", ""), wishes
    return thought.ref(""), wishes


def _values(body: str) -> list[str]:
    return [mark.value for mark in markers.read(body) if mark.kind is MarkerKind.MEMORY]


def _mirrored(body: str) -> str | None:
    return next((mark.value for mark in markers.read(body) if mark.kind is MarkerKind.MIRROR), None)


def _status(comment: Comment) -> StatusComment:
    digest = shown_digest(as_written(comment.body))
    return StatusComment(comment.id, comment.node_id, digest, comment.updated_at)


def _spoken(key: IssueKey, comment: Comment) -> Spoken:
    return Spoken(
        key, comment.id, comment.node_id, comment.body, comment.author, comment.created_at, comment.updated_at
    )


def _answered(intent: Intent, key: IssueKey, once: set[str], comment: Comment) -> bool:
    """Whether the bot has answered: in words, or by a reaction. Whoever forges a reaction only silences us."""
    return f"say:{key}:intent:{intent.id}" in once or comment.reacted
