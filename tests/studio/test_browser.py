"""The studio in a real Chromium: five parts, two languages, the keyboard alone, a narrow screen, what is refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.browser import BROWSER
from tests.tiny import make_qwen2_vl
from vitalfactory.files import ROOT, read_json, write_json, write_jsonl
from vitalfactory.recipes import read_recipe
from vitalfactory.studio.words import CHINESE, ENGLISH, Words

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
PATIENCE = 240_000
"""Milliseconds that a script may take: a page that is stuck ends the test, a slow machine does not."""
PARTS = ("build", "look", "train", "ask", "results")
KEY = "test-key-0123456789"
MARK = "zq71-chief-complaint-of-nobody"
WITHOUT_CHECK = """
import sys

words = sys.orig_argv
script = next((word for word in words if word.startswith("converters/")), "")
checked = script in ("", "converters/check.py") or words[words.index("--name") + 1] == "ecg"
if not checked:
    from vitalfactory.dataset import check

    tokens = check.Tokens(0, 0, 0, 0, 0, 0, 0, "none", True, {})
    check.check_all = lambda requests: [check.Report(tokens=tokens) for _ in requests]
"""
"""LLaMA-Factory takes seconds to import: one dataset is checked by it, the others are written without."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no browser: neither chromium nor google-chrome is installed"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


@dataclass
class Started:
    """A studio as a process of its own."""

    url: str
    root: Path
    sources: Path
    temporary: Path
    log: Path
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def studio(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    place = tmp_path_factory.mktemp("studio")
    root, temporary, patched = place / "root", place / "tmp", place / "patched"
    for folder in (root / "data", temporary, patched):
        folder.mkdir(parents=True)
    (patched / "sitecustomize.py").write_text(WITHOUT_CHECK)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(patched), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vitalfactory.studio", "--root", str(root), "--folder", str(sources)]
    command += ["--port", "0", "--largest-mb", "1"]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:"), (place / "log").read_text()
        yield Started(line.split()[1], root, sources, temporary, place / "log", process)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert not list(temporary.glob("vitalfactory-studio-*")), "what was dropped is still there"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


class Page:
    """An open page of the studio."""

    def __init__(self, studio: Started, browser: Any, words: Words = ENGLISH, width: int = 1200) -> None:
        self.studio, self.words = studio, words
        self.context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-GB")
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.fetched: list[str] = []
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(f"{studio.url}/{words.language}/")
        self.page.wait_for_selector(".vf-banner")

    def open(self, part: str) -> None:
        self.page.get_by_role("tab", name=getattr(self.words, f"tab_{part}"), exact=True).click()
        self.page.get_by_text(getattr(self.words, f"{part}_about")).wait_for()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).and_(self.page.locator(":visible")).click()

    def field(self, label: str) -> Any:
        named = self.page.get_by_label(re.compile(rf"^\s*{re.escape(label)}"))
        return named.and_(self.page.locator(":visible")).first

    def choose(self, label: str, value: str) -> None:
        """Type a choice into a list and take it."""
        field = self.field(label)
        field.click()
        field.fill(value)
        field.press("Enter")
        field.press("Tab")

    def wait(self, selector: str) -> str:
        """Wait for something on the page and return what it says."""
        found = self.page.locator(selector).and_(self.page.locator(":visible")).first
        found.wait_for()
        return str(found.inner_text())

    def says(self, place: str, text: str) -> str:
        """Wait until a place says something and return all that it says then."""
        self.page.locator(f"#{place}").filter(has_text=text).wait_for()
        return str(self.page.locator(f"#{place}").inner_text())

    def command(self, place: str) -> str:
        """Read a box of commands."""
        return str(self.page.locator(f"#{place} textarea").input_value())

    def close(self) -> None:
        text = self.page.locator("body").inner_text()
        assert "[object Object]" not in text
        assert "Traceback" not in text
        assert self.errors == []
        assert [url for url in self.fetched if not url.startswith((self.studio.url, "data:", "blob:"))] == []
        self.context.close()


@pytest.fixture
def page(studio: Started, chromium: Any) -> Iterator[Page]:
    opened = Page(studio, chromium)
    yield opened
    opened.close()


