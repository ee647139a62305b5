"""The demo repository: a small Python project with tests, CI, plans and the scripts of the scripted agent."""

from __future__ import annotations

from textwrap import dedent

CI = """\
name: ci
on:
  push:
    branches-ignore: [main]
jobs:
  tests:
    name: tests
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - run: python3 -m unittest discover -s tests
"""

POLICY = """\
# Settings of the TGS bot for this repository; `tgs init` writes this file with every setting explained.
mirror:
  auto_ready: true
max_parallel: 2
agent:
  adapter: scripted
  command: [demo/issue-script.yml]
  timeout_minutes: 10
# The demo runs everything as one user on one machine when it cannot make another one.
allow_unisolated: true
"""

FILES = {
    "README.md": "# Greeter\n\nSays hello in several ways. The project of the TGS bot's demo.\n",
    ".gitignore": "__pycache__/\n",
    "greeter/__init__.py": '"""Says hello."""\n',
    "greeter/words.py": dedent(
        '''\
        """Words of greeting."""


        def hello(name: str) -> str:
            return f"Hello, {name}!"
        '''
    ),
    "tests/__init__.py": "",
    "tests/test_words.py": dedent(
        """\
        import unittest

        from greeter.words import hello


        class HelloTest(unittest.TestCase):
            def test_names_the_person(self) -> None:
                self.assertEqual(hello("Ada"), "Hello, Ada!")
        """
    ),
    ".github/workflows/ci.yml": CI,
    ".tgs/policy.yml": POLICY,
    # What the scripted agent does for an issue that has no plan of its own.
    "demo/issue-script.yml": dedent(
        """\
        summary: Wrote the contributing guide.
        steps:
          - progress: {step: 1, total: 3, text: reading the issue}
          # Nothing in the repository says it, so the agent asks; its run ends until somebody has answered.
          - ask:
              - id: greeting
                header: Greeting
                text: How shall the guide greet new people?
                choices:
                  - {label: Hello, description: as the code does}
                  - {label: Welcome aboard, description: a little warmer}
                default: Hello
          - progress: {step: 2, total: 3, text: writing CONTRIBUTING.md}
          - write:
              path: CONTRIBUTING.md
              content: |
                # Contributing

                {{answer:greeting}}! Run `python3 -m unittest discover -s tests` before you push.
          - progress: {step: 3, total: 3, text: committing}
          - commit: Add a contributing guide
        """
    ),
}
"""The files that everything else builds on."""

ISSUE_TITLE = "Write a contributing guide"
ISSUE_BODY = """\
New people ask how to run the tests. Please add a CONTRIBUTING.md that says it.

```yaml tgs
type: docs
```
"""


def _function(name: str, greeting: str) -> str:
    return f'\n\ndef {name}(name: str) -> str:\n    return f"{greeting}, {{name}}!"\n'


def _test(name: str, greeting: str) -> str:
    return dedent(
        f"""\
        import unittest

        from greeter.words import {name}


        class {name.title()}Test(unittest.TestCase):
            def test_names_the_person(self) -> None:
                self.assertEqual({name}("Ada"), "{greeting}, Ada!")
        """
    )


def thought(
    hash_: str,
    slug: str,
    *,
    front: str,
    plan: str,
    steps: str,
    summary: str,
) -> dict[str, str]:
    """The files of one plan folder. `steps` is the YAML list of what the scripted agent does."""
    folder = f"tgs/thoughts/{hash_}-{slug}"
    return {
        f"{folder}/research.md": f"# Research\n\nWhat is there: `greeter/words.py` and its tests.\n\n{plan}\n",
        f"{folder}/plan.md": f"---\n{front.strip()}\n---\n\n# Plan\n\n{plan}\n",
        f"{folder}/script.yml": f"summary: {summary}\nsteps:\n{steps}",
    }


def _greeting_steps(folder: str, name: str, greeting: str) -> str:
    """Add a greeting to the shared module, with its test and the note that it is built."""
    said = f"Added `{name}` to `greeter/words.py`, with a test that greets somebody."
    module = _function(name, greeting).replace("\n", "\\n").replace('"', '\\"')
    test = _test(name, greeting).replace("\n", "\\n").replace('"', '\\"')
    return dedent(
        f"""\
        - progress: {{step: 1, total: 3, text: reading the plan}}
        - append: {{path: greeter/words.py, content: "{module}"}}
        - write: {{path: tests/test_{name}.py, content: "{test}"}}
        - progress: {{step: 2, total: 3, text: running the tests}}
        - run: python3 -m unittest discover -s tests
        - write: {{path: {folder}/implementation.md, content: "# Built\\n\\n{said}\\n"}}
        - progress: {{step: 3, total: 3, text: committing}}
        - commit: Add {name}
        """
    )


