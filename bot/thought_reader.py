"""Reads thoughts from GitHub: the folders of one commit, and the front matter of their plans.

Promise: only what is committed counts, read by SHA; a plan is fetched once per content and remembered in the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.domain.artifacts import read_plan
from bot.domain.mirror import ThoughtText
from bot.domain.model import RepoKey
from bot.domain.thoughts import THOUGHTS_DIR, Thought
from bot.protocols.github import GitHub, Tree, TreeEntry
from bot.protocols.ledger import Store


class ThoughtReader:
    """The thoughts of a repository as GitHub has them."""

    def __init__(self, github: GitHub, store: Store) -> None:
        self._github = github
        self._store = store

    async def tree(self, key: RepoKey, head: str) -> list[TreeEntry]:
        """All entries below `tgs/thoughts`, in one read unless GitHub cuts it."""
        tree = await self._github.tree(key, head, THOUGHTS_DIR, recursive=True)
        if tree is None:
            return []
        if not tree.truncated:
            return list(tree.entries)
        return await self._walk(key, head, tree)

    async def _walk(self, key: RepoKey, head: str, tree: Tree) -> list[TreeEntry]:
        """Folder by folder, when the recursive answer was cut."""
        top = await self._github.tree(key, head, THOUGHTS_DIR, recursive=False)
        found: list[TreeEntry] = []
        for folder in top.entries if top is not None else ():
            found.append(folder)
            if folder.type != "tree":
                continue
            inner = await self._github.tree(key, head, f"{THOUGHTS_DIR}/{folder.path}", recursive=False)
            entries = inner.entries if inner is not None else ()
            found.extend(replace(entry, path=f"{folder.path}/{entry.path}") for entry in entries)
        return found

    async def read(
        self, key: RepoKey, thoughts: Sequence[Thought], wanted: frozenset[str], *, whole: bool = False
    ) -> list[ThoughtText]:
        """The thoughts with the front matter that is known; plans in `wanted` are fetched if they are new.

        `whole`: there are no others, so what is remembered of plans as they once were is forgotten.
        """
        known = await self._store.read(lambda tx: tx.thought_blobs(key))
        gone = known.keys() - {thought.plan_sha for thought in thoughts} if whole else ()
        if gone:
            await self._store.write(lambda tx: tx.drop_thought_blobs(key, gone))
        texts: list[ThoughtText] = []
        for thought in thoughts:
            text = known.get(thought.plan_sha)
            if text is None and thought.dir in wanted:
                text = (await self._github.blob(key, thought.plan_sha)).decode("utf-8", "replace")
                await self._keep(key, thought.plan_sha, text)
            texts.append(ThoughtText(thought, None if text is None else read_plan(text, thought.plan_path)))
        return texts

    async def _keep(self, key: RepoKey, sha: str, text: str) -> None:
        await self._store.write(lambda tx: tx.put_thought_blob(key, sha, text))
