#!/usr/bin/env python3
"""Fetches GitHub's own descriptions anew and trims them to what the tests check against.

Writes `tests/contract/data/openapi.json.gz` (from the npm package `@octokit/openapi`) and
`tests/corpus/webhooks/*.json` (from `@octokit/webhooks-examples`), both MIT, with their notices. Needs npm and its
registry; nothing else in the project does. Re-record the golden intake afterwards: `scripts/record_intake.py`.

Usage: scripts/update_openapi.py [folder of an existing node_modules]
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OPENAPI = "@octokit/openapi@23.0.2"
EXAMPLES = "@octokit/webhooks-examples@7.6.1"

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "contract" / "data"
CORPUS = ROOT / "tests" / "corpus" / "webhooks"

REPO = r"/repos/\{owner\}/\{repo\}"
KEPT_PATHS = re.compile(
    "|".join(
        (
            r"/app(/.*)?",
            r"/installation/.*",
            r"/rate_limit",
            r"/meta",
            r"/user",
            r"/users/\{username\}",
            r"/users/\{username\}/installation",
            r"/search/issues",
            REPO,
            REPO + r"/installation",
            REPO
            + r"/(issues|labels|assignees|pulls|git|contents|check-runs|check-suites|statuses|merges|dispatches)(/.*)?",
            REPO + r"/commits(/.*)?",
            REPO + r"/compare/.*",
            REPO + r"/branches",
            REPO + r"/branches/\{branch\}(/protection)?",
            REPO + r"/rules/branches/\{branch\}",
            REPO + r"/rulesets",
            REPO + r"/collaborators(/.*)?",
            REPO + r"/environments(/\{environment_name\})?",
            REPO + r"/comments(/.*)?",
            REPO + r"/actions/(artifacts|jobs|runs|workflows)(/.*)?",
            REPO + r"/actions/permissions(/workflow|/selected-actions)?",
        )
    )
)
DROPPED_PATHS = re.compile(r".*/(billing|code-scanning|codeql|attestations|sub_issues/priority|timing)(/.*)?")

KEPT_WEBHOOKS = re.compile(
    r"(check-run|check-suite|installation|installation-repositories|installation-target|issue-comment|issues|label|"
    r"ping|pull-request|pull-request-review|push|repository|status|workflow-job|workflow-run)"
    r"(-(added|archived|assigned|auto-merge-disabled|auto-merge-enabled|closed|completed|converted-to-draft|created|"
    r"deleted|dismissed|edited|in-progress|labeled|locked|new-permissions-accepted|opened|privatized|publicized|"
    r"queued|ready-for-review|removed|renamed|reopened|requested|requested-action|rerequested|review-requested|"
    r"submitted|suspend|synchronize|transferred|unarchived|unassigned|unlabeled|unlocked|unsuspend|waiting))?"
)

PROSE = frozenset(
    {"discriminator", "description", "title", "summary", "example", "examples", "externalDocs", "deprecated"}
)
"""Schema keywords that say nothing to a validator. A property may be called the same and is kept."""

NOTICE = """# Notice

{what}