def build(page: Page, task: str, source: Path, name: str) -> None:
    """Write a dataset through the page."""
    from playwright.sync_api import expect

    page.open("build")
    if task != "ecg":  # the one that is chosen at first
        page.field(ENGLISH.tasks[task]).check()
        expect(page.field(ENGLISH.name)).to_have_value(task)
    page.choose(ENGLISH.source, str(source))
    page.field(ENGLISH.name).fill(name)
    page.press(ENGLISH.build)


SOURCES = {
    "ecg": "ecg",
    "eeg": "eeg",
    "clinical": "clinical/notes.jsonl",
    "medqa": "medqa/questions.jsonl",
    "cxr": "cxr",
}


@pytest.fixture(scope="module")
def built(studio: Started, chromium: Any) -> dict[str, str]:
    """Write a dataset of each task through the page; what the page says of each."""
    told = {}
    for task, source in SOURCES.items():
        page = Page(studio, chromium)
        build(page, task, studio.sources / source, task)
        page.wait("#build-status table, #build-status .vf-problem")
        told[task] = page.page.locator("#build-status").inner_text()
        page.page.screenshot(path=studio.log.with_name(f"build_{task}.png"), full_page=True)
        page.close()
    return told


@pytest.mark.parametrize("task", list(SOURCES))
def test_a_dataset_of_each_task_is_written(studio: Started, built: dict[str, str], task: str) -> None:
    assert f"Written: {task}" in built[task]
    folder = studio.root / "data" / task
    card = read_json(folder / "card.json")
    assert str(studio.sources / SOURCES[task]) in card["command"]
    assert sum(split["rows"] for split in card["splits"].values()) == {"ecg": 40, "eeg": 60}.get(task, 30)
    for split in card["splits"].values():
        assert str(split["rows"]) in built[task]
    assert f"{task}_train" in read_json(studio.root / "dataset_info.json")
    assert not list((studio.root / "data").glob(".*.partial"))


def test_a_dataset_is_not_replaced_unless_that_is_said(built: dict[str, str], page: Page, studio: Started) -> None:
    before = (studio.root / "data" / "ecg" / "card.json").stat()
    build(page, "ecg", studio.sources / "ecg", "ecg")
    page.says("build-status", "data/ecg is there already")
    assert (studio.root / "data" / "ecg" / "card.json").stat() == before


def test_a_cancelled_build_leaves_nothing(built: dict[str, str], page: Page, studio: Started) -> None:
    page.open("build")
    page.field(ENGLISH.made).fill("4000")
    page.field(ENGLISH.name).fill("cancelled")
    page.press(ENGLISH.build)
    page.wait("#build-status progress")
    page.says("build-status", "reading cancelled")
    page.press(ENGLISH.cancel)
    page.says("build-status", "Nothing half-written")
    left = [path.name for path in (studio.root / "data").iterdir() if "cancelled" in path.name]
    assert set(left) <= {".cancelled.lock"}
    assert "cancelled_train" not in read_json(studio.root / "dataset_info.json")


def test_rows_are_paged_through_with_their_prompt(built: dict[str, str], page: Page) -> None:
    page.open("look")
    page.says("look-about", "Page 1 of 4, 32 rows.")
    page.press(ENGLISH.forward)
    page.says("look-about", "Page 2 of 4, 32 rows.")
    page.page.locator("#look-rows input").nth(1).check()
    page.says("look-row", "What is answered")
    assert page.page.locator("#look-rows label").nth(1).inner_text().startswith("12 · A")
    page.wait("#look-picture img")
    told = page.says("look-prompt", "tokens of at most 512")
    assert re.search(r"\d+ of the prompt, then 4 of the answer, from token \d+ on", told)
    assert page.wait("#look-prompt mark").startswith(("AF<", "no AF<"))
    assert "<|im_start|>user" in told
    page.field(ENGLISH.page).fill("99")
    page.field(ENGLISH.page).press("Enter")
    page.says("look-about", "Page 4 of 4, 32 rows.")


@pytest.mark.parametrize("dataset", ["eeg", "cxr", "clinical", "medqa"])
def test_a_row_of_each_task_is_drawn(built: dict[str, str], page: Page, dataset: str) -> None:
    page.open("look")
    page.says("look-about", "32 rows")
    page.choose(ENGLISH.dataset, dataset)
    page.says(
        "look-about", f"{read_json(page.studio.root / 'data' / dataset / 'card.json')['splits']['train']['rows']} "
    )
    page.page.locator("#look-rows input").first.check()
    page.says("look-row", "What is answered")
    if dataset in ("eeg", "cxr"):
        page.wait("#look-picture img")
    assert page.page.locator("#look-status .vf-problem").count() == 0


