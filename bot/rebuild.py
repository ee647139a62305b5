"""Makes the records of a repository anew from what GitHub shows: what to do when the ledger was lost, and with every
repository that a ledger sees for the first time.

Promises: nothing is decided in a repository before this is done. Much is read at once, and written in parts, each in
one transaction: what is interrupted, by a limit of GitHub or a crash, goes on with what is not there yet. Records that
are there are left alone. Only texts that the bot wrote *and* edited last are believed. Comments that the bot wrote are
noted as written, so nothing is said twice. Commands of the time before are noted and not carried out; those that nobody
has answered are answered with that. A repository without any trace of the bot costs two requests.

Races: GitHub's lists may lag behind what the lost ledger did last, so where the bot has been before, nothing is read
until they must show it (an operator who asks for it does not wait); see `bot/domain/rebuild.py` for what may still be
missing. Between the parts of an interrupted rebuild people and runs go on; what they do is judged, like any change, by
what was shown last, and a run that is seen late may take up its claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from bot.domain import labels
from bot.domain.attempting import RUN_WORKFLOW
from bot.domain.branches import issue_of, prefix_of
from bot.domain.claim_record import ClaimRef
from bot.domain.commanded import Spoken
from bot.domain.facts import IssueFacts, Presence, PullFacts
from bot.domain.front_matter import Source, effective_spec, from_issue
from bot.domain.memory import ItemMemory, RepoMemory, repo_memory
from bot.domain.model import TERMINAL_STATES, AttemptId, IssueKey, Problem, ThoughtRef, WorkSpec
from bot.domain.rebuild import asks_branch, asks_events, rebuild
from bot.domain.repository import RepoRecord
from bot.domain.sighting import SeenRun, Sighting
from bot.domain.thoughts import Thought, recognise
from bot.errors import GitHubError, NotFound, TooLong, Unavailable
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store
from bot.rebuilt_records import Found, Report, Said, Told, enter, finish
from bot.rebuilt_talk import TALK_SINCE, is_ours, read_talk, said_in, unedited, values_of
from bot.resync import LIST_LAG
from bot.texts import markers
from bot.texts.markers import MarkerKind
from bot.thought_reader import ThoughtReader

Wishes = tuple[WorkSpec, tuple[Problem, ...]]
"""What a text asks for within the policy, and what of it does not count, and why."""

PART = 100
"""Items that are read and written together: so much is read again after a crash, at most."""

RUNS_SINCE = timedelta(days=2)
"""A run waits for two hours at most and works for less than six; older ones have ended."""

ENDED_SINCE = timedelta(days=30)
"""Closed issues that have not changed for longer come back when somebody labels them again."""


log = structlog.get_logger(__name__)

_RUN_NAME = re.compile(r"tgs #(?P<issue>[1-9][0-9]{0,8}) (?P<claim>[A-Za-z0-9_-]{1,64})")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the repository shows of all issues together."""

    dirs: Mapping[int, str]
    thoughts: Mapping[str, tuple[Thought, Wishes]]
    runs: Mapping[int, list[SeenRun]]
    branches: Mapping[int, list[tuple[str, str]]]
    refs: Mapping[int, tuple[ClaimRef, ...]]
    now: datetime


def _knows_itself(repo: RepoRecord, head: str | None) -> bool:
    """Whether the record has what was just read. Where another change came first it has not, and a rebuild by it would
    take nothing for ours: what was said would be said again, and what was approved forgotten."""
    return repo.bot is not None and repo.head_sha == head


def shown_at(repo: RepoRecord) -> datetime | None:
    """When GitHub's lists show all that was done before this ledger began to listen."""
    return None if repo.listening_since is None else repo.listening_since + LIST_LAG


