"""Chat completions by a tiny local model: what it writes as a tool call goes out as one."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from servers.rows import fault_of_messages
from servers.standin import only, want

if TYPE_CHECKING:
    from tether.inference import LocalModel


class Speaker:
    """Answers in the place of a service's models.

    Args:
        base: Speaks for every base model.
        tuned: Speaks for every fine-tuned one.
    """

    def __init__(self, base: LocalModel, tuned: LocalModel) -> None:
        self.base, self.tuned, self.lock = base, tuned, threading.Lock()

    def completion(self, body: dict[str, Any], longest: str, tuned: bool) -> dict[str, Any]:
        """Check a request strictly and answer it."""
        only(body, {"model", "messages"}, {"tools", "temperature", "seed", longest})
        want(
            body.get("temperature") == 0 and body.get("seed") == 0,
            "temperature and seed must be 0 in a study",
        )
        want(isinstance(body.get(longest), int), f"{longest} must be an integer")
        fault = fault_of_messages(body["messages"], body.get("tools"))
        want(fault is None, str(fault))
        want(body["messages"][-1]["role"] in ("user", "tool"), "the last message must not be the assistant's")
        model = self.tuned if tuned else self.base
        tools = [tool["function"] for tool in body.get("tools", [])]
        with self.lock:
            ids = model.renderer.prompt_ids([_canonical(message) for message in body["messages"]], tools)
            (text,) = model.generate([ids], max_new_tokens=body[longest])
            written = len(model.tokenizer(text)["input_ids"])
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": _wire(text)}],
            "usage": {
                "prompt_tokens": len(ids),
                "completion_tokens": written,
                "total_tokens": len(ids) + written,
            },
        }


def _canonical(message: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in message.get("tool_calls") or []
    ]
    plain = {"role": message["role"], "content": message.get("content") or ""}
    return {**plain, "tool_calls": calls} if calls else plain


def _wire(text: str) -> dict[str, Any]:
    from tether.chatdata.toolcalls import parse_turn

    turn = parse_turn(text)
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for number, call in enumerate(turn.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": turn.content or None, "refusal": None}
    return {**message, "tool_calls": calls} if calls else message
