"""What people do in a history: they file, label, command, edit, close, push, review and merge, mostly sensibly.

They see GitHub only. What they do is chosen by the seed; each act names who does it, so that some of it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from bot.domain.facts import RunStatus
from bot.domain.model import Person, Role
from bot.simulate.hub import Hub
from bot.simulate.process import Down
from bot.simulate.responses import NEEDS_PEOPLE, Responses
from bot.simulate.things import BOT, KEY, MAIN, MARIA, OWNER, RITA, TOM, ModelComment, ModelIssue
from bot.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from bot.simulate.replica import Replica

COMMANDS = (
    "/tgs start", "/tgs start", "/tgs stop", "/tgs stop --now", "/tgs retry", "/tgs retry", "/tgs retry --fresh",
    "/tgs hold", "/tgs unhold", "/tgs unhold", "/tgs pause lunch", "/tgs resume", "/tgs priority high",
    "/tgs approve", "/tgs approve", "/tgs reject too vague", "/tgs merge", "/tgs merge", "/tgs why", "/tgs status",
    "/tgs next", "/tgs help", "/tgs lock src/", "/tgs unlock src/", "/tgs strat", "/tgs policy", "/tgs sync",
    "Thanks!\n/tgs why\n/tgs priority low", "> /tgs stop\n\nquoted only",
)  # fmt: skip
"""What people write. Most of it is refused somewhere, and must be answered there."""

THOUGHTS = "tgs/thoughts/"
START = "/tgs start"
UNHOLD = "/tgs unhold"
SYNC = "/tgs sync"
"""What lets an item go on whose fuse has blown."""

HASTY = 0.1
"""How often somebody takes the label off again at once, or takes the item themselves: while the bot claims it, now and
then."""

BLOCK = "```yaml tgs\nlocks: [src/]\n```\n"


class People:
    """Does one thing after the other. `commands` are the comments that must be answered."""

    def __init__(
        self,
        hub: Hub,
        rng: Random,
        receiver: Callable[[], Replica | None],
        session: Callable[[Person, int], None],
        *,
        plans: bool,
        alone: Callable[[Person, int], None] | None = None,
    ) -> None:
        """`alone` lets somebody work without the bot, where claims are to be seen on GitHub."""
        self._hub = hub
        self._rng = rng
        self._receiver = receiver
        self._session = session
        self._alone = alone
        self._with_plans = plans
        self._watches = rng.random() < 0.5
        self._count = 0
        self.commands: list[ModelComment] = []
        self._responses = Responses(hub, rng, self.command, session)
        self.ordered: list[tuple[Person, int, str, str]] = []
        self._acts: list[tuple[int, Callable[[], None]]] = [
            (8, self._label_ready), (2, self._unlabel_ready), (2, self._hold), (1, self._no_agent),
            (1, self._priority), (10, self._command), (2, self._edit), (2, self._close), (1, self._wrong_label),
            (6, self._ci), (4, self._merge), (1, self._close_pull), (1, self._push_to_pull), (2, self._end_run),
            (1, self._edit_command), (1, self._delete_status), (1, self._demote), (1, self._delete_issue),
            (2, self._take_session), (2, self._open), (2, self._order), (5 if plans else 0, self._plan),
            (1, self._reopen), (1, self._rewrite_policy), (3, self._answer), (24, self._respond),
            (8 if alone is not None else 0, self._work_alone),
        ]  # fmt: skip

    def acts(self) -> None:
        """One person does one thing."""
        weights = [weight for weight, _ in self._acts]
        self._rng.choices([act for _, act in self._acts], weights)[0]()

    # --- choosing

    def _issue(self) -> ModelIssue | None:
        there = [i for i in self._hub.issues.values() if not i.deleted and i.number not in self._hub.pulls]
        own = [issue for issue in there if issue.now.author.id != BOT.id or "tgs:" in " ".join(issue.now.labels)]
        return self._rng.choice(own) if own else None

    def _somebody(self) -> Person:
        return self._rng.choices([MARIA, OWNER, TOM, RITA], [8, 2, 2, 2])[0]

    def _writer(self) -> Person:
        return self._rng.choice([MARIA, OWNER])

    def _pull(self) -> int | None:
        there = [number for number, pull in self._hub.pulls.items() if pull.now.open]
        return self._rng.choice(there) if there else None

    # --- acts

    def _open(self) -> None:
        self.opens()

    def opens(self, *, ready: bool | None = None) -> ModelIssue:
        """Somebody files an issue, perhaps with the label on it."""
        self._count += 1
        body = f"It should do the thing number {self._count}.\n"
        if self._rng.random() < 0.3:
            body += BLOCK
        if self._rng.random() < 0.1 and self._hub.issues:
            body += f"```yaml tgs\ndepends_on: [{self._rng.choice(sorted(self._hub.issues))}]\n```\n"
        by = self._rng.choice([MARIA, MARIA, RITA])
        issue = self._hub.open_issue(f"Thing {self._count}", body, by)
        if ready or (ready is None and self._rng.random() < 0.5):
            self._hub.add_labels(issue.number, ["tgs:ready"], MARIA)
            chance, loop = self._rng.random(), asyncio.get_running_loop()
            if chance < HASTY:
                loop.call_later(self._rng.uniform(0.5, 6.0), self._thinks_again, issue)
            elif chance < 2 * HASTY:
                loop.call_later(self._rng.uniform(1.0, 15.0), self._session, MARIA, issue.number)
        return issue

    def _thinks_again(self, issue: ModelIssue) -> None:
        if not issue.deleted:
            self._hub.remove_label(issue.number, "tgs:ready", MARIA)

    def _label_ready(self) -> None:
        if (issue := self._issue()) is not None:
            self._hub.add_labels(issue.number, ["tgs:ready"], self._somebody())

    def _unlabel_ready(self) -> None:
        if (issue := self._issue()) is not None:
            self._hub.remove_label(issue.number, "tgs:ready", self._somebody())

    def _toggle(self, name: str, by: Person) -> None:
        issue = self._issue()
        if issue is not None and not self._hub.remove_label(issue.number, name, by):
            self._hub.add_labels(issue.number, [name], by)

    def _hold(self) -> None:
        self._toggle("tgs:hold", self._rng.choice([MARIA, TOM]))

    def _no_agent(self) -> None:
        self._toggle("tgs:no-agent", MARIA)

    def _priority(self) -> None:
        self._toggle(self._rng.choice(["tgs:priority/high", "tgs:priority/low"]), self._somebody())

    def _wrong_label(self) -> None:
        self._toggle(self._rng.choice(["tgs:done", "tgs:in-progress", "tgs:proposed", "bug"]), self._somebody())

    def _command(self) -> None:
        text = self._rng.choice(COMMANDS)
        pull = self._pull()
        if pull is not None and self._rng.random() < 0.2:
            self.command(pull, text, self._somebody())
        elif (issue := self._issue()) is not None:
            if self._rng.random() < 0.08:
                text = f"/tgs depends #{self._rng.choice(sorted(self._hub.issues))}"
            self.command(issue.number, text, self._somebody())

    def command(self, number: int, text: str, by: Person) -> ModelComment:
        """A comment that may hold commands."""
        made = self._hub.comment(number, text, by)
        if any(line.startswith("/tgs") for line in text.splitlines()):
            self.commands.append(made)
        return made

    def _order(self) -> None:
        """A command over the API."""
        issue = self._issue()
        if issue is not None:
            line = self._rng.choice(["start", "stop", "retry", "hold", "unhold", "priority 7", "why"])
            self._count += 1
            self._hub.log(MARIA.login, f"orders over the API: {line} on #{issue.number}")
            asyncio.get_running_loop().create_task(self._ordering(issue.number, line, f"request-{self._count}"))

    async def _ordering(self, number: int, line: str, request: str) -> None:
        person, key = self._writer(), self._hub.key(number)
        for _ in range(3):
            receiver = self._receiver()
            try:
                if receiver is not None:
                    await receiver.process.answer(
                        lambda one=receiver: _known(one, person, key, line, request)  # type: ignore[misc]
                    )
                    self.ordered.append((person, number, line, request))
                    return
            except (Down, StoreUnavailable):
                pass
            await asyncio.sleep(5)

    def _answer(self) -> None:
        asking = [i for i in self._hub.issues.values() if "tgs:needs-input" in i.now.labels and not i.deleted]
        if asking:
            text = self._rng.choice(["1", "yes", "/tgs answer 1 No", "Hm, what?", "1: no"])
            self.command(self._rng.choice(asking).number, text, self._somebody())

    def _respond(self) -> None:
        rare = [i for i in self._hub.issues.values() if i.now.labels & NEEDS_PEOPLE and not i.deleted]
        issue = self._rng.choice(rare) if rare and self._rng.random() < 0.7 else self._issue()
        if issue is not None:
            self._responses.to(issue)

    def _edit(self) -> None:
        if (issue := self._issue()) is not None and issue.now.author.id != BOT.id:
            by = self._rng.choice([MARIA, RITA] if issue.now.author.id == RITA.id else [MARIA, OWNER])
            self._count += 1
            self._hub.edit_issue(issue.number, by, body=f"{issue.now.body}More {self._count}.\n")

    def _close(self) -> None:
        if (issue := self._issue()) is not None:
            reason = self._rng.choice(["completed", "not_planned"])
            self._hub.set_open(issue.number, self._writer(), open_=False, reason=reason)

    def _reopen(self) -> None:
        if (issue := self._issue()) is not None:
            self._hub.set_open(issue.number, self._writer(), open_=True)

    def _delete_issue(self) -> None:
        if self._rng.random() < 0.3 and (issue := self._issue()) is not None:
            self._hub.delete_issue(issue.number, OWNER)

    def _ci(self) -> None:
        if (pull := self._pull()) is not None:
            state = self._rng.choices(["success", "failure", "pending"], [6, 2, 2])[0]
            self._hub.set_status(self._hub.pulls[pull].now.head_sha, "tests", state)

    def _merge(self) -> None:
        pull = self._pull()
        if pull is not None and not self._hub.pulls[pull].now.draft:
            self._hub.merge(pull, self._writer())

    def _close_pull(self) -> None:
        if (pull := self._pull()) is not None:
            self._hub.close_pull(pull, self._writer())

    def _push_to_pull(self) -> None:
        if (pull := self._pull()) is not None:
            branch = self._hub.pulls[pull].now.head_ref
            self._count += 1
            self._hub.commit(branch, {"by-hand.txt": f"{self._count}"}, MARIA)

    def _end_run(self) -> None:
        alive = [run for run in self._hub.runs.values() if not run.over]
        if alive:
            run = self._rng.choice(alive)
            self._hub.log(MARIA.login, f"cancels the run {run.now.id} in Actions")
            run.cancel(self._rng.random() < 0.5 or run.now.status is RunStatus.QUEUED)

    def _edit_command(self) -> None:
        mine = [c for c in self.commands if not c.deleted and not self._hub.issues[c.number].deleted]
        if mine:
            comment = self._rng.choice(mine[-3:])
            if self._rng.random() < 0.5:
                self._hub.edit_comment(comment, f"{comment.body}\n/tgs hold", comment.author)
            else:
                self._hub.delete_comment(comment, comment.author)
            self.commands.remove(comment)

    def _delete_status(self) -> None:
        there = [
            c
            for c in self._hub.comments.values()
            if c.author.id == BOT.id and "<!-- tgs:status -->" in c.body and not c.deleted
        ]
        there = [c for c in there if not self._hub.issues[c.number].deleted]
        if there:
            self._hub.delete_comment(self._rng.choice(there), MARIA)

    def _demote(self) -> None:
        role = self._rng.choice([Role.READ, Role.WRITE, Role.WRITE])
        self._hub.roles[MARIA.id] = role
        self._hub.log(OWNER.login, f"gives maria the role {role.name.lower()}")

    def _take_session(self) -> None:
        issue = self._issue()
        if issue is not None and "tgs:ready" in issue.now.labels:
            self._session(self._writer(), issue.number)

    def _work_alone(self) -> None:
        waiting = [n for n, issue in self._hub.issues.items() if "tgs:ready" in issue.now.labels and not issue.deleted]
        number = self._rng.choice(waiting) if waiting else self.opens(ready=True).number
        if self._alone is not None:
            self._alone(self._writer(), number)

    def _plan(self) -> None:
        """A plan is pushed, changed, built by hand or removed."""
        main = self._hub.commits[self._hub.branches[MAIN].now or ""]
        folders = sorted({path.rpartition("/")[0] for path in main if path.endswith("/plan.md")})
        kind = self._rng.random()
        self._count += 1
        if not folders or kind < 0.4:
            self.plans()
        elif kind < 0.65:
            folder = self._rng.choice(folders)
            self._hub.commit(MAIN, {f"{folder}/plan.md": f"# Plan, changed {self._count}\n"}, MARIA)
        elif kind < 0.85:
            self._hub.commit(MAIN, {f"{self._rng.choice(folders)}/implementation.md": "# By hand\n"}, MARIA)
        else:
            folder = self._rng.choice(folders)
            self._hub.commit(MAIN, {f"{folder}/plan.md": None, f"{folder}/research.md": None}, MARIA)

    def plans(self) -> None:
        """Somebody pushes a new plan."""
        self._count += 1
        folder = f"tgs/thoughts/{self._count:06x}-plan-{self._count}"
        draft = "---\nstatus: draft\n---\n" if self._rng.random() < 0.2 else ""
        plan = {f"{folder}/research.md": "# Research\n", f"{folder}/plan.md": f"{draft}# Plan {self._count}\n"}
        self._hub.commit(MAIN, plan, MARIA)

    def begins(self) -> None:
        """What a history is about: an issue that is ready, or a plan."""
        if self._watches:
            self._watches = False
            self._responses.watch()
        if self._with_plans and self._rng.random() < 0.6:
            self.plans()
        else:
            self.opens(ready=True)

    def _rewrite_policy(self) -> None:
        main = self._hub.commits[self._hub.branches[MAIN].now or ""]
        text = main.get(".tgs/policy.yml", "")
        self._count += 1
        broken = "attempts: [" if self._rng.random() < 0.3 else ""
        text = f"{text.split('# ', 1)[0]}# {self._count}\n{broken}"
        self._hub.commit(MAIN, {".tgs/policy.yml": text}, OWNER)

    # --- at the end

    def tidy(self, *, brisk: bool = False) -> None:
        """A maintainer comes back: nothing is held, paused or forbidden any more; what is open is merged or closed.

        A brisk one also calls off whatever is still worked on.
        """
        hub = self._hub
        self._responses.over = True
        hub.roles[MARIA.id] = Role.WRITE
        main = hub.commits[hub.branches[MAIN].now or ""]
        policy = main.get(".tgs/policy.yml", "")
        if "attempts: [" in policy:
            hub.commit(MAIN, {".tgs/policy.yml": policy.replace("attempts: [", "")}, OWNER)
        left = {path: None for path in main if path.startswith(THOUGHTS) and not _has_plan(path, main)}
        if left:
            # What a plan left behind is no plan, and the bot says so.
            hub.commit(MAIN, left, OWNER)
        for number in sorted(hub.pulls):
            pull = hub.pulls[number].now
            if pull.open and self._rng.random() < 0.8:
                hub.merge(number, OWNER)
            elif pull.open:
                hub.close_pull(number, OWNER)
        first: int | None = None
        for number, issue in sorted(hub.issues.items()):
            if issue.deleted or number in hub.pulls:
                continue
            first = number if first is None else first
            for name in ("tgs:hold", "tgs:no-agent"):
                hub.remove_label(number, name, OWNER)
            if issue.now.open and issue.now.labels & {
                "tgs:ready",
                "tgs:in-progress",
                "tgs:needs-input",
                "tgs:in-review",
            }:
                self.command(number, "/tgs stop --now" if brisk else UNHOLD, OWNER)
        if first is not None:
            self.command(first, "/tgs resume", OWNER)

    def reviews(self) -> None:
        """Whatever has come up for review since is merged, and what is asked is answered."""
        for number, issue in sorted(self._hub.issues.items()):
            if "tgs:needs-input" in issue.now.labels and issue.now.open and not issue.deleted:
                self._hub.comment(number, "\n".join(f"{ordinal}: Yes" for ordinal in range(1, 13)), OWNER)
        for number, issue in sorted(self._hub.issues.items()):
            if issue.now.open and not issue.deleted and _stopped_itself(issue):
                self.command(number, SYNC, OWNER)
            if issue.now.open and not issue.deleted and _wants_approval(issue):
                self.command(number, START, OWNER)
            if issue.now.open and not issue.deleted and "It is on hold by" in _status(issue):
                self.command(number, UNHOLD, OWNER)
        for number in sorted(self._hub.pulls):
            if self._hub.pulls[number].now.open:
                self._hub.merge(number, OWNER)


def _stopped_itself(issue: ModelIssue) -> bool:
    """The bot has said that it stopped, and which command lets it go on; nobody has used it since."""
    told = [c.id for c in issue.comments if c.author.id == BOT.id and ":fuse:" in c.body and SYNC in c.body]
    used = [c.id for c in issue.comments if c.author.id != BOT.id and c.body == SYNC]
    return bool(told) and max(told) > max(used, default=0)


def _wants_approval(issue: ModelIssue) -> bool:
    """The bot says that whoever approved it may not, and which command of somebody who may lets it go on."""
    return "may not start work any more" in _status(issue) and not any(c.body == START for c in issue.comments)


def _status(issue: ModelIssue) -> str:
    return next((c.body for c in issue.comments if c.author.id == BOT.id and "<!-- tgs:status -->" in c.body), "")


def _has_plan(path: str, main: Mapping[str, str]) -> bool:
    folder = path.rpartition("/")[0]
    return f"{folder}/plan.md" in main and f"{folder}/research.md" in main


async def _known(bot: Replica, person: Person, key: Any, line: str, request: str) -> None:
    if await bot.store.read(lambda tx: tx.repo(KEY)) is None:
        raise Down("not served yet")
    await bot.engine.commands.order(person, key, line, request=request)


Session = Callable[[Person, int], Coroutine[Any, Any, None]]
