from __future__ import annotations

import shutil
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from tether.errors import UserError
from tether.report import summary_text, write_report
from tether.report.examples import LONGEST, SHOWN, examples, shorten
from tether.report.knowledge import LISTED
from tether.report.markdown import escape, fenced
from tether.report.words import axis_name, change, interval, level, number, p_value
from tether.results import MethodResult, StudyResults, read_results, write_results

if TYPE_CHECKING:
    from pathlib import Path


class Seen(HTMLParser):
    """Tags, the addresses they load, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = ("src", "href", "xlink:href", "data", "srcset")
        self.addresses += [value or "" for name, value in attrs if name in names]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_the_page_loads_nothing(page: str) -> None:
    seen = Seen(page)
    assert all(address.startswith("#") for address in seen.addresses)
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert "@import" not in page
    assert "url(http" not in page


def test_what_a_model_said_is_shown_and_not_run(page: str, hostile: str) -> None:
    assert "<script" not in page
    assert any(hostile in words for words in Seen(page).words)


def test_figures_stand_in_the_page_and_beside_it(run: Path, page: str) -> None:
    names = {"proficiency", "safety", "knowledge", "knowledge_gain", "trade-off"}
    assert {file.name for file in (run / "figures").iterdir()} == {
        f"{name}.{ending}" for name in names for ending in ("png", "svg")
    }
    assert all(file.stat().st_size > 2000 for file in (run / "figures").iterdir())
    assert Seen(page).tags.count("svg") == len(names)
    assert all(f"(figures/{name}.png)" in (run / "report.md").read_text() for name in names)


def test_parts_come_in_their_order(page: str) -> None:
    titles = ["At a glance", "Before and after", "Charts", "Method against method", "Drift certificates"]
    titles += ["Learning rates tried", "Knowledge by source, category and passage"]
    titles += ["Secondary measures of free answers", "Knowledge retained"]
    titles += ["Measured prompts that the models have seen", "Answers side by side"]
    titles += ["How it was run", "The study"]
    places = [page.index(f">{title}</h") for title in titles]
    assert places == sorted(places)
    assert page.index('class="headline"') < places[0]


def test_markdown_tables_say_what_the_results_say(run: Path, results: StudyResults) -> None:
    rows = [line.split(" | ") for line in (run / "report.md").read_text(encoding="utf-8").splitlines()]
    rows = [[cell.strip("| ") for cell in row] for row in rows]
    for name, method in results.methods.items():
        for axis, s in method.summary.items():
            row = next(r for r in rows if len(r) > 5 and r[:2] == [name, axis_name(axis, s.unit)])
            told = [level(s.before, s.unit), level(s.after, s.unit), change(s.delta, s.unit)]
            assert row[2:5] == told
            assert row[6:9] == [interval(s.ci95, s.unit), escape(p_value(s.p_value)), str(s.n)]
    for c in results.comparisons:
        unit = results.methods[c.a].summary[c.axis].unit
        row = next(r for r in rows if r[:3] == [c.a, c.b, axis_name(c.axis, unit)])
        assert row[3:7] == [
            change(c.delta, unit),
            interval(c.ci95, unit),
            escape(p_value(c.p_value)),
            escape(p_value(c.p_holm)),
        ]


def test_knowledge_is_told_by_kind(run: Path, page: str, results: StudyResults) -> None:
    rows = [line.strip("| ").split(" | ") for line in (run / "report.md").read_text().splitlines()]
    for name in ("lora", "tether"):
        for part in results.methods[name].knowledge:
            category, gain = part.category or "–", part.group == "open"
            passage = ("with" if part.passage else "without") if gain else "–"
            (row,) = (r for r in rows if r[:3] == [part.source, category, passage] and r[4:5] == [name])
            summary = part.summary
            assert row[7:] == [
                change(summary.delta, summary.unit),
                interval(summary.ci95, summary.unit),
                str(summary.n),
            ]
    assert [part.summary.n for part in results.methods["lora"].knowledge] == [100, 100, 80, 40]
    assert "(lower fits better)" in page and "measure style, not knowledge" in page


def test_what_turned_is_listed_with_both_answers(run: Path, page: str, results: StudyResults) -> None:
    text = (run / "report.md").read_text()
    kept = results.methods["lora"].summary["knowledge"]
    assert f"| lora | {level(kept.retained, 'share')} |" in text
    turned = text[text.index("## lora: ") :].split("## ")[1].splitlines()
    rows = [line.strip("| ").split(" | ") for line in turned if line.startswith(("| lost", "| gained"))]
    assert len(rows) == LISTED
    assert "more stand in the records" in turned[2]
    for row in rows:
        assert row[2:4] == ["option 1.0", "option 0.0"][:: 1 if row[0] == "lost" else -1]
        assert row[4] == "not as asked"
    assert "## openai: " not in text, "it was asked no multiple choice"
    assert page.count('<details class="turned-items">') == 5


def test_leaks_are_listed_and_those_left_out_are_told(run: Path, page: str) -> None:
    text = (run / "report.md").read_text()
    assert "| near | safety:own | Lock 7? | the training dialogues | talk |" in text
    assert "5 more stand in results.json" in text
    assert page.count('<td class="words">the training dialogues</td>') == 20
    assert "1 measured prompts stand word for word in what the models have seen, and were left out." in page
    assert "provenance leaks" not in text and "Lock 24?" not in page


def test_a_broken_budget_is_loud_everywhere(run: Path, page: str, results: StudyResults) -> None:
    assert '<tr class="loud"><th scope="row">kl-fixed</th>' in page
    assert '<tr class="loud"><th scope="row">tether</th>' not in page
    assert "**ABOVE BUDGET**" in (run / "report.md").read_text()
    told = summary_text(results, run / "report.html")
    assert "kl-fixed: drift on general is ABOVE its budget in 3 of 3 seeds" in told


def test_certificates_tell_the_tail_and_the_first_tokens(run: Path, results: StudyResults) -> None:
    rows = [line.strip("| ").split(" | ") for line in (run / "report.md").read_text().splitlines()]
    for seed, result in results.methods["tether"].seeds.items():
        for group, drift in result.drift.items():
            (row,) = (r for r in rows if r[:3] == ["tether", seed, group])
            assert row[7:9] == [number(drift.prompt_p95, 4), number(drift.first5, 4)]


def test_missing_cells_are_dashes_and_named(page: str) -> None:
    assert "Not measured: openai: knowledge, openai: association gain." in page
    row = page[page.index('<tr><th scope="row">openai</th>') :]
    assert row[: row.index("</tr>")].count("<td>–</td>") == 3


def test_the_report_is_the_same_each_time(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    write_report(again)
    for file in ("report.html", "report.md", "figures/safety.svg", "figures/trade-off.png"):
        assert (again / file).read_bytes() == (run / file).read_bytes()


def test_examples_prefer_changed_scores_and_mix_the_groups(run: Path, results: StudyResults) -> None:
    found = examples(run, results)
    assert set(found) == {"proficiency", "safety", "knowledge"}
    assert all(len(rows) == SHOWN for rows in found.values())
    for row in found["safety"]:
        assert len({answer.text for answer in row.answers}) > 1
        assert any(answer.changed for answer in row.answers)
        whose = [answer.who for answer in row.answers]
        assert whose[:3] == ["before (smollm2-135m-aligned)", "before (gpt-hosted)", "lora"]
    assert sorted(row.group for row in found["safety"]) == ["harmful"] * 5 + ["harmless"] * 5


def test_a_study_without_records_still_has_its_tables(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "results.json", tmp_path)
    page = write_report(tmp_path).read_text()
    assert "Answers side by side" not in page
    assert "Before and after" in page


def test_seeds_and_axes_may_be_missing(run: Path, tmp_path: Path) -> None:
    results = read_results(run / "results.json")
    lora = results.methods["lora"]
    lora.seeds.pop("1")
    lora.seeds["2"].axes.pop("safety")
    lora.seeds["2"].train = None
    lora.summary.pop("safety")
    results.methods["tether"] = MethodResult(base="smollm2-135m-aligned")
    results.comparisons = [row for row in results.comparisons if row.b == "openai"]
    write_results(tmp_path / "results.json", results)
    page = write_report(tmp_path).read_text()
    assert "lora: safety" in page
    assert "tether: proficiency" in page


def test_an_empty_study_says_so(tmp_path: Path) -> None:
    write_results(tmp_path / "results.json", StudyResults())
    page = write_report(tmp_path).read_text()
    assert "No method has been measured before and after yet." in page
    assert not list((tmp_path / "figures").iterdir())


def test_charts_of_an_earlier_report_do_not_linger(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "results.json", tmp_path)
    write_report(tmp_path)
    write_results(tmp_path / "results.json", StudyResults())
    write_report(tmp_path)
    assert not list((tmp_path / "figures").iterdir())


def test_a_folder_without_results_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no results\.json"):
        write_report(tmp_path)


def test_long_answers_say_what_is_left_out() -> None:
    assert shorten("a" * LONGEST) == "a" * LONGEST
    assert shorten("a" * LONGEST + "b" * 1234).endswith("… (1,234 more characters in the records)")
    assert shorten("b" * 7 + "a" * LONGEST, keep_end=True).endswith("… " + "a" * LONGEST)


def test_markdown_shows_markup_as_it_is() -> None:
    assert escape("a|b\n<script>*x*") == r"a\|b \<script\>\*x\*"
    assert fenced("```\ncode\n```").startswith("````\n")
