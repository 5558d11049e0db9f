"""The user's table of prices, and tokens estimated from characters."""

from pathlib import Path

import pytest

from vitalfactory.endpoint.prices import Price, estimate_tokens, read_price
from vitalfactory.errors import VitalFactoryError

GOOD = "currency: USD\nmodels:\n  big: {input: 0.4, output: 1.2}\n  small: {input: 0, output: 0}\n"


def test_a_price_is_by_the_million_tokens(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(GOOD, encoding="utf-8")
    price = read_price(path, "big")
    assert price == Price(0.4, 1.2, "USD")
    assert price.of(1_000_000, 500_000) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("currency: USD\nmodels: {}\n", "has no price of 'big'"),
        (GOOD.replace("big", "bigg"), "did you mean 'bigg'?"),
        (GOOD + "discount: 3\n", "discount: Extra inputs"),
        (GOOD.replace("output: 1.2", "output: 1.2, cached: 0.1"), "models.big.cached: Extra inputs"),
        (GOOD.replace("1.2", "-1"), "models.big.output: Input should be greater"),
        (GOOD.replace("1.2", ".inf"), "models.big.output: Input should be a finite number"),
        (GOOD.replace("1.2", "a lot"), "models.big.output"),
        ("currency: [USD\n", "not valid YAML"),
        ("", "table: Input should be"),
        ("!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_a_table_that_is_none_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(VitalFactoryError) as error:
        read_price(path, "big")
    assert told in str(error.value)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="no such file"):
        read_price(tmp_path / "none.yaml", "big")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("患者男性，65岁，因发热、咳嗽、咳黄痰3天入院。查体：右下肺可闻及湿啰音，心率102次/分。", 42),
        ("A 65-year-old man was admitted with fever, productive cough and pleuritic chest pain for three days.", 24),
        ("", 0),
    ],
)
def test_estimates_are_near_what_qwen_counts(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == pytest.approx(tokens, rel=0.25)