def greeting(hash_: str, name: str, words: str, *, front: str = "") -> dict[str, str]:
    """A plan that adds one greeting to the shared module; it locks that module."""
    slug = f"add-{name}"
    folder = f"tgs/thoughts/{hash_}-{slug}"
    matter = f"title: Add the greeting {name}\nlocks: [greeter/words.py]\n{front}"
    return thought(
        hash_,
        slug,
        front=matter,
        plan=f"Add `{name}(name)` to `greeter/words.py`; it says “{words}”. Add a test.",
        steps=_greeting_steps(folder, name, words),
        summary=f"Added {name} with a test.",
    )


def _urgent() -> dict[str, str]:
    folder = "tgs/thoughts/a1b2c3-say-the-version"
    said = "Added `greeter/version.py` with the version of the library, and a test."
    return thought(
        "a1b2c3",
        "say-the-version",
        front="title: Say the version\npriority: high\ntype: feature",
        plan="Add `greeter/version.py` with `VERSION`, and a test.",
        summary="Added the version with a test.",
        steps=dedent(
            f"""\
            - progress: {{step: 1, total: 2, text: writing greeter/version.py}}
            - write: {{path: greeter/version.py, content: "VERSION = \\"1.0\\"\\n"}}
            - write:
                path: tests/test_version.py
                content: |
                  import unittest

                  from greeter.version import VERSION


                  class VersionTest(unittest.TestCase):
                      def test_is_a_number(self) -> None:
                          self.assertEqual(VERSION, "1.0")
            - run: python3 -m unittest discover -s tests
            - write: {{path: {folder}/implementation.md, content: "# Built\\n\\n{said}\\n"}}
            - progress: {{step: 2, total: 2, text: committing}}
            - commit: Add the version
            """
        ),
    )


def _forgetful() -> dict[str, str]:
    folder = "tgs/thoughts/d4e5f6-explain-the-words"
    said = "Wrote down what each greeting is for, in `docs/words.md`."
    return thought(
        "d4e5f6",
        "explain-the-words",
        front="title: Explain the words\ntype: docs",
        plan="Add `docs/words.md` that explains each greeting.",
        summary="Explained the words.",
        steps=dedent(
            f"""\
            - progress: {{step: 1, total: 2, text: writing docs/words.md}}
            - write: {{path: docs/words.md, content: "# Words\\n\\n`hello` greets a person by name.\\n"}}
            # The first time the agent forgets to say that the plan is built, and the worker's gate notices.
            - write: {{path: {folder}/implementation.md, content: "# Built\\n\\n{said}\\n"}}
              on_attempts: [2, 3]
            - progress: {{step: 2, total: 2, text: committing}}
            - commit: Explain the words
            """
        ),
    )


def _draft() -> dict[str, str]:
    return thought(
        "0f0f0f",
        "translate-everything",
        front="title: Translate everything\nstatus: draft",
        plan="Perhaps: translations. Not decided yet.",
        summary="Nothing.",
        # For whoever approves it while the demo serves on.
        steps='- fail: {reason: agent.gave_up, detail: "The plan does not say into which languages."}\n',
    )


def thoughts() -> dict[str, str]:
    """The five plans: one urgent, two on one path, one whose first attempt fails the gate, one draft."""
    return (
        _urgent()
        | greeting("b2c3d4", "goodbye", "Goodbye")
        | greeting("c3d4e5", "welcome", "Welcome")
        | _forgetful()
        | _draft()
    )


ANOTHER_PLAN = "demo/another-plan"
"""A plan that is not yet one: whoever watches copies it to `ANOTHER_FOLDER` and pushes."""

_ANOTHER_HASH, _ANOTHER_NAME = "e5f6a7", "cheer"
ANOTHER_FOLDER = f"tgs/thoughts/{_ANOTHER_HASH}-add-{_ANOTHER_NAME}"


def project() -> dict[str, str]:
    """The repository before the App is installed (the bot's workflow is added by the caller)."""
    another = greeting(_ANOTHER_HASH, _ANOTHER_NAME, "Three cheers")
    return FILES | {path.replace(ANOTHER_FOLDER, ANOTHER_PLAN, 1): text for path, text in another.items()}
