"""Speed of scoring and of answering: ours against lm-eval's HFLM, and against a plain padded `generate` loop.

Run as ``TETHER_DATA=FOLDER python benchmarks/scoring/run.py --out benchmarks/scoring/results.json``.

Every measurement is a process of its own, so that its peak memory is its own, and the kinds take turns, so
that a machine that changes its speed does so for all of them. Ratios are taken round by round, by the clock
and by processor time: where other work shares the processor, only the second tells anything. All are in
bfloat16 and time the whole of it, tokenising included; what each found is told too: it must be the same work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tether.environment import environment

if TYPE_CHECKING:
    from tether.inference import LocalModel
    from tether.sources import ChoiceItem, SafetyItem

WARM_UP = 2  # items not counted: the first of a process compile their kernels


def main() -> None:
    """Measure all kinds in turns, or one kind in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--lm-eval-rows", type=int, default=16, help="lm-eval's batch; compare peak memories")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kind", choices=KINDS)
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments)))
        return
    rounds = [{kind: _in_a_process(kind) for kind in KINDS} for _ in range(arguments.rounds)]
    told = ("base", "questions", "prompts", "lm_eval_rows")
    found = {
        "environment": environment(),
        "lm_eval": version("lm-eval"),
        **{name: getattr(arguments, name) for name in told},
        "rounds": rounds,
        "ratios": ratios(rounds),
    }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def _in_a_process(kind: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--kind", kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(kind, found, file=sys.stderr, flush=True)
    return found


def ratios(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """How many times faster ours is than theirs in the same round."""

    def spread(ours: str, theirs: str, key: str) -> dict[str, float]:
        values = sorted(r[theirs][key] / r[ours][key] for r in rounds)
        return {"median": median(values), "least": values[0], "most": values[-1]}

    return {
        f"{ours} / {theirs}, by {key}": spread(ours, theirs, key)
        for ours, theirs in PAIRS
        for key in ("seconds", "processor_seconds")
    }


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time one kind in this process."""
    import torch

    from tether import bases
    from tether.inference import LocalModel
    from tether.sources import load_knowledge, load_safety
    from tether.training.cost import peak_memory

    base = bases.resolve(arguments.base)
    live = LocalModel(bases.load_model(base, torch.bfloat16), bases.load_tokenizer(base))
    run, scores = KINDS[kind], kind in SCORING
    items = (
        load_knowledge("arc_easy", limit=arguments.questions)
        if scores
        else load_safety("advbench", limit=arguments.prompts)
    )
    run(live, items[:WARM_UP], arguments)
    started, processor_started = time.perf_counter(), time.process_time()
    outcome = run(live, items, arguments)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
    return {
        "items_per_second": len(items) / seconds,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "accuracy" if scores else "refused": outcome,
        "peak_memory_bytes": peak_memory(),
    }


def score_ours(live: LocalModel, questions: list[ChoiceItem], arguments: argparse.Namespace) -> float:
    """Accuracy by our own scorer."""
    from tether.axes.knowledge import knowledge

    items = knowledge(live, questions)
    return sum(item.score for item in items) / len(items)


def score_lm_eval(live: LocalModel, questions: list[ChoiceItem], arguments: argparse.Namespace) -> float:
    """Accuracy by lm-eval's HFLM, on the same strings, the choice taken as we do."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=live.model, tokenizer=live.tokenizer, batch_size=arguments.lm_eval_rows)
    asked = [
        Instance("loglikelihood", {}, (f"Question: {question.question}\nAnswer:", f" {choice}"), index)
        for question in questions
        for index, choice in enumerate(question.choices)
    ]
    nats = iter([nats for nats, _ in lm.loglikelihood(asked, disable_tqdm=True)])
    right = 0
    for question in questions:
        per_character = [next(nats) / len(choice) for choice in question.choices]
        right += per_character.index(max(per_character)) == question.answer
    return right / len(questions)


def answer_ours(live: LocalModel, prompts: list[SafetyItem], arguments: argparse.Namespace) -> float:
    """Share refused, answered as the safety axis does."""
    from tether.axes.judges.protocol import OPENING_TOKENS

    asked = [prompt.asked for prompt in prompts]
    return _refused(live.answer(asked, max_new_tokens=OPENING_TOKENS, label="Answering"), prompts)


def measure_safety(live: LocalModel, prompts: list[SafetyItem], arguments: argparse.Namespace) -> float:
    """Share refused, by the whole safety axis: its answers, and the margins, which no other loop gives."""
    from tether.axes.safety import safety

    return _refused([item.output for item in safety(live, prompts)], prompts)


def answer_padded(live: LocalModel, prompts: list[SafetyItem], arguments: argparse.Namespace) -> float:
    """Share refused, answered by transformers' `generate` on padded batches as they come."""
    from tether.axes.judges.protocol import OPENING_TOKENS
    from tether.passes import pass_sizes

    answers: list[str] = []
    together = pass_sizes(live.device).generated_rows
    for start in range(0, len(prompts), together):
        ids = [live.ask(prompt.prompt) for prompt in prompts[start : start + together]]
        batch = live.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
        written = live.model.generate(
            **batch.to(live.device),
            max_new_tokens=OPENING_TOKENS,
            do_sample=False,
            pad_token_id=live.tokenizer.pad_token_id,
        )
        new = written[:, batch["input_ids"].shape[1] :]
        answers += live.tokenizer.batch_decode(new, skip_special_tokens=True)
    return _refused(answers, prompts)


def _refused(answers: list[str], prompts: list[SafetyItem]) -> float:
    from tether.axes.judges.rules import judge

    verdicts = [judge(prompt.prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return sum(verdict.kind == "refused" for verdict in verdicts) / len(verdicts)


SCORING = {"tether scores": score_ours, "lm-eval scores": score_lm_eval}
ANSWERING = {
    "tether answers": answer_ours,
    "padded generate answers": answer_padded,
    "tether answers, with margins": measure_safety,
}
KINDS = {**SCORING, **ANSWERING}
PAIRS = (("tether scores", "lm-eval scores"), ("tether answers", "padded generate answers"))


if __name__ == "__main__":
    main()
