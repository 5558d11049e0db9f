"""Medical questions become rows: what they carry, how they are split, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from converters import medqa
from tests.knowledge.test_sources import REAL, real
from vitalfactory.card import SPLITS, read_card
from vitalfactory.dataset.build import Summary
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_jsonl, write_jsonl
from vitalfactory.knowledge import rewriting
from vitalfactory.knowledge.prompts import PROMPTS

RECIPE = ROOT / "train_configs" / "medqa_smollm2_lora.yaml"
LLAMA = ROOT / "train_configs" / "medqa_llama7b_lora.yaml"
ROWS = [
    {"instruction": f"第{number}号患者咳嗽{number}天，应做什么检查？", "input": "", "output": f"胸片{number}次。"}
    for number in range(30)
]
TALK = {"instruction": "<user>: 肺炎会传染吗？ <bot>: 有的会。 <user>: 怎样预防？", "input": "", "output": "接种疫苗。"}


def convert(root: Path, **arguments: Any) -> Summary:
    return medqa.convert(**{"recipe": RECIPE, "root": root, "workers": 1, "language": "zh", **arguments})


def file(folder: Path, rows: list[dict[str, Any]], name: str = "rows.json") -> Path:
    write_jsonl(folder / name, rows)
    return folder / name


def splits_of(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    return {split: list(read_jsonl(summary.folder / f"{split}.jsonl")) for split in SPLITS}


def rows_of(summary: Summary) -> list[dict[str, Any]]:
    return [row for part in splits_of(summary).values() for row in part]


def test_a_row_of_a_file_asks_and_answers(tmp_path: Path) -> None:
    path = file(tmp_path, [*ROWS, {"instruction": "哮喘？", "input": "儿童", "output": "<b>喘息</b>"}])
    summary = convert(tmp_path, input=[path], keep_near=True, model_written="GPT-3.5")
    rows = {row["id"]: row for row in rows_of(summary)}
    assert len(rows) == 31
    assert rows["text-rows-000031"] == {
        "id": "text-rows-000031",
        "group": "text-rows-000031",
        "instruction": "哮喘？",
        "input": "儿童",
        "output": "喘息",
        "triples": [],
        "form": "text",
        "answer_kind": "free",
        "cleaned": True,
    }
    card = read_card(summary.folder)
    assert (card.kind, card.labels, card.representation, card.model_written) == ("qa", [], "text", "GPT-3.5")
    assert "不能代替医生" in card.question[0]
    assert "--keep-near --model-written GPT-3.5" in card.command


def test_a_row_of_a_graph_carries_its_facts(tmp_path: Path) -> None:
    facts = [[f"病{number}", "症状", tail] for number in range(20) for tail in ("发热", f"痛{number}")]
    (tmp_path / "graph.json").write_text(json.dumps(facts), encoding="utf-8")
    summary = convert(tmp_path, graph=[tmp_path / "graph.json"])
    rows, verdicts = rows_of(summary), read_card(summary.folder).verdicts
    assert verdicts is not None
    assert {row["output"] for row in rows if row["answer_kind"] == "yesno"} <= {verdicts.present, verdicts.absent}
    assert "`是` or `否`" in (summary.folder / "README.md").read_text(encoding="utf-8")
    row = next(row for row in rows if row["instruction"] == "病7的症状有哪些？")
    assert (row["output"], row["group"], row["form"], row["answer_kind"]) == ("发热、痛7。", "病7", "list-1", "list")
    assert row["triples"] == [["病7", "症状", "发热"], ["病7", "症状", "痛7"]]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_entity_of_test_stands_in_train(tmp_path: Path, language: str) -> None:
    summary = convert(tmp_path, synthetic=20, split="60/20/20", language=language)
    parts = splits_of(summary)
    groups = {split: {row["group"] for row in part} for split, part in parts.items()}
    assert len(groups["test"]) == 4
    for row in parts["train"] + parts["val"]:
        told = json.dumps(row, ensure_ascii=False)
        assert not any(name in told for name in groups["test"])
    assert summary.excluded["over entities of two splits"] > 0


def test_forms_of_test_are_new_and_its_facts_are_known(tmp_path: Path) -> None:
    parts = splits_of(convert(tmp_path, synthetic=12, split_by="form"))
    forms = {split: {row["form"] for row in part} for split, part in parts.items()}
    assert not forms["train"] & forms["test"]
    assert {"list", "yesno", "compare", "reverse", "hop"} == {form.partition("-")[0] for form in forms["test"]}
    known = {tuple(fact) for row in parts["train"] if row["answer_kind"] == "list" for fact in row["triples"]}
    assert {tuple(fact) for row in parts["test"] for fact in row["triples"]} <= known
    assert all(row["group"] == row["form"] for part in parts.values() for row in part)


def test_questions_are_split_one_by_one(tmp_path: Path) -> None:
    rows = rows_of(convert(tmp_path, synthetic=4, split_by="question"))
    assert all(row["group"] == row["id"] for row in rows)


def test_a_conversation_makes_all_rows_messages(tmp_path: Path) -> None:
    summary = convert(tmp_path, input=[file(tmp_path, [*ROWS, TALK, {**ROWS[0], "input": "急"}])], keep_near=True)
    rows = {row["id"]: row["messages"] for row in rows_of(summary)}
    turns = [("user", "肺炎会传染吗？"), ("assistant", "有的会。"), ("user", "怎样预防？"), ("assistant", "接种疫苗。")]
    assert [(turn["role"], turn["content"]) for turn in rows["text-rows-000031"]] == turns
    assert rows["text-rows-000032"][0]["content"].endswith("应做什么检查？\n急")
    registered = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert {entry["formatting"] for entry in registered.values()} == {"sharegpt"}


def test_two_files_of_one_name_and_a_graph_stand_side_by_side(tmp_path: Path) -> None:
    for number, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        file(tmp_path / folder, ROWS[15 * number : 15 * number + 15])
    (tmp_path / "graph.csv").write_text("肺炎,症状,发热\n哮喘,症状,喘息\n", encoding="utf-8")
    files = [tmp_path / folder / "rows.json" for folder in "ab"]
    rows = rows_of(convert(tmp_path, input=files, graph=[tmp_path / "graph.csv"], keep_near=True))
    assert {row["id"][:11] for row in rows if row["form"] == "text"} == {"text-rows-1", "text-rows-2"}
    assert [row["form"] == "text" for row in rows].count(True) == 30
    assert read_card(tmp_path / "data" / "medqa").representation == "graph+text"


def test_every_row_is_kept_or_counted(tmp_path: Path) -> None:
    asked = {"instruction": "哮喘患者怎样选择吸入药物？", "output": "按病情。"}
    bad = [{**ROWS[0], "output": "别的。"}, {"instruction": "哮喘？", "output": ""}, {"text": "x"}, ROWS[3], ROWS[4]]
    evaluation = file(tmp_path, [{"question": asked["instruction"]}], "questions.json")
    summary = convert(tmp_path, input=[file(tmp_path, [*ROWS, *bad, asked])], evaluation=[evaluation], keep_near=True)
    assert summary.excluded == {
        "contradictory answers": 2,
        "empty answer": 1,
        "no question": 1,
        "repeated row": 2,
        "question of the evaluation": 1,
    }
    assert len(rows_of(summary)) + sum(summary.excluded.values()) == 36


@pytest.mark.parametrize("name", list(PROMPTS))
def test_a_row_can_carry_an_older_prompt(tmp_path: Path, name: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = RECIPE.read_text(encoding="utf-8").replace("template: smollm2", "template: fewshot")
    recipe.write_text(text, encoding="utf-8")
    rows = rows_of(convert(tmp_path, input=[file(tmp_path, ROWS)], recipe=recipe, prompt_form=name, keep_near=True))
    row = next(row for row in rows if row["id"] == "text-rows-000001")
    assert row["instruction"] == PROMPTS[name].put(ROWS[0]["instruction"])
    assert (row["input"], row["output"]) == ("", "胸片0次。")


def test_prompts_put_what_is_told_beside_the_question() -> None:
    assert (
        PROMPTS["med"].put("问", "述") == "下面是一个问题，运用医学知识来正确回答提问.\n### 问题:\n问\n述\n### 回答:\n"
    )
    assert "### Instruction:\n{context}\n\n### Input:\ntold\n\n" in PROMPTS["alpaca"].put("{context}", "told")


@real
@pytest.mark.parametrize("name", ["med", "literature"])
def test_prompts_are_word_for_word_those_of_the_older_model(name: str) -> None:
    written = json.loads((REAL / f"{name}_template.json").read_text(encoding="utf-8"))["prompt_no_input"]
    assert PROMPTS[name].plain == written.replace("{instruction}", "{question}")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "no source; give --input FILE"),
    ({"synthetic": 5, "input": [Path("x")]}, "give --synthetic, or --input and --graph"),
    ({"input": [Path("nowhere.json")]}, "nowhere.json: no such file"),
    ({"graph": [Path("nowhere.json")]}, "nowhere.json: no such file"),
    ({"synthetic": 5, "evaluation": [Path("nowhere.json")]}, "nowhere.json: no such file"),
    ({"input": [Path("x")], "split_by": "form"}, "--split-by form: is for questions made of a graph"),
    ({"synthetic": 5, "longest": 0}, "--longest 0: expected at least 1 character"),
    ({"synthetic": 5, "prompt_form": "medd"}, "expected one of med, literature, alpaca, did you mean 'med'?"),
    ({"synthetic": 5, "prompt_form": "med"}, "medqa_smollm2_lora.yaml has template: smollm2"),
    ({"synthetic": 0}, "--synthetic 0: expected 1 to"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_is_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        convert(tmp_path, **arguments)
    assert not (tmp_path / "data" / "medqa").exists()


def test_an_older_prompt_is_for_one_turn(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("template: empty\n", encoding="utf-8")
    with pytest.raises(VitalFactoryError, match="is for questions of one turn"):
        convert(tmp_path, input=[file(tmp_path, [TALK])], recipe=recipe, prompt_form="med")


@real
@pytest.mark.slow
def test_the_real_instructions_convert(tmp_path: Path) -> None:
    evaluation = [REAL / "infer.json", REAL / "question.json"]
    summary = convert(tmp_path, input=[REAL / "llama_data.json"], evaluation=evaluation, recipe=LLAMA)
    assert sum(part.rows for part in summary.splits.values()) + sum(summary.excluded.values()) == 8658
    assert summary.excluded["contradictory answers"] == 13
    assert summary.excluded["question of the evaluation"] == 5
    asked = {row["instruction"] for row in rows_of(summary)}
    assert not asked & {row["instruction"] for row in read_jsonl(REAL / "infer.json")}
    assert dict(read_card(summary.folder).excluded) == dict(summary.excluded)


@real
@pytest.mark.slow
def test_the_real_conversations_convert(tmp_path: Path) -> None:
    rows = rows_of(convert(tmp_path, input=[REAL / "liver_cancer.json"], recipe=LLAMA))
    assert len(rows) == 1000
    assert sum(len(row["messages"]) for row in rows) == 2 * (292 + 2 * 285 + 3 * 272 + 4 * 126 + 5 * 22 + 6 * 3)


@real
@pytest.mark.slow
def test_the_real_letters_convert(tmp_path: Path) -> None:
    summary = convert(tmp_path, input=[REAL / "toyhom_neike_5000-6000.csv"], recipe=LLAMA)
    rows = rows_of(summary)
    assert len(rows) + sum(summary.excluded.values()) == 7644
    assert "\ufffd" not in json.dumps(rows, ensure_ascii=False)


def test_a_teachers_sentences_are_taken_where_they_name_everything(tmp_path: Path) -> None:
    graph = [["哮喘", "症状", "喘息"], ["哮喘", "症状", "咳嗽"], ["痛风", "症状", "足趾肿痛"], ["肺炎", "症状", "咳嗽"]]
    (tmp_path / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
    made = {"graph": [tmp_path / "graph.json"], "split_by": "question", "split": "80/10/10"}
    before = convert(tmp_path / "before", **made)
    rewriting.main([str(before.folder / "train.jsonl"), str(tmp_path / "prompts.jsonl"), "--language", "zh"])
    prompts = list(read_jsonl(tmp_path / "prompts.jsonl"))
    rows = {row["id"]: row for row in splits_of(before)["train"]}
    assert {row["id"] for row in prompts} == {name for name, row in rows.items() if row["answer_kind"] != "yesno"}
    assert all(rows[row["id"]]["output"] in row["input"] for row in prompts)
    labels = [
        {"id": row["id"], "state": "answered", "model": "teacher", "output": f"答：{rows[row['id']]['output']}"}
        for row in prompts
    ]
    labels[0]["output"] = "不知道有什么。"
    labels[1]["state"] = "failed"
    after = convert(tmp_path / "after", rewritten=file(tmp_path, labels, "labels.jsonl"), **made)
    answers = {row["id"]: row["output"] for row in rows_of(after)}
    for number, label in enumerate(labels):
        own = rows[label["id"]]["output"]
        assert answers[label["id"]] == (own if number < 2 else f"答：{own}")
    assert all(answers[row["id"]] == row["output"] for row in splits_of(before)["test"])
    card = read_card(after.folder)
    assert card.model_written == "teacher"
    assert card.representation == f"graph+{len(labels) - 2} answers rewritten, 1 kept"
    assert "--rewritten" in card.command


def test_labels_without_answers_are_refused(tmp_path: Path) -> None:
    labels = file(tmp_path, [{"id": "1", "state": "failed", "output": None}], "labels.jsonl")
    with pytest.raises(VitalFactoryError, match=r"labels.jsonl: holds no answers"):
        convert(tmp_path, synthetic=5, rewritten=labels)
    rows = file(tmp_path, [{"id": "1", "triples": [], "answer_kind": "free"}], "train.jsonl")
    with pytest.raises(VitalFactoryError, match="no answer made of facts"):
        rewriting.main([str(rows), str(tmp_path / "prompts.jsonl")])
