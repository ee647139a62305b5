"""The start job: proves which run this is, activates its claim, and passes on what the agent's job needs.

Promise: what is passed on is no credential but a code that is good for one exchange; job outputs may be read by anyone
who may read the log. A run that nobody asked for, and for which nothing is to do, ends well with empty outputs.
"""

from __future__ import annotations

import re
from typing import Final

from bot.errors import LostClaim, UserError
from bot.worker.api import Activation, Api, Bearer
from bot.worker.outputs import Outputs

_CLAIM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ISSUE: Final = re.compile(r"[1-9][0-9]{0,9}\Z")


async def start(
    claim_id: str, issue: str, publish_only: str, api: Api, bearer: Bearer, outputs: Outputs
) -> Activation | None:
    """Activates the claim. The inputs are as the workflow gives them: texts, empty when absent.

    Whether the work is done already is for the bot to say; a run that was started only to publish never lets an agent
    work. Returns None when there is nothing to do. Raises UserError for malformed inputs, LostClaim and the API's
    errors.
    """
    if claim_id and _CLAIM.match(claim_id) is None:
        raise UserError("The input claim_id is malformed.", "Leave it empty when you start the workflow yourself.")
    if issue and _ISSUE.match(issue) is None:
        raise UserError("The input issue is not a number.", "Give the issue's number, without #.")
    activation = await api.activate(bearer, claim_id or None, int(issue) if issue else None)
    if activation is None:
        return None
    if publish_only == "true" and not activation.publish_only:
        raise LostClaim("this run was started to publish, and there is nothing to publish any more")
    outputs.write("attempt", activation.attempt)
    outputs.write("fence", str(activation.fence))
    outputs.write("issue", str(activation.issue))
    if activation.publish_only:
        outputs.write("publish_only", "true")
        outputs.write("bundle_digest", activation.bundle_digest or "")
    else:
        outputs.write("handoff", activation.handoff.get_secret_value())
    return activation