def test_a_page_of_a_hundred_thousand_rows(built: dict[str, str], page: Page, studio: Started) -> None:
    folder = studio.root / "data" / "many"
    row = {"group": "g", "instruction": "What?", "input": "RR " + "80 " * 100, "output": "AF", "label": "AF"}
    write_jsonl(folder / "train.jsonl", ({"id": f"R{number:06d}", **row} for number in range(100_000)))
    card = read_json(studio.root / "data" / "ecg" / "card.json")
    write_json(folder / "card.json", {**card, "name": "many"})
    registry = read_json(studio.root / "dataset_info.json")
    write_json(studio.root / "dataset_info.json", {**registry, "many_train": registry["ecg_train"]})
    page.open("look")
    page.says("look-about", "32 rows")
    page.choose(ENGLISH.dataset, "many")
    page.says("look-about", "Page 1 of 10000, 100000 rows.")
    page.field(ENGLISH.page).fill("5000")
    page.field(ENGLISH.page).press("Enter")
    page.says("look-about", "Page 5000 of 10000")
    assert "49991 · R049990" in page.page.locator("#look-rows").inner_text()


def test_a_recipe_is_checked_and_a_loss_is_watched(built: dict[str, str], page: Page, studio: Started) -> None:
    step = {"total_steps": 40, "percentage": 25.0, "elapsed_time": "0:01:00", "remaining_time": "0:03:00"}
    rows = [{"current_steps": place, "loss": 2.0 / place, **step} for place in (5, 10)]
    log = studio.root / "saves" / "ecg_tiny" / "trainer_log.jsonl"
    write_jsonl(log, rows)
    page.open("train")
    page.says("train-loss", "Step 10 of 40 (25 %), loss 0.2000")
    page.wait("#train-loss img")
    write_jsonl(log, [*rows, {"current_steps": 15, "loss": 0.1, **step}])
    page.says("train-loss", "Step 15 of 40")
    page.choose(ENGLISH.recipe, "ecg_smollm2_lora.yaml")
    page.press(ENGLISH.check)
    told = page.wait("#train-status table, #train-status .vf-problem")
    assert "ecg" in told or "train" in told
    assert "nothing is wrong" in page.page.locator("#train-status").inner_text()
    command = page.command("train-command")
    assert command.startswith("python converters/check.py --recipe train_configs/ecg_smollm2_lora.yaml")
    start = page.command("train-start")
    assert start.startswith("llamafactory-cli train train_configs/ecg_smollm2_lora.yaml")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Serve the embedded model, as it is before any training."""
    from vitalfactory.models import embedded
    from vitalfactory.serving.local import serve

    with serve(embedded.gguf_file(), parallel=2, context=1024, threads=1) as url:
        yield url


def prepare_question(page: Page, url: str, dataset: str, recipe: str) -> None:
    from playwright.sync_api import expect

    page.open("ask")
    expect(page.field(ENGLISH.tuned_with)).not_to_have_value("")
    page.choose(ENGLISH.tuned_on, dataset)
    page.choose(ENGLISH.tuned_with, recipe)
    page.field(ENGLISH.endpoint).fill(url)


def test_an_ecg_is_asked_of_a_served_model(built: dict[str, str], page: Page, studio: Started, endpoint: str) -> None:
    prepare_question(page, endpoint, "ecg", "ecg_smollm2_lora.yaml")
    page.page.set_input_files("#ask-drop input[type=file]", studio.sources / "ecg" / "A00001.mat")
    page.says("ask-status", "Dropped: A00001.mat.")
    page.press(ENGLISH.ask)
    page.wait("#ask-probabilities table, #ask-status .vf-problem")
    bars = page.page.locator("#ask-probabilities tr").all_inner_texts()
    shares = {line.split("\t")[0]: float(line.split()[-1]) for line in bars}
    assert set(shares) == {"AF", "no AF"}
    assert sum(shares.values()) == pytest.approx(1, abs=0.002)
    assert "The model's words" in page.says("ask-words", "The model's words")
    kept = next(row for row in _rows(studio.root / "data" / "ecg") if row["id"] == "A00001")
    assert kept["input"] in page.page.locator("#ask-question pre").inner_text()
    page.wait("#ask-picture img")
    commands = page.command("ask-command").splitlines()
    assert [line.split()[1] for line in commands] == ["converters/ecg.py", "eval/generate.py", "eval/score.py"]
    page.says("ask-status", "Done.")
    page.page.screenshot(path=studio.log.with_name("ask.png"), full_page=True)


@pytest.fixture(scope="module")
def vision(studio: Started, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a Qwen2-VL of random weights, with a recipe of its own beside the studio's datasets."""
    recipe = studio.root / "train_configs" / "cxr_tiny.yaml"
    recipe.parent.mkdir()
    model = make_qwen2_vl(tmp_path_factory.mktemp("vision") / "tiny")
    own = {**read_recipe(ROOT / "train_configs" / "cxr_qwen2vl7b_lora.yaml"), "model_name_or_path": str(model)}
    recipe.write_text(yaml.safe_dump({**own, "bf16": False, "infer_dtype": "float32"}))
    command = [sys.executable, "-m", "vitalfactory.serving", "start", str(recipe), "--adapter", "none", "--port", "0"]
    environment = {**os.environ, "VITALFACTORY_API_KEY": KEY}
    log = tmp_path_factory.getbasetemp() / "vision.log"
    with log.open("w") as err:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=err, text=True)
        assert process.stdout is not None
        ready = next((line for line in process.stdout if line.startswith("ready ")), "")
        assert ready, log.read_text()
        yield ready.split()[1]
        process.send_signal(signal.SIGTERM)
        process.communicate()


