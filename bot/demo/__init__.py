"""The demo: the whole loop on a local GitHub, on real HTTP, git, processes and a database."""
