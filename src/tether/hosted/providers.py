"""The services by name, one line each; a service's calls are imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether.hosted.services import Service
    from tether.hosted.wire import Provider


def open_provider(service: Service) -> Provider:
    """A service's calls, with its client open.

    Raises:
        UserError: The SDK or the key is missing.
    """
    from tether.hosted.openai import OpenAIProvider
    from tether.hosted.together import TogetherProvider

    providers: dict[str, Callable[[], Provider]] = {"openai": OpenAIProvider, "together": TogetherProvider}
    return providers[service.name]()
