"""What one attempt used of a model: what its own run counted, never cumulative over the attempts of an item."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Turns, tokens by how they are priced, and money in millionths of a US dollar; what nobody counted is 0.

    `model` is the one that did most of the work, as the provider names it.
    """

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_microusd: int = 0
    model: str = ""

    def __add__(self, other: Usage) -> Usage:
        """Two runs of one attempt together; the model is that of the later one, if it names any."""
        return Usage(
            self.turns + other.turns,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cost_microusd + other.cost_microusd,
            other.model or self.model,
        )