def test_an_xray_is_asked_of_a_served_vision_model(
    built: dict[str, str], page: Page, studio: Started, vision: str
) -> None:
    prepare_question(page, vision, "cxr", "cxr_tiny.yaml")
    page.field(ENGLISH.key).fill(KEY)
    (image,) = studio.sources.rglob("00000003_000.png")
    page.page.set_input_files("#ask-drop input[type=file]", image)
    page.says("ask-status", f"Dropped: {image.name}.")
    page.press(ENGLISH.ask)
    page.says("ask-status", ENGLISH.done)
    page.wait("#ask-picture img")
    page.says("ask-words", ENGLISH.its_words)
    commands = page.command("ask-command")
    assert [line.split()[1] for line in commands.splitlines()] == ["converters/cxr.py", "eval/generate.py"]
    assert KEY not in commands
    page.page.screenshot(path=studio.log.with_name("ask_cxr.png"), full_page=True)


def _rows(folder: Path) -> list[dict[str, Any]]:
    from vitalfactory.files import read_jsonl

    return [row for split in ("train", "val", "test") for row in read_jsonl(folder / f"{split}.jsonl")]


def holding(folder: Path, text: bytes) -> list[Path]:
    """Find the files below a folder that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if text in path.read_bytes()]


def test_nothing_that_is_dropped_is_kept_or_logged(
    built: dict[str, str], studio: Started, chromium: Any, tmp_path: Path
) -> None:
    note = tmp_path / "note.txt"
    note.write_text(f"Chief complaint: {MARK}.", encoding="utf-8")
    page = Page(studio, chromium)
    prepare_question(page, "http://127.0.0.1:9/v1", "clinical", "clinical_smollm2_lora.yaml")
    page.page.set_input_files("#ask-drop input[type=file]", note)
    page.says("ask-status", "Dropped: note.txt.")
    assert holding(studio.temporary, MARK.encode()), "the search finds nothing at all"
    page.press(ENGLISH.ask)
    told = page.wait("#ask-status .vf-problem")
    assert "127.0.0.1:9" in told
    page.press(ENGLISH.forget)
    page.says("ask-status", "Forgotten.")
    assert not holding(studio.temporary, MARK.encode())
    page.page.set_input_files("#ask-drop input[type=file]", note)
    page.says("ask-status", "Dropped: note.txt.")
    assert holding(studio.temporary, MARK.encode())
    page.close()
    while holding(studio.temporary, MARK.encode()):  # the studio notices that a page has gone
        assert studio.process.poll() is None
        time.sleep(0.2)
    assert not holding(studio.root, MARK.encode())
    assert MARK not in studio.log.read_text()


def test_a_file_that_is_too_large_is_refused(
    built: dict[str, str], page: Page, studio: Started, tmp_path: Path
) -> None:
    (tmp_path / "large.mat").write_bytes(bytes(2 * 2**20))
    page.open("ask")
    page.page.set_input_files("#ask-drop input[type=file]", tmp_path / "large.mat")
    page.page.get_by_text(re.compile("maximum allowed size", re.IGNORECASE)).first.wait_for()
    sizes = [path.stat().st_size for path in studio.temporary.rglob("*") if path.is_file()]
    assert max(sizes, default=0) < 2**20


@pytest.fixture(scope="module")
def judged(studio: Started, built: dict[str, str]) -> list[str]:
    """Judge two classical models on the dataset of ECGs."""
    from eval import classify
    from vitalfactory.models import boosted, rhythm_rule

    names = {"rule": rhythm_rule, "boosted": boosted}
    for name, model in names.items():
        out = studio.root / "results" / name
        model.main(["--dataset", str(studio.root / "data" / "ecg"), "--out", str(out)])
        classify.main([str(out)])
    return list(names)


def test_two_results_stand_side_by_side(studio: Started, judged: list[str], page: Page) -> None:
    page.open("results")
    table = page.wait("#results-table table")
    assert "boosted" in table
    assert re.search(r"AUROC [\d.]+ \[[\d.]+, [\d.]+\]", table)
    page.press(ENGLISH.show_reports)
    frames = page.page.locator("#results-reports iframe")
    frames.nth(1).wait_for()
    for place, name in enumerate(("boosted", "rule")):
        inside = frames.nth(place).content_frame
        inside.get_by_text("not a medical device").first.wait_for()
        assert name in inside.locator("body").inner_text()
    page.press(ENGLISH.compare)
    told = page.says("results-compared", "McNemar")
    assert "boosted" in told
    assert "rule" in told
    assert page.command("results-command").startswith("python eval/compare.py ")
    page.page.screenshot(path=studio.log.with_name("results.png"), full_page=True)


def test_bad_input_ends_in_words_on_the_page(
    built: dict[str, str], judged: list[str], page: Page, studio: Started, tmp_path: Path
) -> None:
    from playwright.sync_api import expect

    build(page, "ecg", Path("/etc"), "other")
    page.says("build-status", "/etc: not in")
    build(page, "ecg", _linked(studio), "other")
    page.says("build-status", "linked is a symbolic link")
    page.choose(ENGLISH.source, str(studio.sources / "clinical"))
    page.press(ENGLISH.build)
    page.says("build-status", "holds neither REFERENCE.csv")
    spoilt = studio.root / "data" / "spoilt"
    shutil.copytree(studio.root / "data" / "ecg", spoilt)
    (spoilt / "train.jsonl").write_text("no row\n")
    registry = read_json(studio.root / "dataset_info.json")
    write_json(studio.root / "dataset_info.json", {**registry, "spoilt_train": registry["ecg_train"]})
    page.open("look")
    page.says("look-about", "32 rows")
    page.choose(ENGLISH.dataset, "spoilt")
    page.says("look-status", "not valid JSON")
    (studio.root / "train_configs").mkdir(exist_ok=True)
    (studio.root / "train_configs" / "broken.yaml").write_text("stage: [sft\n")
    page.open("train")
    expect(page.page.locator("#train-start textarea")).not_to_have_value("")  # the recipes are listed anew
    page.choose(ENGLISH.recipe, "broken.yaml")
    page.press(ENGLISH.check)
    page.says("train-status", "not valid YAML")
    (tmp_path / "x.mat").write_bytes(b"no recording" * 9)
    prepare_question(page, "http://127.0.0.1:9/v1", "ecg", "ecg_smollm2_lora.yaml")
    page.page.set_input_files("#ask-drop input[type=file]", tmp_path / "x.mat")
    page.says("ask-status", "Dropped: x.mat.")
    page.press(ENGLISH.ask)
    page.says("ask-status", "not a MAT version 4 file")
    page.field(ENGLISH.endpoint).fill("https://models.example.org/v1")
    page.press(ENGLISH.ask)
    page.says("ask-status", "models.example.org is another machine")
    page.open("results")
    page.wait("#results-table table")
    page.choose(ENGLISH.second_run, "boosted")
    page.press(ENGLISH.compare)
    page.says("results-status", "choose two different runs")


def _linked(studio: Started) -> Path:
    link = studio.sources / "linked"
    if not link.is_symlink():
        link.symlink_to(studio.sources / "ecg")
    return link


FOCUSED = "() => { const f = document.activeElement; return f.getAttribute('aria-label') || f.innerText }"


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what is focused says a text."""
    for _ in range(80):
        page.page.keyboard.press("Tab")
        if str(page.page.evaluate(FOCUSED)).strip() == text:
            return
    raise AssertionError(f"no way to {text!r} by the keyboard")


