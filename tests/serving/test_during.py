"""A command beside a server: it is told where the server is, and the server ends with it."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from vitalfactory.errors import VitalFactoryError
from vitalfactory.serving import during

ASKS = """
import json, sys, urllib.request
models = json.load(urllib.request.urlopen(sys.argv[1] + "/models"))
open(sys.argv[2], "w").write(json.dumps([sys.argv[1], models["data"][0]["id"]]))
sys.exit(7)
"""


def test_a_command_finds_the_model_and_its_exit_code_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(ASKS, encoding="utf-8")
    told = tmp_path / "told.json"
    with pytest.raises(SystemExit) as ended:
        during.main(["--", "python", str(tmp_path / "asks.py"), "{url}", str(told)])
    assert ended.value.code == 7
    url, model = json.loads(told.read_text(encoding="utf-8"))
    assert "SmolLM2" in model
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=5)


REFUSED = [
    ([], "no command; give it after --"),
    (["--"], "no command; give it after --"),
    (["--model", "nowhere.gguf", "--", "python"], "nowhere.gguf: no such file"),
    (["--adapter", "nowhere.gguf", "--", "python"], "nowhere.gguf: no such file"),
    (["--adapter", ".", "--", "python"], "adapter_config.json: no such file"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        during.main(arguments)
