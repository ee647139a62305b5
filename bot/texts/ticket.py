"""The issue that the bot opens for a person's ticket: their words, their wishes in a visible block, whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bot.domain.model import Person
from bot.domain.sanitise import for_comment
from bot.texts import markers
from bot.texts.phrases import name


def ticket_body(body: str, fields: Mapping[str, object], by: Person, marker: str) -> str:
    """The text of the issue. Fields are written as JSON values, which are YAML as well."""
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    block = ["```yaml tgs", *lines, "```", ""] if lines else []
    words = for_comment(body)
    parts = [*block, *([words, ""] if words.strip() else []), f"A ticket of {name(by.login)}, added through the bot."]
    return markers.stamp("\n".join(parts), marker)
