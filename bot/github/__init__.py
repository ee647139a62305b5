"""The client of GitHub and the verbs of the domain on it; the only package that knows gidgethub.

`gateway.py` is the door. Below it: `gateway_*.py` (verbs by subject), `base.py` (names, sending, paging), `clients.py`
(one client per installation), `client.py` (the one path of every request), `limits.py`, `auth.py`, `answers.py`.
"""