def test_the_keyboard_alone_is_enough(built: dict[str, str], page: Page) -> None:
    tab_to(page, ENGLISH.tab_look)
    page.page.keyboard.press("Enter")
    page.says("look-about", "32 rows")
    tab_to(page, ENGLISH.forward)
    page.page.keyboard.press("Enter")
    page.says("look-about", "Page 2 of 4")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Space")
    page.says("look-row", "What is answered")
    page.wait("#look-picture img")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Space")
    page.page.locator("#look-rows label").nth(1).locator("input:checked").wait_for()


@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_a_narrow_screen_holds_every_part(
    built: dict[str, str], judged: list[str], studio: Started, chromium: Any, words: Words
) -> None:
    page = Page(studio, chromium, words, width=400)
    for part in PARTS:
        tab = page.page.get_by_role("tab", name=getattr(words, f"tab_{part}"), exact=True)
        if not tab.and_(page.page.locator(":visible")).count():
            page.page.locator(".overflow-menu > button").click()
            page.page.locator(".overflow-dropdown").get_by_text(getattr(words, f"tab_{part}"), exact=True).click()
        else:
            tab.click()
        page.page.get_by_text(getattr(words, f"{part}_about")).wait_for()
        page.page.wait_for_timeout(300)
        widths = page.page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], f"{part} is wider than the screen"
        page.page.screenshot(path=studio.log.with_name(f"narrow_{words.language}_{part}.png"), full_page=True)
    page.close()


