"""The durable keyed queue: what to look at again, one run per key at a time. Imports nothing of ours."""
