"""Rows with images have as many tokens as LLaMA-Factory trains on, whether or not the model's processor is at hand."""

from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.tiny import VISION_TOKENS
from vitalfactory.dataset import registry
from vitalfactory.errors import VitalFactoryError
from vitalfactory.models import embedded
from vitalfactory.render import Chat, Renderer, load_processor

SIZES = [(1060, 340), (28, 28), (5, 300), (3000, 2000), (31, 3100), (333, 777)]


def row(*images: Path | str, marks: int | None = None) -> dict[str, Any]:
    asked = "<image>" * (len(images) if marks is None else marks) + "AF?"
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": "no AF"}]
    return {"id": "r1", "group": "g1", "messages": messages, "images": [str(image) for image in images]}


@cache
def vision_tokenizer() -> Any:
    tokenizer = embedded.load_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(VISION_TOKENS)})
    return tokenizer


def renderer(model: object = "nobody/none", tokenizer: Any = None, **recipe: object) -> Renderer:
    given = {"model_name_or_path": str(model), "template": "qwen2_vl", **recipe}
    return Renderer(given, tokenizer or vision_tokenizer(), registry.entries("ecg", row("x")), "ecg_train")


def picture(folder: Path, size: tuple[int, int]) -> Path:
    path = folder / f"{size[0]}x{size[1]}.png"
    Image.new("P", size, 7).save(path)
    return path


@pytest.fixture(scope="module")
def processor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the processor of a Qwen2-VL, without its model."""
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    folder = tmp_path_factory.mktemp("qwen2_vl")
    tokenizer = vision_tokenizer()
    Qwen2VLProcessor(
        Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor(), tokenizer.chat_template
    ).save_pretrained(folder)
    return folder


def trained(shown: Renderer, given: dict[str, Any], processor: Any, **limits: int) -> list[int]:
    """Encode a row as LLaMA-Factory's own training does."""
    from llamafactory.data.processor import SupervisedDatasetProcessor
    from llamafactory.hparams import DataArguments

    for name, value in limits.items():
        setattr(processor, name, value)
    encoder = SupervisedDatasetProcessor(shown.template, shown.tokenizer, processor, DataArguments(cutoff_len=100_000))
    aligned = {key: [value] for key, value in shown._convert(given).items()}
    ids: list[int] = encoder.preprocess_dataset(aligned)["input_ids"][0]
    return ids


LIMITS = [{}, {"image_max_pixels": 262_144}, {"image_max_pixels": 400, "image_min_pixels": 300}]


@pytest.mark.parametrize("limits", LIMITS, ids=["default", "small", "tiny"])
def test_the_tokens_of_a_picture_are_those_of_training(
    limits: dict[str, int], tmp_path: Path, processor_folder: Path
) -> None:
    own, none = renderer(processor_folder, **limits), renderer(**limits)
    processor = load_processor(str(processor_folder))
    for size in SIZES:
        given = row(picture(tmp_path, size))
        wanted = trained(own, given, processor, **limits)
        for shown in (own, none):
            rendered = shown.render(given)
            assert rendered.prompt + rendered.answer == wanted, size


def test_a_strip_of_ecg_paper_is_456_tokens(tmp_path: Path) -> None:
    shown = renderer()
    rendered = shown.render(row(picture(tmp_path, (1060, 340))))
    pad = shown.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert rendered.prompt.count(pad) == 38 * 12


def test_several_pictures_and_none(tmp_path: Path) -> None:
    shown = renderer()
    one, two, none = (shown.render(row(*[picture(tmp_path, (56, 56))] * count)).prompt for count in (1, 2, 0))
    assert len(two) - len(one) == len(one) - len(none) == 4 + 2


def test_pictures_are_found_from_the_recipe_s_folder(tmp_path: Path) -> None:
    picture(tmp_path, (56, 56))
    direct = renderer().render(row(tmp_path / "56x56.png"))
    assert renderer(dataset_dir=str(tmp_path)).render(row("56x56.png")) == direct
    assert renderer(dataset_dir="data", media_dir=str(tmp_path)).render(row("56x56.png")) == direct


@pytest.mark.parametrize("marks", [0, 2])
def test_marks_that_are_not_as_many_as_the_pictures(tmp_path: Path, marks: int) -> None:
    with pytest.raises(VitalFactoryError, match=r"r1: .*number of images does not match") as error:
        renderer().render(row(picture(tmp_path, (56, 56)), marks=marks))
    assert "AF?" not in str(error.value)


def test_a_picture_that_is_not_there() -> None:
    with pytest.raises(VitalFactoryError, match=r"r1: .*none\.png"):
        renderer().render(row("none.png"))


def test_a_template_that_takes_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"r1: .*does not support image input"):
        renderer(template="qwen").render(row(picture(tmp_path, (56, 56))))


def test_another_model_s_processor_cannot_be_stood_in_for(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match=r"r1: .*Processor was not found"):
        renderer(template="qwen3_vl").render(row(picture(tmp_path, (56, 56))))


def test_a_text_model_has_no_processor(tmp_path: Path) -> None:
    embedded.load_tokenizer().save_pretrained(tmp_path)
    assert load_processor(str(tmp_path)) is None
    assert load_processor("nobody/none") is None


def test_a_chat_has_its_images_where_their_marks_stand(tmp_path: Path) -> None:
    images = [picture(tmp_path, (31, 28)), tmp_path / "second.jpg"]
    images[1].write_bytes(b"jpeg")
    given = row(*images)
    given["messages"][0]["content"] = "First <image> then<image>"
    chat = Chat({"template": "qwen2_vl"}, registry.entries("ecg", given), "ecg_train")
    system, asked = chat.messages(given)
    assert system["role"] == "system"
    first, one, then, other = asked["content"]
    assert (first, then) == ({"type": "text", "text": "First "}, {"type": "text", "text": " then"})
    assert one["image_url"]["url"] == "data:image/png;base64," + b64encode(images[0].read_bytes()).decode()
    assert other["image_url"]["url"] == "data:image/jpeg;base64," + b64encode(b"jpeg").decode()
    given["messages"][0]["content"] = "<image>"
    with pytest.raises(VitalFactoryError, match="r1: not one <image> mark for each of its 2 images"):
        chat.messages(given)
    with pytest.raises(VitalFactoryError, match=r"r1: .*gone\.png: No such file"):
        chat.messages(row(tmp_path / "gone.png"))
