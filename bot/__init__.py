"""The TGS bot: works a repository's issue backlog with Claude Code, under the maintainers' control."""
