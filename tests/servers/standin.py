"""What both stand-ins share: a server on loopback that records, refuses, breaks off, and kills its client."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk-test-4f9d3c2b1a0e-not-to-be-seen"


@dataclass
class Request:
    """As it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Reply:
    """What goes back; cut off after so many bytes if ``cut`` says so."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Refusal(Exception):
    """An error in the service's own form."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Fault:
    """Something to go wrong at the next ``times`` requests that fit.

    Attributes:
        pattern: Of "METHOD /path".
        refusal: What to answer; None drops the line without a word.
        after: Whether what was asked is done all the same.
    """

    pattern: str
    refusal: Refusal | None = None
    times: int = 1
    after: bool = False


Route = Callable[..., Any]


def route(method: str, pattern: str) -> Callable[[Route], Route]:
    """Mark a method of a stand-in as the answer to a request."""

    def mark(function: Route) -> Route:
        function.route = (method, re.compile(pattern))  # type: ignore[attr-defined]
        return function

    return mark


class _Quiet(ThreadingHTTPServer):
    """Says nothing of lines that are dropped, which is what some tests are about."""

    def handle_error(self, *args: Any) -> None:
        pass


class StandIn:
    """A service on loopback. Jobs go on when they are looked at: nothing here waits for a clock."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.key = KEY
        self.victim: tuple[int, int, bool] | None = None  # process, at which request, after its effect
        self._counted = 0
        self.lock = threading.RLock()
        self.routes = [
            (*function.route, function)
            for name in dir(type(self))
            if hasattr(function := getattr(type(self), name), "route")
        ]
        self.server = _Quiet(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def asked(self, pattern: str) -> list[Request]:
        """Requests so far that fit "METHOD /path"."""
        return [r for r in self.requests if re.fullmatch(pattern, f"{r.method} {r.path}")]

    def kill(self, process: int, at: int, after: bool) -> None:
        """Kill a process at its so-manieth request from now, before or after the request has its effect."""
        with self.lock:
            self.victim, self._counted = (process, at, after), 0

    def refusal(self, refusal: Refusal) -> Any:
        """The body of an error."""
        raise NotImplementedError

    def open_to_all(self, request: Request) -> bool:
        """Whether the request needs no key."""
        return False

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        standin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body go out apart, which costs 40 ms each time

            def log_message(self, *args: Any) -> None:
                pass

            def handle_any(self) -> None:
                url = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(url.query).items()}
                body = self._body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, url.path, query, headers, body)
                reply = standin.answer(request)
                if reply is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._send(reply)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _send(self, reply: Reply) -> None:
                content = reply.bytes()
                self.send_response(reply.status)
                kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json"
                for name, value in {"Content-Type": kind, "x-request-id": "req-1", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if reply.cut is None else content[: reply.cut])
                if reply.cut is not None:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

        return Handler

    def answer(self, request: Request) -> Reply | None:
        """What goes back; None drops the line."""
        with self.lock:
            self.requests.append(request)
            self._counted += 1
            if self._dies(after=False):
                return None
            fault = self._fault(request)
            if fault and not fault.after:
                return self._refused(fault.refusal) if fault.refusal else None
        try:
            reply = self._routed(request)
        except Refusal as refusal:
            reply = self._refused(refusal)
        if fault:
            return self._refused(fault.refusal) if fault.refusal else None
        return None if self._dies(after=True) else reply

    def _dies(self, after: bool) -> bool:
        if self.victim is None or self.victim[1:] != (self._counted, after):
            return False
        os.kill(self.victim[0], signal.SIGKILL)
        self.victim = None
        return True

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.fullmatch(fault.pattern, f"{request.method} {request.path}"):
                fault.times -= 1
                return fault
        return None

    def _refused(self, refusal: Refusal) -> Reply:
        return Reply(self.refusal(refusal), refusal.status, refusal.headers)

    def _routed(self, request: Request) -> Reply:
        if not self.open_to_all(request) and request.headers.get("authorization") != f"Bearer {self.key}":
            # As some servers do, it says back what it was given: tether must not pass that on.
            raise Refusal(
                401, f"Incorrect API key provided: {request.headers.get('authorization')}", "invalid_api_key"
            )
        for method, pattern, function in self.routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                result = function(self, request, *match.groups())
                return result if isinstance(result, Reply) else Reply(result)
        raise Refusal(404, f"Unknown request URL: {request.method} {request.path}", "unknown_url")


def only(body: dict[str, Any], needed: set[str], allowed: set[str]) -> None:
    """Refuse a body with keys too few or too many."""
    if missing := needed - body.keys():
        raise Refusal(400, f"Missing required parameter: {sorted(missing)[0]}", "missing_required_parameter")
    if extra := body.keys() - needed - allowed:
        raise Refusal(400, f"Unknown parameter: {sorted(extra)[0]}", "unknown_parameter")


def want(holds: bool, message: str, code: str = "invalid_value") -> None:
    """Refuse unless it holds."""
    if not holds:
        raise Refusal(400, message, code)