class Rebuilder:
    """Rebuilds one repository at a time."""

    def __init__(self, github: GitHub, store: Store, clock: Clock) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._thoughts = ThoughtReader(github, store)

    async def once(self, repo: RepoRecord, head: str | None) -> RepoRecord:
        """The repository with its records, rebuilt if that was not done yet and can be; before `shown_at` only where
        the bot has never been. Raises what shall be tried again; what is written stays, and the next call goes on."""
        if repo.rebuilt_at is not None or not _knows_itself(repo, head):
            return repo
        report = await self._tried(repo, head, patient=True)
        if report.stopped is not None:
            raise report.stopped
        return report.repo

    async def now(self, repo: RepoRecord, head: str | None) -> Report:
        """Rebuild what is not there. The report says what came back, and what stopped it, if something did."""
        if not _knows_itself(repo, head):
            changed = Unavailable("The repository changed while it was looked at; call again.")
            return Report(repo, stopped=changed)
        return await self._tried(repo, head, patient=False)

    async def _tried(self, repo: RepoRecord, head: str | None, *, patient: bool) -> Report:
        """`patient`: before `shown_at` nothing is rebuilt where the bot has been, and nothing stopped it."""
        report = Report(repo)
        try:
            return await self._all(report, head, patient)
        except GitHubError as error:
            return replace(report, stopped=error)

    async def _all(self, report: Report, head: str | None, patient: bool) -> Report:
        repo, now = report.repo, self._clock.now()
        ours = await self._github.issues_by_bot(repo.key)
        there = await self._github.labels_there(repo.key)
        if not ours and not any(labels.is_ours(name) for name in there):
            return await finish(self._store, report, RepoMemory(), None, now)
        shown = shown_at(repo)
        if patient and shown is not None and now < shown and (ours or await self._has_spoken(repo, now)):
            return report
        editors = await self._github.last_editors(repo.key, [issue.node_id for issue in ours])
        own = [issue for issue in ours if unedited(repo, editors.get(issue.node_id))]
        set_up = next((issue for issue in own if markers.carries(issue.body, markers.SETUP)), None)
        values = [repo_memory(value) for value in values_of(set_up.body if set_up is not None else "")]
        memory = next((known for known in values if known is not None), RepoMemory())
        dirs = {issue.key.number: name for issue in own if (name := _mirrored(issue.body)) is not None}
        runs = await self._runs(repo, now)
        spoken = await self._spoken(repo, now - TALK_SINCE)
        issues = await self._candidates(repo, there, own, spoken, set(dirs) | set(runs), now)
        if set_up is not None:
            issues.pop(set_up.key.number, None)
        known = await self._store.read(lambda tx: tx.states_of(repo.key, list(issues)))
        waiting = [issue for number, issue in sorted(issues.items()) if number not in known]
        report = replace(report, before=len(known))
        if waiting:
            thoughts = await self._plans(repo, head, set(dirs.values()))
            seen = _Seen(dirs, thoughts, runs, await self._branches(repo), await self._claims(repo), now)
            for start in range(0, len(waiting), PART):
                try:
                    found = await self._part(repo, waiting[start : start + PART], seen)
                except GitHubError as error:
                    return replace(report, stopped=error)
                report = await enter(self._store, report, found, now)
        said = await self._said_elsewhere(repo, spoken, {*known, *(number for number, _, _ in report.items)})
        return await finish(self._store, report, memory, set_up, now, said)

    # --- reading -----------------------------------------------------------------------------------

    async def _candidates(
        self,
        repo: RepoRecord,
        there: frozenset[str],
        own: Iterable[IssueFacts],
        spoken: Iterable[Spoken],
        named: set[int],
        now: datetime,
    ) -> dict[int, IssueFacts]:
        """The issues that may be items: labelled, talked about by us, or `named` by a plan's issue or a run."""
        found = {issue.key.number: issue for issue in own if issue.key.number in named}
        for label in sorted(there):
            state = labels.parse_state(label)
            if state is None:
                continue
            # What is over is listed only as far as it counts: there is more of it every year.
            since = now - ENDED_SINCE if state in TERMINAL_STATES else None
            for issue in await self._github.issues_with_label(repo.key, label, since):
                if issue.open or issue.updated_at >= now - ENDED_SINCE:
                    found[issue.key.number] = issue
        talked = {
            one.key.number for one in spoken if is_ours(repo, one.author) and markers.carries(one.body, markers.STATUS)
        }
        for number in sorted((talked | named) - set(found)):
            presence, read = await self._github.issue(IssueKey(repo.key.installation, repo.key.repo, number))
            if presence is Presence.HERE and read is not None:
                found[number] = read
        return found

    async def _said_elsewhere(self, repo: RepoRecord, spoken: Iterable[Spoken], items: set[int]) -> list[Said]:
        """What the bot said lately where no item is: a command there was answered as well."""
        own = {
            one.node_id: one
            for one in spoken
            if one.node_id and one.key.number not in items and is_ours(repo, one.author) and said_in(one.body)
        }
        editors = await self._github.last_editors(repo.key, list(own)) if own else {}
        return [
            (name, one.key, one.id, one.created_at)
            for node, one in own.items()
            if unedited(repo, editors.get(node))
            for name in said_in(one.body)
        ]

    async def _spoken(self, repo: RepoRecord, since: datetime) -> list[Spoken]:
        """What was said lately. A flood of comments must not keep the database from coming back: without them an issue
        that had just lost its label, and has no run, is found by its next change."""
        try:
            return await self._github.comments_in(repo.key, since)
        except TooLong:
            log.warning("comments_not_looked_through", repo=repo.full_name)
            return []

    async def _has_spoken(self, repo: RepoRecord, now: datetime) -> bool:
        """Whether the bot has been here, where it has no issue of its own: its set-up issue may not be open yet."""
        return any(is_ours(repo, one.author) for one in await self._spoken(repo, now - TALK_SINCE))

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

    async def _part(self, repo: RepoRecord, issues: Sequence[IssueFacts], seen: _Seen) -> list[Found]:
        """The records of some issues, as many as are items."""
        talk = await read_talk(self._github, repo, [(issue.key, issue.node_id) for issue in issues], seen.now)
        names = {issue.key.number: _branch_names(issue, talk[issue.key], seen) for issue in issues}
        pulls = await self._pulls(repo, names)
        sightings: list[Sighting] = []
        for issue in issues:
            number = issue.key.number
            one = _sighting(repo, issue, talk[issue.key], pulls.get(number, []), seen)
            if asks_branch(one) and names[number]:
                one = replace(one, branch_head=await self._published(repo, number, names[number][0], seen))
            sightings.append(one)
        found: list[Found] = []
        for one in await self._with_events(repo, sightings):
            rebuilt = rebuild(one, repo, policy_of(repo), seen.now)
            if rebuilt is not None:
                found.append(Found(rebuilt, talk[one.issue.key], one.issue.updated_at))
        return await self._with_talk_on_pulls(repo, found, seen)

    async def _with_events(self, repo: RepoRecord, sightings: Sequence[Sighting]) -> list[Sighting]:
        """With the label events, where they decide anything."""
        asked = {one.issue.node_id for one in sightings if asks_events(one)}
        read = await self._github.histories(repo.key, sorted(asked)) if asked else {}
        for one in sightings:
            node = one.issue.node_id
            if node in asked and node not in read:
                read[node] = await self._github.label_events(one.issue.key)
        return [replace(one, events=tuple(read.get(one.issue.node_id, ()))) for one in sightings]

    async def _published(self, repo: RepoRecord, number: int, branch: str, seen: _Seen) -> str | None:
        """Where the item's branch is, if it has commits of its own."""
        sha = dict(seen.branches.get(number, ())).get(branch)
        ahead = sha is not None and await self._github.commits_beyond(repo.key, repo.default_branch, sha) > 0
        return sha if ahead else None

    async def _pulls(self, repo: RepoRecord, names: Mapping[int, Sequence[str]]) -> dict[int, list[PullFacts]]:
        """By issue, the pull requests of its branches that belong to an item: ours, from the repository itself."""
        wanted = [name for some in names.values() for name in some]
        read = await self._github.pulls_of_branches(repo.key, wanted) if wanted else {}
        found: dict[int, list[PullFacts]] = {}
        for number, some in names.items():
            for name in some:
                pulls = read[name] if name in read else await self._github.pulls_of_branch(repo.key, name)
                own = [p for p in pulls if is_ours(repo, p.author) and p.head_repo_id == p.base_repo_id]
                if own:
                    found[number] = own
                    break
        return found

    async def _with_talk_on_pulls(self, repo: RepoRecord, found: list[Found], seen: _Seen) -> list[Found]:
        """People command on pull requests too."""
        places = {
            one.found.item.key: (IssueKey(repo.key.installation, repo.key.repo, pull.number), pull.node_id)
            for one in found
            if (pull := one.found.item.pull) is not None and not one.found.item.terminal
        }
        if not places:
            return found
        talk = await read_talk(self._github, repo, list(places.values()), seen.now)

        def with_talk(one: Found) -> Found:
            place = places.get(one.found.item.key)
            if place is None:
                return one
            there, here = talk[place[0]], one.told
            return replace(
                one, told=replace(here, said=here.said + there.said, commands=here.commands + there.commands)
            )

        return [with_talk(one) for one in found]


