"""The one command line: what it takes, what it refuses, and with which words."""

import pytest

from vattn_utils import __main__ as command_line
from vattn_utils.__main__ import main


@pytest.mark.parametrize("given", ["heads", "heads=", "=4"])
def test_an_argument_without_a_value_is_refused(given, capsys):
    with pytest.raises(SystemExit):
        main(["train", "eanet", "--set", given])
    assert "names no value; write --set NAME=VALUE, for example --set heads=4" in capsys.readouterr().err


def test_what_is_set_is_a_literal_or_else_a_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(command_line.train, "run", lambda *given: seen.extend(given))
    main(["train", "eanet", "--set", "heads=4", "--set", "attention=self", "--set", "strides=(2, 2)", "--epochs", "3"])
    assert seen[6] == {"heads": 4, "attention": "self", "strides": (2, 2)}
    assert seen[3].epochs == 3


@pytest.mark.parametrize("command", ["train", "sweep", "records", "faithfulness", "audit", "export", "publish"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"python -m vattn_utils {command}" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_those_that_exist(capsys):
    with pytest.raises(SystemExit):
        main(["recrods"])
    assert "choose from" in capsys.readouterr().err


def test_a_recipe_that_cannot_be_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "vit", "--epochs", "0"])
    assert "epochs=0 is not possible" in capsys.readouterr().err


def test_faults_of_records_are_an_exit_status_and_stand_on_stderr(monkeypatch, capsys):
    monkeypatch.setattr(command_line.verification, "verify", lambda: ["a fault"])
    assert main(["records", "--verify"]) == 1
    assert capsys.readouterr().err == "a fault\n"
    monkeypatch.setattr(command_line.verification, "verify", lambda: [])
    assert main(["records", "--verify"]) == 0


def test_records_are_listed(monkeypatch, capsys):
    monkeypatch.setattr(command_line.records, "table", lambda: "a table")
    assert main(["records"]) == 0
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "vit", "--dataset", "cifra10", "--directory", "new"], "did you mean 'cifar10'?"),
        (
            ["train", "patch_convnet", "--dataset", "shapes10", "--base", "nobody", "--name", "new"],
            "no record 'nobody'",
        ),
    ],
)
def test_data_and_records_that_there_are_not_are_a_sentence(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_a_passport_is_measured_again_by_its_record_and_method(capsys):
    record = "patch_convnet-shapes10-book"
    assert main(["faithfulness", "--record", record, "--method", "pooling", "--images", "16"]) == 0
    assert capsys.readouterr().out.startswith(f"**pooling**, {record}: difference of the removal curves ")