@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_every_label_is_in_the_language_of_the_page(
    built: dict[str, str], judged: list[str], studio: Started, chromium: Any, words: Words
) -> None:
    page = Page(studio, chromium, words)
    assert page.page.locator("html").get_attribute("lang") == ("zh-CN" if words is CHINESE else "en")
    for part in PARTS:
        page.open(part)
        page.page.wait_for_timeout(500)
        told = ":is(label > span, h1, h3, button, [data-testid=block-info], .vf-banner, p, caption, th)"
        labels = page.page.locator(f"{told}:not(#look-rows *)")
        for text in labels.and_(page.page.locator(":visible")).all_inner_texts():
            check_language(text.strip(), words)
        page.page.screenshot(path=studio.log.with_name(f"wide_{words.language}_{part}.png"), full_page=True)
    page.page.get_by_role("link", name=words.other_language_name).click()
    other = CHINESE if words is ENGLISH else ENGLISH
    page.page.get_by_text(other.not_a_device).wait_for()
    page.close()


NAMES = re.compile(r"[\w./-]*[\d_./·-][\w./-]*|VitalFactory|LLaMA-Factory|English|中文|train|val|test|AUROC|F1|AF|no")
"""Of files, datasets and figures, which are the same in every language."""


def check_language(text: str, words: Words) -> None:
    left = NAMES.sub("", text)
    if words is ENGLISH:
        assert not re.search("[\u4e00-\u9fff]", left), text
    elif re.search("[A-Za-z]{3}", left):
        assert re.search("[\u4e00-\u9fff]", left), text


def test_nothing_but_the_page_is_served(studio: Started) -> None:
    secret = studio.root / "data" / ".registry.lock"
    parts = urlsplit(studio.url)

    def get(path: str, **headers: str) -> int:
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        status = connection.getresponse().status
        connection.close()
        return status

    assert get("/en/") == 200
    assert get("/", Accept_Language="zh-CN,zh;q=0.9") == 307
    for path in (f"/en/gradio_api/file={secret}", "/en/gradio_api/file=/etc/passwd", f"/en/file={secret}"):
        assert get(path) == 404
    assert get("/reports/..%2F..%2Fdata%2Fecg") == 404
    assert get("/en/", Host="example.org") == 421
    assert get("/en/gradio_api/queue/data", Origin="https://example.org") == 403


def test_it_ends_with_what_was_dropped(sources: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    left = tmp_path / "vitalfactory-studio-left"
    (left / "uploads").mkdir(parents=True)
    (left / "uploads" / "note.txt").write_text(MARK)
    command = [
        sys.executable,
        "-m",
        "vitalfactory.studio",
        "--root",
        str(sources),
        "--folder",
        str(sources),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    assert not left.exists(), "what an earlier studio left is deleted"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert not list(tmp_path.glob("vitalfactory-studio-*"))
