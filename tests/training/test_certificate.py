from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tether import bases
from tether.anchors.drift import summarise
from tether.training.certificate import CERTIFICATE_FILE, Certifier

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base


def moved(base: Base, by: float) -> PreTrainedModel:
    torch.manual_seed(0)
    model = bases.load_model(base, torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn_like(weight))
    return model


@pytest.fixture
def certifier(base: Base, anchors: AnchorSet) -> Certifier:
    return Certifier(
        bases.load_model(base, torch.float32), anchors, pad_id=0, epsilons={"general": 0.02, "safety": 1e-6}
    )


def test_the_base_itself_has_not_drifted(certifier: Certifier, base: Base) -> None:
    certificate = certifier.certify(bases.load_model(base, torch.float32))
    assert all(abs(group.drift) < 1e-6 and abs(group.upper95) < 1e-6 for group in certificate.groups.values())
    assert certificate.above == []


def test_drift_is_the_divergence_over_the_whole_vocabulary(
    certifier: Certifier, base: Base, anchors: AnchorSet
) -> None:
    """Against the definition, prompt by prompt."""
    model, plain = moved(base, 0.02), bases.load_model(base, torch.float32)
    total, tokens = 0.0, 0
    for index in anchors.indices("general", "certify"):
        anchor = anchors.anchors[index]
        ids, count = torch.tensor([[*anchor.prompt_ids, *anchor.answer_ids]]), len(anchor.answer_ids)
        with torch.no_grad():
            before, after = (
                one(input_ids=ids).logits[0, -count - 1 : -1].double().log_softmax(-1)
                for one in (plain, model)
            )
        total += float((before.exp() * (before - after)).sum())
        tokens += count
    general = certifier.certify(model).groups["general"]
    assert general.drift == pytest.approx(total / tokens, rel=1e-3)
    assert (general.tokens, general.prompts) == (tokens, 5)
    assert general.upper95 > general.drift > 0


def test_the_file_says_what_was_promised(
    certifier: Certifier, base: Base, anchors: AnchorSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certifier.certify(moved(base, 0.02), alpha=0.7).write(tmp_path, base)
    told: dict[str, Any] = json.loads((tmp_path / CERTIFICATE_FILE).read_text())
    assert {"budget", "alpha", "base", "revision", "anchors_sha256", "groups"} <= told.keys()
    assert told["alpha"] == 0.7
    assert (told["base"], told["revision"]) == (base.name, base.revision)
    assert told["anchors_sha256"] == anchors.sha256
    assert told["budget"] == {"general": 0.02, "safety": 1e-6}
    assert told["within_budget"] is False
    keys = {"drift", "upper95", "prompt_p95", "first5", "budget", "tokens", "prompts"}
    assert all(group.keys() == keys for group in told["groups"].values())
    assert "ABOVE BUDGET" in capsys.readouterr().err


def test_the_interval_resamples_prompts() -> None:
    alike = summarise([torch.full((8,), 0.1)] * 20)
    assert alike.upper95 == pytest.approx(alike.drift) == pytest.approx(0.1)
    unlike = summarise([torch.full((8,), 0.2 * (index % 2)) for index in range(20)])
    assert unlike.drift == pytest.approx(0.1)
    assert 0.12 < unlike.upper95 < 0.17  # 0.1 + 1.96 * 0.1 / sqrt(20) = 0.144
    assert unlike.prompt_p95 == pytest.approx(0.2)


def test_long_answers_count_by_their_tokens_and_beginnings_apart() -> None:
    long = torch.cat([torch.full((5,), 0.5), torch.zeros(25)])
    group = summarise([long, torch.full((2,), 0.5)])
    assert group.drift == pytest.approx(3.5 / 32)
    assert group.first5 == pytest.approx(0.5)
