"""Loading a bitstream, with a program that stands in for openFPGALoader."""

import dataclasses
import os

import pytest

pytest.importorskip("litex_boards")

from litepress.soc import flash
from litepress.soc.boards import BOARDS


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """Writes down what it was called with, and fails for a file named bad.bit."""
    program = tmp_path / flash.LOADER
    program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/called\n"
                       "case \"$*\" in *bad.bit) exit 3;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "called"


def code_of(*arguments):
    with pytest.raises(SystemExit) as exit:
        flash.main(arguments)
    return exit.value.code


@pytest.mark.parametrize("options, words", [((), "--board ulx3s"),
                                            (("--flash",), "--board ulx3s --write-flash")])
def test_load(loader, tmp_path, options, words):
    file = tmp_path / "a.bit"
    file.touch()
    assert code_of("--board", "ulx3s-25f", "--bitstream", str(file), *options) == 0
    assert loader.read_text() == f"{words} {file}\n"


def test_a_loader_that_only_writes_flash(loader, tmp_path):
    file = tmp_path / "a.bit"
    file.touch()
    assert code_of("--board", "orangecrab-85f", "--bitstream", str(file), "--flash") == 0
    assert loader.read_text() == f"--board orangeCrab {file}\n"


def test_the_loader_fails(loader, tmp_path):
    (tmp_path / "bad.bit").touch()
    assert code_of("--bitstream", str(tmp_path / "bad.bit")) == 3


def test_refusals(loader, tmp_path, monkeypatch):
    file = tmp_path / "a.bit"
    file.touch()
    assert code_of("--board", "nexys").startswith("litepress flash: board 'nexys': allowed are")
    assert "no such bitstream: run `litepress build --board ulx3s-85f`" in \
        code_of("--bitstream", str(tmp_path / "none.bit"))
    assert "docs/boards.md" in code_of("--board", "versa-ecp5", "--bitstream", str(file))
    board = dataclasses.replace(BOARDS["ulx3s-85f"], flash="no")
    with pytest.raises(ValueError, match="--flash: openFPGALoader does not write its flash"):
        flash.command(board, file, flash=True)
    assert code_of("--board", "orangecrab-85f", "--bitstream", str(file)) == \
        "litepress flash: board orangecrab-85f: openFPGALoader only writes its flash: give --flash"
    with pytest.raises(ValueError, match="board ulx3s-85f: flash True: allowed are no, yes, only"):
        dataclasses.replace(BOARDS["ulx3s-85f"], flash=True)
    assert not loader.exists()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "openFPGALoader not found: install it" in code_of("--bitstream", str(file))


def test_where_the_build_puts_it():
    path = flash.bitstream_of(BOARDS["ulx3s-85f"])
    assert path.parts[-4:] == ("build", "board", "ulx3s-85f", "ulx3s_85f.bit")
