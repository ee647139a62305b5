#!/usr/bin/env bash
# Resolves the locks anew from pyproject.toml: exact versions with hashes, no index named.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() {
  uv pip compile pyproject.toml --group build "$@" --universal --python-version 3.11 \
    --generate-hashes --no-header --no-emit-index-url --no-annotate --quiet
}
# The server's lock has the driver of the other database too; workers install the wheel without it.
lock --extra postgresql -o requirements/runtime.lock
lock --extra postgresql --group dev -c requirements/runtime.lock -o requirements/dev.lock
# What the tests of the real agent need on top: never in the image.
lock --extra postgresql --extra claude --group dev -c requirements/dev.lock -o requirements/agent.lock
# What installs them.
uv pip compile --group pyproject.toml:install --universal --python-version 3.11 \
  --generate-hashes --no-header --no-emit-index-url --no-annotate --quiet -o requirements/uv.lock
