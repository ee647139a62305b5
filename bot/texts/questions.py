"""What is said about questions of the agent: the question itself, reminders, and what became of an answer.

Promise: readable on a phone, with one line that says how to answer. Words of the agent stand as a quote, defused; the
person who approved the work is addressed, never the author of the issue.
"""

from __future__ import annotations

from bot.domain.notes import Note
from bot.domain.questions import AskedQuestion, from_text
from bot.domain.sanitise import code_span, for_comment, for_inline
from bot.texts.phrases import address, at, plural

Numbered = tuple[int, AskedQuestion]


def asked(note: Note) -> str:
    """A new comment that asks."""
    questions = from_text(note.get("questions"))
    if len(questions) == 1:
        opening = "the agent has a question and waits for your answer."
    else:
        opening = f"the agent has {len(questions)} questions and waits for your answers."
    until = note.get("until")
    patience = "Nothing runs and nothing is used up meanwhile."
    if until:
        patience += f" Reminders end at {at(until)}; an answer counts after that as well."
    return "\n\n".join([address(note.get("approver"), opening), *_blocks(questions), how(questions), patience])


def reminder(note: Note) -> str:
    """Nobody has answered yet."""
    questions = from_text(note.get("questions"))
    since, until = note.get("since"), note.get("until")
    begun = f" since {at(since)}" if since else ""
    end = f" Reminders end at {at(until)}." if until else ""
    other = f" Also waiting for you: {note.get('others')}." if note.get("others") else ""
    opening = f"the agent waits for {plural(len(questions), 'answer')}{begun}.{end}{other}"
    return "\n\n".join([address(note.get("approver"), opening), *_blocks(questions), how(questions)])


def unclear(note: Note) -> str:
    """Words that are no answer that could be read."""
    questions = from_text(note.get("questions"))
    which = "the question" if len(questions) == 1 else "the questions"
    opening = f"I could not read that as an answer to {which} of the agent. If it was none, all is well."
    return "\n\n".join([address(note.get("actor"), opening), *_blocks(questions), how(questions)])


def taken(note: Note) -> str:
    """An answer counts."""
    answers = note.get("answers").split("\x1f")
    lines = [
        f"- question {number}: {code_span(answer, 300)}"
        for (number, _), answer in zip(from_text(note.get("taken")), answers, strict=False)
    ]
    left = note.get("open")
    if left:
        follows = f"Still open: {'question' if ',' not in left else 'questions'} {for_inline(left)}."
    else:
        follows = "The agent goes on with it, before new work of the same priority."
    return "\n\n".join([address(note.get("actor"), "thank you, I understood:"), "\n".join(lines), follows])


def late(note: Note) -> str:
    """An answer, or a change of one, that nobody waits for any more."""
    number = for_inline(note.get("questions"))
    which = f"question {number}" if "," not in number else f"questions {number}"
    known = f" with the answer {code_span(note.get('answer'), 200)}" if note.get("answer") else ""
    return address(
        note.get("actor"),
        f"this comes too late: the agent works on {which}{known} already. `/tgs stop` ends that; "
        "`/tgs retry <notes>` then tells the next attempt.",
    )


def how(questions: tuple[Numbered, ...]) -> str:
    """How to answer, in one line."""
    if len(questions) == 1:
        number, question = questions[0]
        if not question.choices:
            return f"**Answer** in a comment of your own words, best as `{number}: your words`."
        example = "2" if len(question.choices) > 1 else "1"
        also = ", or several as `1, 2`" if question.several else ""
        own = f"or in your own words after the question's number: `{number}: your words`"
        return f"**Answer** with a number in a comment, such as `{example}`{also}, {own}."
    example = " and ".join(
        f"`{number}: {'a' if question.choices else 'your words'}`" for number, question in questions[:2]
    )
    return f"**Answer** with a line for each in a comment, such as {example}."


def _blocks(questions: tuple[Numbered, ...]) -> list[str]:
    return [_block(number, question, alone=len(questions) == 1) for number, question in questions]


def _block(number: int, question: AskedQuestion, *, alone: bool) -> str:
    title = f"**Question {number}**"
    if question.header.strip():
        title += f" · {for_inline(question.header, 60)}"
    quoted = "\n".join(f"> {line}".rstrip() for line in for_comment(question.text, 4_000).split("\n"))
    parts = [title, quoted]
    if question.choices:
        parts.append("\n".join(_choice(index, question, alone=alone) for index in range(len(question.choices))))
    return "\n\n".join(parts)


def _choice(index: int, question: AskedQuestion, *, alone: bool) -> str:
    choice = question.choices[index]
    mark = f"{index + 1}." if alone else f"- **{chr(ord('a') + index)}**:"
    meaning = f" – {for_inline(choice.description, 600)}" if choice.description.strip() else ""
    suggested = " *(the agent's suggestion)*" if choice.label == question.default else ""
    return f"{mark} {for_inline(choice.label, 200)}{meaning}{suggested}"
