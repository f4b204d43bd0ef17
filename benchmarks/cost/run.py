"""Cost of a step: plain LoRA, replay-self and tether against each other, our LoRA against TRL's own trainer.

Run as ``python benchmarks/cost/run.py --out benchmarks/cost/results.json``.

Every measurement is a process of its own, so that its peak memory is its own, and the kinds take turns, so
that a machine that changes its speed does so for all of them. Ratios are taken round by round; their median
is told.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tether.environment import environment

TRL = "trl"  # TRL's own trainer
FEWER_LOOKS = {"rewinding": False, "anchor_every": 8, "anchor_tokens": 192, "beginnings": 0.5}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {}),
    "lora-64": ("lora", {"rank": 64, "alpha": 128}),  # of tether's rank; of its factors tether trains one
    "replay-self": ("replay-self", {}),
    "tether": ("tether", {"rewinding": False}),
    "tether-192": ("tether", {"rewinding": False, "anchor_tokens": 192}),
    "tether-no-looks": ("tether", {"rewinding": False, "anchor_every": 0}),
    "tether-fewer-looks": ("tether", FEWER_LOOKS),
    "tether-penalty": ("tether", {"rewinding": False, "anchor_every": 0, "beginnings": 0.5, "penalty": 10}),
    "tether-penalty-looks": ("tether", {**FEWER_LOOKS, "penalty": 10}),
    "tether-penalty-short-looks": ("tether", {**FEWER_LOOKS, "anchor_every": 4, "penalty": 10}),
    "tether-trained-a": ("tether", {"rewinding": False, "train_a": True}),
}
"""What is measured beside TRL's: a method, and its options."""
WARM_UP = 4  # steps not counted: the first of each shape compile their kernels


def main() -> None:
    """Measure all kinds in turns, or one kind in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="builtin:hotels")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, TRL], default=[*KINDS, TRL])
    parser.add_argument("--kind", choices=[*KINDS, TRL], help="only this one, in this process")
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments.base, arguments.data, arguments.steps)))
        return
    kinds = dict.fromkeys(["lora", *arguments.kinds])  # plain LoRA is what all are told against
    rounds = [
        {kind: in_a_process(__file__, kind, arguments) for kind in kinds} for _ in range(arguments.rounds)
    ]
    found = {
        "environment": environment(),
        "steps": arguments.steps,
        "rounds": rounds,
        "ratios": ratios(rounds),
    }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def in_a_process(script: str, kind: str, arguments: argparse.Namespace) -> Any:
    """What a script prints last of one kind, as JSON, from a process of its own."""
    options = ["--base", arguments.base, "--data", arguments.data, "--steps", str(arguments.steps)]
    command = [sys.executable, script, "--kind", kind, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(kind, found, file=sys.stderr, flush=True)
    return found


def ratios(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Medians over rounds of each kind's figures over plain LoRA's of the same round."""

    def over_lora(kind: str, key: str) -> dict[str, float]:
        values = sorted(r[kind][key] / r["lora"][key] for r in rounds)
        return {"median": median(values), "least": values[0], "most": values[-1]}

    table = {
        f"{kind} {key} / lora": over_lora(kind, key)
        for kind in rounds[0]
        if kind not in ("lora", TRL)
        for key in ("seconds_per_step", "peak_memory_bytes")
    }
    if TRL not in rounds[0]:
        return table
    speed = sorted(r["lora"]["tokens_per_second"] / r[TRL]["tokens_per_second"] for r in rounds)
    median_speed = {"median": median(speed), "least": speed[0], "most": speed[-1]}
    return {**table, "lora tokens_per_second / trl": median_speed}


def measure(kind: str, base: str, data: str, steps: int) -> dict[str, Any]:
    """Train one kind for a few steps in this process."""
    from tether import bases
    from tether.chatdata.chats import split_select
    from tether.config import Training
    from tether.methods.run import Run
    from tether.sources import load_dialogues
    from tether.training.cost import Cost

    train, select = split_select(load_dialogues(data, split="train"))
    with tempfile.TemporaryDirectory() as scratch:
        settings = Training(max_steps=steps, save_steps=10**6)
        run = Run(bases.resolve(base), train, select, Path(scratch), settings)
        cost = Cost(**_stock(run, steps)) if kind == TRL else _ours(run, kind)
    seconds = cost.step_seconds[WARM_UP:]
    return {
        "seconds_per_step": fmean(seconds),
        # Tokens of a step hardly differ; those of the first steps are left out by their share.
        "tokens_per_second": cost.tokens / steps * len(seconds) / sum(seconds),
        "peak_memory_bytes": cost.peak_memory_bytes,
    }


def _ours(run: Any, kind: str) -> Any:
    from tether.methods import find

    method, options = KINDS[kind]
    return find(method)(run, options).cost


def _stock(run: Any, steps: int) -> dict[str, Any]:
    """TRL's SFTTrainer as it comes: the same base, rows, LoRA, precision and rate, one dialogue a step."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from tether import bases
    from tether.methods.run import OWN_RATES
    from tether.training.cost import peak_memory, reset_peak_memory

    rows = run.rows(run.train)
    seconds: list[float] = []

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.perf_counter() - self.started)

    arguments = SFTConfig(
        output_dir=str(run.out),
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=OWN_RATES["lora"],
        bf16=bases.precision() == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        max_length=None,
        seed=0,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=run.load("lora"),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=run.tokenizer,
        peft_config=adapter,
        callbacks=[Watch()],
    )
    drawn = [
        len(batch["input_ids"][0])
        for batch, _ in zip(trainer.get_train_dataloader(), range(steps), strict=False)
    ]
    reset_peak_memory()
    trainer.train()
    return {"step_seconds": seconds, "tokens": sum(drawn), "peak_memory_bytes": peak_memory()}


if __name__ == "__main__":
    main()
