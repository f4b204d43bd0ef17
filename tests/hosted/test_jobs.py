"""A job from beginning to end, by the real SDKs against stand-ins on loopback."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
from servers.standin import KEY, Fault, Refusal

from tether.errors import UserError
from tether.hosted.cancel import cancel
from tether.hosted.providers import open_provider
from tether.hosted.services import OPENAI, TOGETHER
from tether.hosted.state import locked, read_state
from tether.hosted.terms import Terms
from tether.hosted.tuning import tune
from tether.hosted.wire import Order

if TYPE_CHECKING:
    from pathlib import Path

    from servers.openai import OpenAIServer
    from servers.together import TogetherServer

    from tether.chatdata.chats import Chat
    from tether.hosted.state import State

GPT, LLAMA = "gpt-4o-mini-2024-07-18", "meta-llama/Llama-2-7b-chat-hf"
AGREED = Terms(yes=True, max_price=None, poll_seconds=0.0)
CREATE = {"openai": "POST /v1/fine_tuning/jobs", "together": "POST /v1/fine-tunes"}


def run(service: Any, chats: list[Chat], out: Path, terms: Terms = AGREED, **options: Any) -> State:
    base = GPT if service is OPENAI else LLAMA
    return tune(open_provider(service), Order(base, "", 7, 3, options), chats, out, terms)


def test_openai_from_the_data_to_the_metrics(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = run(OPENAI, talks, tmp_path, batch_size=2)
    assert (state.phase, state.status, state.job) == ("done", "succeeded", "ftjob-0001")
    assert state.model == f"ft:{GPT}:org:{state.token}:0001"
    assert (state.trained_tokens, state.seconds) == (12_345, 600)
    assert [name.rpartition("-")[2] for name in state.checkpoints] == ["1", "2"], "in the order of steps"
    assert json.loads((tmp_path / "hosted.json").read_text())["job"] == "ftjob-0001"

    (created,) = openai_server.asked(CREATE["openai"])
    assert created.json() == {
        "model": GPT,
        "training_file": "file-0001",
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 2}},
        },
        "seed": 7,
        "suffix": state.token,
        "metadata": {"tether": state.token},
    }
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["train_loss"] for row in csv.DictReader(file)] == ["2.5", "1.5"]
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["id"] for event in events] == [f"ftevent-{n:03d}" for n in range(4)], (
        "all pages, oldest first"
    )
    said = capsys.readouterr().err
    assert said.count("Created fine-tuning job") == 1
    assert "completed [/]" in said, "a service's text is no markup of ours"


def test_the_data_goes_out_in_the_services_form(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path
) -> None:
    run(OPENAI, talks, tmp_path)
    rows = [json.loads(line) for line in openai_server.contents["file-0001"].decode().splitlines()]
    assert len(rows) == len(talks)
    _, _, call, result, _ = rows[0]["messages"]
    (sent,) = call["tool_calls"]
    assert sent["function"] == {"name": "find", "arguments": '{"city": "Rome"}'}, "arguments as JSON text"
    assert (call["content"], result["tool_call_id"]) == (None, sent["id"])
    assert rows[0]["tools"][0]["function"]["name"] == "find"


def test_together_brings_its_adapter_home(
    together_server: TogetherServer, talks: list[Chat], adapter: Path, tmp_path: Path
) -> None:
    state = run(TOGETHER, talks, tmp_path, lora_r=4)
    assert (state.status, state.trained_tokens, state.price, state.seconds) == ("completed", 54_321, 4.2, 300)
    assert state.model == f"account/Llama-2-7b-chat-hf:{state.token}:ft-0001"
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / name).read_bytes() == (adapter / name).read_bytes()
    assert not list(tmp_path.glob("*.archive*")), "what was unpacked is not kept twice"
    (created,) = together_server.asked(CREATE["together"])
    body = created.json()
    assert (body["training_type"]["lora_r"], body["n_epochs"], body["random_seed"]) == (4, 3, 7)
    assert json.loads((tmp_path / "metrics.json").read_text())[1]["train_loss"] == 1.0


@pytest.mark.parametrize("service", [OPENAI, TOGETHER], ids=lambda s: s.name)
def test_a_finished_job_is_not_called_for_again(
    service: Any, talks: list[Chat], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{service.name}_server")
    first = run(service, talks, tmp_path)
    calls = len(server.requests)
    assert run(service, talks, tmp_path) == first
    assert len(server.requests) == calls


@pytest.mark.parametrize("service", [OPENAI, TOGETHER], ids=lambda s: s.name)
@pytest.mark.parametrize("status", [None, 500, 503], ids=["dropped", "500", "503"])
def test_a_creation_whose_answer_is_lost_is_not_made_twice(
    service: Any, status: int | None, talks: list[Chat], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{service.name}_server")
    refusal = None if status is None else Refusal(status, "try again", retry_after_ms="1")
    server.faults = [Fault(CREATE[service.name], refusal, after=True)]
    assert run(service, talks, tmp_path).phase == "done"
    assert len(server.jobs) == 1
    assert len(server.asked(CREATE[service.name])) == 1


def test_a_creation_that_did_not_arrive_is_made_again(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path
) -> None:
    openai_server.faults = [Fault(CREATE["openai"], Refusal(502, "bad gateway", retry_after_ms="1"))]
    assert run(OPENAI, talks, tmp_path).job == "ftjob-0001"
    assert len(openai_server.asked(CREATE["openai"])) == 2


@pytest.mark.parametrize("service", [OPENAI, TOGETHER], ids=lambda s: s.name)
def test_calls_that_are_turned_away_are_made_again(
    service: Any, talks: list[Chat], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{service.name}_server")
    busy = Refusal(429, "slow down", "rate_limit_exceeded", retry_after_ms="1")
    patterns = (CREATE[service.name], r"GET /v1/(fine_tuning/jobs|fine-tunes)/.*", r"GET /v1/files/.*")
    server.faults = [Fault(pattern, busy, times=2) for pattern in patterns]
    assert run(service, talks, tmp_path).phase == "done"
    assert len(server.jobs) == 1


def test_the_servers_clock_alone_counts(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path
) -> None:
    openai_server.now = 4_000_000_000  # a century ahead of ours
    until = Refusal(
        429, "wait", retry_after="Tue, 02 Oct 2096 07:06:40 GMT", date="Tue, 02 Oct 2096 07:06:40 GMT"
    )
    openai_server.faults = [Fault(CREATE["openai"], until)]
    assert run(OPENAI, talks, tmp_path).seconds == 600


def test_a_closed_account_is_told_what_is_left_to_it(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path
) -> None:
    openai_server.closed = True
    with pytest.raises(
        UserError, match=r"did not create.*2026-05-07.*2026-07-02.*2027-01-06.*openai:ft:.*OPENAI_BASE_URL"
    ):
        run(OPENAI, talks, tmp_path)
    openai_server.closed = False
    assert run(OPENAI, talks, tmp_path).phase == "done", "the data need not be sent again"
    assert len(openai_server.files) == 2, "the data, and the results"


@pytest.mark.parametrize(
    ("service", "message"),
    [(OPENAI, "failed: 3 rows are unsafe .invalid_training_file"), (TOGETHER, "failed: 3 rows are unsafe")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_job_that_fails_says_why(
    service: Any, message: str, talks: list[Chat], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{service.name}_server")
    server.fails = (
        ("invalid_training_file", "3 rows are unsafe") if service is OPENAI else "3 rows are unsafe"
    )
    for _ in range(2):  # and says it again, without a second job
        with pytest.raises(UserError, match=message):
            run(service, talks, tmp_path)
    assert len(server.jobs) == 1


@pytest.mark.parametrize("service", [OPENAI, TOGETHER], ids=lambda s: s.name)
def test_a_job_is_cancelled_on_request(
    service: Any, talks: list[Chat], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{service.name}_server")
    server.faults = [Fault("GET /v1/(fine_tuning/jobs|fine-tunes)/[^/]+", Refusal(400, "stop here"))]
    with pytest.raises(UserError, match="stop here"):
        run(service, talks, tmp_path)
    assert cancel(tmp_path).status == "cancelled"
    with pytest.raises(UserError, match="cancelled"):
        run(service, talks, tmp_path)


def test_a_file_that_is_found_bad_later(
    together_server: TogetherServer, talks: list[Chat], tmp_path: Path
) -> None:
    together_server.bad_file = "line 3: unsupported"
    with pytest.raises(UserError, match="cannot train on the data: line 3: unsupported"):
        run(TOGETHER, talks, tmp_path)
    assert not together_server.jobs


def test_the_same_data_is_not_stored_twice(
    together_server: TogetherServer, talks: list[Chat], tmp_path: Path
) -> None:
    run(TOGETHER, talks, tmp_path / "a")
    state = run(TOGETHER, talks, tmp_path / "b")
    assert (state.file, state.job) == ("file-0001", "ft-0002")
    assert len(together_server.asked("PUT /storage/.*")) == 1


def test_data_that_is_gone_is_sent_again(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path
) -> None:
    openai_server.closed = True
    with pytest.raises(UserError):
        run(OPENAI, talks, tmp_path)
    openai_server.closed = False
    openai_server.files["file-old"] = openai_server.files.pop("file-0001")
    state = run(OPENAI, talks, tmp_path)
    assert state.phase == "done"
    assert len(openai_server.asked("POST /v1/files")) == 2


def test_nothing_is_sent_before_the_cost_is_agreed_to(
    openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"12 chats of about .* tokens, 3 epochs, for about \$0.0.*add --yes"):
        run(OPENAI, talks, tmp_path, Terms(yes=False, max_price=None, poll_seconds=0))
    with pytest.raises(UserError, match="more than max_price allows"):
        run(OPENAI, talks, tmp_path, Terms(yes=True, max_price=0.001, poll_seconds=0))
    assert not openai_server.requests


def test_togethers_own_price_is_held_against_the_ceiling(
    together_server: TogetherServer, talks: list[Chat], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"about \$4.20, more than max_price allows \(\$4.00\)"):
        run(TOGETHER, talks, tmp_path, Terms(yes=True, max_price=4.0, poll_seconds=0))
    assert not together_server.jobs
    together_server.price = None
    with pytest.raises(UserError, match="cannot be told"):
        run(TOGETHER, talks, tmp_path, Terms(yes=True, max_price=4.0, poll_seconds=0))
    assert not together_server.jobs


def test_what_the_sdk_itself_refuses_is_the_users_to_mend(
    together_server: TogetherServer, talks: list[Chat], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="batch size of 1000"):
        run(TOGETHER, talks, tmp_path, batch_size=1000)
    assert read_state(tmp_path).phase == "uploaded"  # type: ignore[union-attr]


def test_a_folder_holds_one_job(openai_server: OpenAIServer, talks: list[Chat], tmp_path: Path) -> None:
    run(OPENAI, talks, tmp_path)
    with pytest.raises(UserError, match="another job .other data_sha256"):
        run(OPENAI, talks[:11], tmp_path)
    with locked(tmp_path), pytest.raises(UserError, match="another process follows the job"):
        run(OPENAI, talks, tmp_path)


@pytest.mark.parametrize("service", [OPENAI, TOGETHER], ids=lambda s: s.name)
@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (Refusal(401, f"Incorrect API key provided: {KEY}", "invalid_api_key"), "valid key"),
        (Refusal(429, "You exceeded your current quota", "insufficient_quota"), "Top the account up"),
        (Refusal(400, f"Bearer {KEY} is odd"), "Bearer .key. is odd"),
    ],
    ids=["expired key", "spent quota", "key said back"],
)
def test_faults_of_the_account_are_told_without_the_key(
    service: Any,
    refusal: Refusal,
    message: str,
    talks: list[Chat],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import traceback

    server = request.getfixturevalue(f"{service.name}_server")
    server.faults = [Fault(CREATE[service.name], refusal, times=9)]
    with pytest.raises(UserError, match=message) as caught:
        run(service, talks, tmp_path)
    server.faults = []
    run(service, talks, tmp_path)
    told = "".join(traceback.format_exception(caught.value)) + "".join(capfd.readouterr())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in told
    assert KEY.encode() not in written
    assert len(server.jobs) == 1


def test_what_is_missing_is_told_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, talks: list[Chat], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="OPENAI_API_KEY is not set"):
        open_provider(OPENAI)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u00e4\u00f6")
    with pytest.raises(UserError, match="characters that no key has") as caught:
        open_provider(OPENAI)
    assert "sk-" not in str(caught.value)
    monkeypatch.setenv("TOGETHER_API_KEY", KEY)
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(UserError, match="ends in /v1"):
        open_provider(TOGETHER)
    monkeypatch.setattr("tether.hosted.services.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install together"):
        open_provider(TOGETHER)


@pytest.mark.parametrize("service", [OPENAI, TOGETHER], ids=lambda s: s.name)
def test_a_job_of_a_process_that_died_is_found_though_its_data_is_gone(
    service: Any, talks: list[Chat], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(f"{service.name}_server")
    server.faults = [Fault(CREATE[service.name], Refusal(500, "try again", retry_after_ms="1"), after=True)]
    with pytest.MonkeyPatch.context() as patch:  # dies between the service's answer and the ledger
        patch.setattr("tether.hosted.tuning._Tuning._take", died)
        with pytest.raises(KeyboardInterrupt):
            run(service, talks, tmp_path)
    server.files.clear()
    assert run(service, talks, tmp_path).phase == "done"
    assert len(server.jobs) == 1
    assert len(server.asked(CREATE[service.name])) == 1


def died(*_: Any) -> None:
    raise KeyboardInterrupt
