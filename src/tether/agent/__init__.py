"""The hotel domain: books in SQLite, tools over them, and conversations in which rooms are really booked."""

from tether.agent.dialogues import SYSTEM_PROMPT, generate, system_prompt, tool_schemas

__all__ = ["SYSTEM_PROMPT", "generate", "system_prompt", "tool_schemas"]
