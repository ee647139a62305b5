#!/bin/sh
# Installs into a virtual environment: install.sh <environment> <what `pip install` would be told>.
#
# uv needs seconds where pip needs half a minute, so it comes first. It has no wheel for rare machines and does not read
# pip's settings (a mirror that only they name): then pip installs. Hashes are required either way.
set -eu
environment=$1
shift
uv=$environment/bin/uv
if [ ! -e "$uv" ]; then
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
    --requirement requirements/uv.lock || true
fi
if [ -x "$uv" ] && "$uv" pip install --quiet --link-mode copy --compile-bytecode --python "$environment/bin/python" "$@"; then
  exit
fi
echo "uv could not install this, so pip does (slower)." >&2
exec "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
