"""What the core needs from the world, as Protocols: clock and ids, the ledger, GitHub."""