MIT License. Copyright (c) {year} Octokit contributors

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice (including the next paragraph) shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def bare_schema(node: Any, *, names: bool = False) -> Any:
    """A schema without prose. `names` is True where the keys are names of properties, not keywords."""
    if isinstance(node, list):
        return [bare_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if not names and (key in PROSE or key.startswith("x-")):
            continue
        if not names and key in {"enum", "required", "default", "const"}:
            if key != "default":
                out[key] = value
            continue
        out[key] = bare_schema(value, names=not names and key in {"properties", "patternProperties", "schemas"})
    return out


def bare_content(content: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": bare_schema(media.get("schema", {}))} for kind, media in content.items()}


def bare_operation(operation: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"operationId": operation["operationId"]}
    out["parameters"] = [
        {
            "name": full["name"],
            "in": full["in"],
            "required": full.get("required", False),
            "schema": bare_schema(full.get("schema", {})),
        }
        for full in (resolve(spec, parameter) for parameter in operation.get("parameters", []))
        if full["in"] in {"path", "query"}
    ]
    if "requestBody" in operation:
        body = operation["requestBody"]
        out["requestBody"] = {"required": body.get("required", False), "content": bare_content(body["content"])}
    responses = {}
    for status, response in operation["responses"].items():
        full = resolve(spec, response)
        responses[status] = {"content": bare_content(full.get("content", {}))}
    out["responses"] = responses
    return out


def resolve(spec: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = spec
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*(references(item) for item in node)) if node else set()
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own.union(*(references(value) for value in node.values()))


def trim(spec: dict[str, Any]) -> dict[str, Any]:
    paths = {
        path: {method: bare_operation(operation, spec) for method, operation in sorted(operations.items())}
        for path, operations in sorted(spec["paths"].items())
        if KEPT_PATHS.fullmatch(path) and not DROPPED_PATHS.fullmatch(path)
    }
    webhooks = {
        name: bare_schema(hook["post"]["requestBody"]["content"]["application/json"]["schema"])
        for name, hook in sorted(spec["x-webhooks"].items())
        if KEPT_WEBHOOKS.fullmatch(name)
    }
    schemas: dict[str, Any] = {}
    todo = references(paths) | references(webhooks)
    while todo:
        name = todo.pop().removeprefix("#/components/schemas/")
        if name in schemas:
            continue
        schemas[name] = bare_schema(spec["components"]["schemas"][name])
        todo |= references(schemas[name])
    return {
        "openapi": spec["openapi"],
        "info": {"title": "GitHub REST API, trimmed", "version": spec["info"]["version"], "license": {"name": "MIT"}},
        "paths": paths,
        "x-webhooks": webhooks,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def write_description(modules: Path) -> None:
    source = modules / "@octokit" / "openapi" / "generated" / "api.github.com.json"
    spec = trim(json.loads(source.read_text(encoding="utf-8")))
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).encode()
    DATA.mkdir(parents=True, exist_ok=True)
    # No file name and no time in the header: the same input gives the same bytes.
    (DATA / "openapi.json.gz").write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    what = (
        f"`openapi.json.gz` is a trimmed copy of `api.github.com.json` of the npm package `{OPENAPI}`.\n"
        "Prose, examples and operations that the product does not use were taken out by `scripts/update_openapi.py`."
    )
    (DATA / "NOTICE.md").write_text(NOTICE.format(what=what, year=2020), encoding="utf-8")
    operations = sum(len(methods) for methods in spec["paths"].values())
    print(f"{len(spec['paths'])} paths, {operations} operations, {len(spec['x-webhooks'])} webhooks, {len(text)} bytes")


def write_corpus(modules: Path) -> None:
    source = modules / "@octokit" / "webhooks-examples" / "api.github.com" / "index.json"
    CORPUS.mkdir(parents=True, exist_ok=True)
    for old in CORPUS.glob("*.json"):
        old.unlink()
    count = 0
    for event in json.loads(source.read_text(encoding="utf-8")):
        lines = [json.dumps(example, separators=(",", ":"), ensure_ascii=False) for example in event["examples"]]
        (CORPUS / f"{event['name']}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        count += len(lines)
    what = (
        f"The files here are the recorded webhook payloads of the npm package `{EXAMPLES}` (folder\n"
        "`api.github.com`), one file for each event, one payload a line, otherwise unchanged."
    )
    (CORPUS / "NOTICE.md").write_text(NOTICE.format(what=what, year=2018), encoding="utf-8")
    print(f"{count} payloads")


def main() -> int:
    if len(sys.argv) > 1:
        modules = Path(sys.argv[1])
        write_description(modules)
        write_corpus(modules)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        # No scripts of packages are run, and nothing is left in the project.
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder, OPENAPI, EXAMPLES],
            check=True,
        )
        modules = Path(folder) / "node_modules"
        write_description(modules)
        write_corpus(modules)
    return 0


if __name__ == "__main__":
    sys.exit(main())
