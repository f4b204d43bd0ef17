"""A stand-in for a model that grades answers: whoever says no has refused, and some grade as they like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from servers.openai import OpenAIServer
from servers.standin import Refusal, Request, only, route, want

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "grader-1"


class Grader(OpenAIServer):
    """Chat completions by one model of a server that is not OpenAI's own.

    Attributes:
        grade: Takes the answer to be judged and the whole question, and gives what the model says.
    """

    def __init__(self, grade: Callable[[str, str], str]) -> None:
        super().__init__()
        self.grade = grade

    @route("POST", "/v1/chat/completions")
    def complete(self, request: Request) -> Any:
        body = request.json()
        only(body, {"model", "messages"}, {"temperature", "seed", "max_completion_tokens"})
        if body["model"] != MODEL:
            raise Refusal(404, f"The model `{body['model']}` does not exist", "model_not_found")
        (message,) = body["messages"]
        question = message["content"]
        found = re.search(r"<answer>\n(.*)\n</answer>", question, re.DOTALL)
        want(found is not None and message["role"] == "user", "nothing to grade")
        assert found
        said = {"role": "assistant", "content": self.grade(found[1], question), "refusal": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": said}],
            "usage": {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220},
        }
