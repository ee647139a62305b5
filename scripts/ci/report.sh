#!/bin/sh
# Tells the bot that a check of a commit finished, so that it looks at once instead of at its next turn.
#
#   scripts/ci/report.sh success|failure
#
# TGS_API_BASE       address of the bot; without it nothing is sent, and that is no error
# TGS_API_TOKEN      a GitHub token or worker token, sent as bearer (optional)
# TGS_WEBHOOK_TOKEN  the repository's CI token, with which the report is signed (optional; one of the two is needed)
# TGS_PROJECT_TOKEN  the same token, sent as X-Project-Token, where nothing can be signed (optional)
#
# Repository, commit and branch come from the variables of GitHub Actions or GitLab CI. The report wakes the bot only:
# what counts is what GitHub shows. A report that cannot be delivered does not fail the job; a wrong call does.
set -eu

case "${1:-}" in
success | failure) ;;
*)
    echo "usage: $0 success|failure" >&2
    exit 2
    ;;
esac
if [ -z "${TGS_API_BASE:-}" ]; then
    echo "TGS_API_BASE is not set; nothing was reported."
    exit 0
fi

# Python reads the tokens from the environment: an argument would show them to every process on the machine.
exec python3 -I - "$1" <<'PYTHON'
import hashlib
import hmac
import json
import os
import sys
import urllib.error
import urllib.request

env = os.environ.get
state, url = sys.argv[1], env("TGS_API_BASE", "").rstrip("/") + "/api/v1/ci/report"
if not url.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
    sys.exit("TGS_API_BASE must begin with https://")
if env("CI_PROJECT_PATH"):
    data = {
        "object_kind": "pipeline",
        "project": {"path_with_namespace": env("CI_PROJECT_PATH")},
        "object_attributes": {
            "sha": env("CI_COMMIT_SHA"),
            "ref": env("CI_COMMIT_BRANCH") or env("CI_COMMIT_REF_NAME"),
            "status": "success" if state == "success" else "failed",
        },
    }
else:
    branch = env("GITHUB_HEAD_REF") or env("GITHUB_REF_NAME")
    data = {
        "repository": {"full_name": env("GITHUB_REPOSITORY")},
        "sha": env("GITHUB_SHA"),
        "branches": [{"name": branch}] if branch else [],
        "state": state,
        "context": env("GITHUB_JOB") or "ci",
    }
body = json.dumps(data).encode()
headers = {"Content-Type": "application/json"}
if env("TGS_API_TOKEN"):
    headers["Authorization"] = "Bearer " + env("TGS_API_TOKEN")
if env("TGS_WEBHOOK_TOKEN"):
    digest = hmac.new(env("TGS_WEBHOOK_TOKEN").encode(), body, hashlib.sha256).hexdigest()
    headers["X-Tgs-Signature-256"] = "sha256=" + digest
if env("TGS_PROJECT_TOKEN"):
    headers["X-Project-Token"] = env("TGS_PROJECT_TOKEN")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The tokens go to the address that was configured and nowhere else."""

    def redirect_request(self, *_):
        return None


try:
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.build_opener(NoRedirect).open(request, timeout=20) as answer:
        print(f"Reported {state}: {answer.status}.")
except urllib.error.HTTPError as error:
    print(f"The bot did not take the report: {error.code} {error.read(500).decode(errors='replace')}", file=sys.stderr)
except OSError as error:
    print(f"The bot cannot be reached: {error}", file=sys.stderr)
PYTHON