def _sighting(repo: RepoRecord, issue: IssueFacts, told: Told, pulls: Sequence[PullFacts], seen: _Seen) -> Sighting:
    """What was read of the issue with many others."""
    number, policy, memory = issue.key.number, policy_of(repo), told.memory
    dir_ = seen.dirs.get(number) or (memory.thought.dir if memory is not None and memory.thought is not None else None)
    thought, (spec, findings) = _plan(dir_, memory, seen.thoughts)
    if thought is None:
        spec, findings = effective_spec(policy, from_issue(issue.body), Source.ISSUE, repo.full_name)
    return Sighting(
        issue,
        memory=memory,
        status=told.status,
        thought=thought,
        spec=spec,
        findings=findings,
        pulls=tuple(pulls),
        runs=tuple(seen.runs.get(number, ())),
        claims=seen.refs.get(number, ()),
        mirror_ready=thought is not None and policy.mirror.auto_ready,
        rounds=told.rounds,
    )


def _branch_names(issue: IssueFacts, told: Told, seen: _Seen) -> list[str]:
    """Where work on the issue may be, the likeliest first."""
    memory = told.memory
    names = [memory.attempt.branch] if memory is not None and memory.attempt is not None else []
    return names + [name for name, _ in seen.branches.get(issue.key.number, ()) if name not in names]


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


def _mirrored(body: str) -> str | None:
    return next((mark.value for mark in markers.read(body) if mark.kind is MarkerKind.MIRROR), None)
