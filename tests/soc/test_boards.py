"""Boards: every one elaborates to Verilog with its firmware, and bad requests are refused."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("litex_boards")

from litedram.phy import HalfRateGENSDRPHY
from litex_boards.platforms import radiona_ulx3s

from litepress.soc import accelerator, bitstream, core, firmware, fit, sim
from litepress.soc import board as board_module
from litepress.soc.boards import BOARDS, DDR3, SDR, SDR_HALF, Board
from litepress.soc.clocking import check_clocks, pll_makes
from litepress.soc.revision import revision
from litepress.spec.arch import ARCHS
from litepress.spec.wire import BAUDS, revision_text

ROOT   = Path(__file__).resolve().parents[2]
SHARED = ("ctrl", "timer0", "wire", "accel")     # CSR banks that are the same everywhere.

needs_compiler = pytest.mark.skipif(not shutil.which("riscv64-unknown-elf-gcc"),
                                    reason="riscv64-unknown-elf-gcc is not installed")


def quick(board):
    """The board with the smallest accelerator: what differs between boards is the rest."""
    return dataclasses.replace(board, arch="tiny", accel={"codecs": ()})


def defines(text, *prefixes):
    """{name: value} of a header's macros."""
    found = re.findall(r"^#define (\w+) (.+)$", text, re.MULTILINE)
    return {name: value for name, value in found if name.startswith(prefixes)}


def shared_csrs(directory):
    """Addresses and sizes of SHARED, as firmware sees them."""
    text = (directory / "firmware" / "generated" / "csr.h").read_text()
    return defines(text, *(f"CSR_{name.upper()}_" for name in SHARED))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What firmware is built from in the simulated SoC: (SoC, directory)."""
    directory = tmp_path_factory.mktemp("simulated")
    soc = sim.SimSoC(ARCHS["tiny"])
    soc.finalize()
    firmware.write_headers(soc, directory / "firmware")
    return soc, directory

# Elaboration --------------------------------------------------------------------------------------

@needs_compiler
@pytest.mark.parametrize("name", BOARDS)
def test_elaborates(name, simulated, tmp_path, monkeypatch):
    """Verilog and firmware; CSRs, interrupts and memories are those of the simulated SoC."""
    board = quick(BOARDS[name])
    made  = []
    class Kept(board_module.BoardSoC):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)
    monkeypatch.setattr(board_module, "ROOT", tmp_path)
    monkeypatch.setattr(board_module, "BoardSoC", Kept)
    said = []
    directory, script = board_module.generate(board, say=said.append)
    verilog = next(directory.glob("*.v")).read_text()
    # The multipliers are DSP blocks: the array's and the requantizers'; Yosys makes none.
    wanted = fit.needs(ARCHS["tiny"], **board.accel)
    assert verilog.count("MULT18X18D #(") == wanted.dsps
    assert "firmware:" in said[0]
    assert said[1:] == [f"revision: {revision_text(revision())}"]
    assert list(bitstream.script_commands(script)) == list(bitstream.TOOLS)
    rom = next(directory.glob("*rom.init")).read_text().split()
    assert 500 < len(rom) <= core.ROM_BYTES // 4

    soc, (reference, there) = made[0], simulated
    assert soc.platform.device == board.device
    assert ("DQSBUFM" in verilog) == (board.memory == DDR3)
    ours, theirs = shared_csrs(directory), shared_csrs(there)
    assert ours == theirs and len(ours) > 50
    assert soc.irq.locs == reference.irq.locs
    for region in ("rom", "sram", "csr", "main_ram"):
        assert soc.mem_regions[region].origin == reference.mem_regions[region].origin
    names = [f"ACCEL_{field.upper()}" for field in ARCHS["tiny"].as_dict()]
    for constant in ["WIRE_RX_BYTES", *names]:
        assert soc.constants[constant] == reference.constants[constant]
    text = (directory / "firmware" / "generated" / "sdram_phy.h").read_text()
    assert ("SDRAM_PHY_READ_LEVELING_CAPABLE" in text) == (board.memory == DDR3)
    # The accelerator's ports take words, whatever the controller's width.
    assert soc.sdram.crossbar.controller.data_width == (128 if board.memory == DDR3 else 32)
    lpf = next(directory.glob("*.lpf")).read_text()
    assert 'LOCATE COMP "serial_tx"' in lpf and 'LOCATE COMP "serial_rx"' in lpf


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_synthesizes(name):
    """Yosys makes of each board what soc/fit.py expects. Minutes each."""
    board = BOARDS[name]
    with bitstream.locked(board_module.directory_of(board)):
        soc  = board_module.generate(board, say=print)
        flow = bitstream.Flow(*soc, bitstream.tool_path(ROOT / "build" / "shims"))
        text = flow.synthesize().read_text()
    cells = {}
    for module in json.loads(text)["modules"].values():
        if not module.get("attributes", {}).get("blackbox"):
            for cell in module["cells"].values():
                cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    wanted = fit.needs_of(board, ARCHS[board.arch])
    assert cells["MULT18X18D"] == wanted.dsps
    assert cells["DP16KD"] == wanted.ebrs
    luts = cells["LUT4"] + 2*cells["CCU2C"] + 6*cells["TRELLIS_DPR16X4"]
    assert 0.85*wanted.luts < luts < 1.1*wanted.luts


@needs_compiler
@pytest.mark.slow
def test_routes():
    """A 25F with the accelerator it has, through nextpnr: its clocks are met. A quarter of an hour,
    or what build/board/ has."""
    board  = BOARDS["ulx3s-25f"]
    with bitstream.locked(board_module.directory_of(board)):
        flow   = board_module.flow_of(board)
        routed = flow.best(flow.synthesize(), board_module.SEEDS)
    assert len(routed.fmax) == 2
    for clock, (achieved, needed) in routed.fmax.items():
        assert achieved >= needed, clock
    wanted, (luts, ebrs, dsps) = fit.needs_of(board, ARCHS[board.arch]), fit.DEVICES[board.size]
    assert routed.used["ebr"] == (wanted.ebrs, ebrs)
    assert routed.used["dsp"] == (wanted.dsps, dsps)
    assert abs(wanted.luts/routed.used["lut"][0] - 1) < 0.05 and routed.used["lut"][1] == luts


@needs_compiler
def test_an_invented_board(tmp_path, monkeypatch):
    """One entry is all a board takes: here one without button and LED, at other clocks."""
    board = Board(name="invented", platform="radiona_ulx3s", options=dict(device="LFE5U-45F"),
                  device="LFE5U-45F-6BG381C", clk=("clk25", 25e6), clk_freq=40e6, memory=SDR,
                  sdram_module="AS4C32M16", baud=750_000, arch="25f",
                  accel=dict(codecs=("zfpi",)))
    board_module.check(board)
    monkeypatch.setattr(board_module, "ROOT", tmp_path)
    said = []
    directory, _ = board_module.generate(board, say=said.append)
    assert said[-1] == ("line: 750000 baud, which a host does not try by itself: give it --baud "
                        "750000")
    verilog = (directory / "invented.v").read_text()
    assert f"d{2**32*750_000//40_000_000}" in verilog       # What the UART adds a clock.
    assert "EHXPLLL" in verilog and "user_led" not in verilog
    header = (directory / "firmware" / "generated" / "mem.h").read_text()
    assert int(defines(header, "MAIN_RAM_SIZE")["MAIN_RAM_SIZE"], 0) == 64 << 20


def test_simulation_has_the_boards_sdram():
    """Same PHY settings and module: same clock counts."""
    board = BOARDS["ulx3s-85f"]
    soc = sim.SimSoC(ARCHS["tiny"])
    phy = HalfRateGENSDRPHY(radiona_ulx3s.Platform().request("sdram"), board.clk_freq)
    ours, theirs = ({name: value for name, value in vars(settings).items() if name != "self"}
                    for settings in (soc.sdrphy.settings, phy.settings))
    assert ours == theirs and len(ours) > 10
    assert (type(soc.sdrphy.module).__name__, soc.sys_clk_freq) == (board.sdram_module,
                                                                    board.clk_freq)
    assert soc.sdram.crossbar.controller.data_width == 32


def test_add_accelerator_refuses():
    soc = sim.LitePressSoC(sim.SimPlatform("SIM", list(sim.IO)), 50e6)
    with pytest.raises(ValueError, match="no LiteDRAM core 'sdram'"):
        accelerator.add_accelerator(soc, ARCHS["tiny"])
    soc = sim.SimSoC(ARCHS["tiny"])
    soc.constants["CONFIG_L2_SIZE"] = 8192
    with pytest.raises(ValueError, match="L2 cache of 8192 bytes: allowed is none"):
        accelerator.add_accelerator(soc, ARCHS["tiny"], name="second")


def test_no_memory_on_the_bus():
    """LiteX gives one a third port there, and Yosys makes registers of such a memory."""
    soc = sim.SimSoC(ARCHS["tiny"])
    assert [*soc.accel.get_memories(), *soc.wire.get_memories()] == []

# Refusals -----------------------------------------------------------------------------------------

def test_table():
    for name, board in BOARDS.items():
        assert (board.name, board.arch in ARCHS) == (name, True)
        assert board.size in fit.DEVICES and board.package[-3:] in ("381", "285", "554")
        assert board.flash == "no" or board.programmer
    with pytest.raises(ValueError, match="arch 'huge': allowed are"):
        dataclasses.replace(BOARDS["ulx3s-85f"], arch="huge")
    with pytest.raises(ValueError, match="memory 'DDR4': allowed are SDR 1:1, SDR 1:2, DDR3"):
        dataclasses.replace(BOARDS["ulx3s-85f"], memory="DDR4")
    with pytest.raises(ValueError, match="device 'ECP5': expected a whole part number"):
        dataclasses.replace(BOARDS["ulx3s-85f"], device="ECP5")
    for message, change in (("cpu 'full': allowed are lite, minimal", dict(cpu="full")),
                            ("codecs 'zfpx': allowed are zfpe, zfpi, ebpc, delta, pot",
                             dict(accel=dict(codecs=("zfpx",))))):
        with pytest.raises(ValueError, match=message):
            board_module.check(dataclasses.replace(BOARDS["ulx3s-85f"], **change))


@pytest.mark.parametrize("options, message", [
    (["--board", "ulx4m"], "board 'ulx4m': allowed are ulx3s-85f, ulx3s-45f, ulx3s-25f, "),
    (["--board", "ulx3s-25f", "--arch", "85f"],
     "arch 85f: too large for LFE5U-25F-6BG381C: it needs 177 block RAMs of 56, 160 multipliers "
     "of 28, 38,041 LUTs (about) of 21,859 that can be routed: choose a smaller --arch"),
    (["--clk-freq", "500"], "--clk-freq 500: its PLL cannot make that from 25 MHz for SDR 1:2: "
                            "near it are 199 MHz and 200 MHz"),
    (["--sdram-module", "MT41K64M16"],
     "--sdram-module MT41K64M16: known for SDR 1:2 are AS4C16M16"),
    (["--arch", "huge"], "arch 'huge': allowed are tiny, "),
    (["--baud", "4000000"], "--baud 4000000: allowed are 9600 to 3000000"),
    (["--baud", "300"], "--baud 300: allowed are 9600 to 3000000"),
    (["--clk-freq", "10"], "board ulx3s-85f: --baud 3000000: too fast for a clock of 10 MHz with a "
                           "host that is off by 2 %: allowed are 9600 to 1240000"),
])
def test_refused_at_once(options, message):
    """By the command, in one line, before Verilog is written."""
    done = subprocess.run([sys.executable, "-m", "litepress.soc.board", *options],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("litepress build: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_boards_that_fit():
    """All but the OrangeCrab 25F, for whose DDR3 there are not LUTs enough."""
    for board in BOARDS.values():
        if board.name == "orangecrab-25f":
            with pytest.raises(ValueError, match=r"needs 22,\d+ LUTs \(about\) of 21,859"):
                board_module.check(board)
        else:
            board_module.check(board)


def test_counts_are_those_of_synthesis():
    """The whole SoC of the 85F, as measured (bench/bitstream.py); of a 25F, by Yosys alone."""
    figures = json.loads((ROOT / "docs" / "results" / "bitstream.json").read_text())["figures"]
    needs = fit.needs(ARCHS["85f"])
    assert (needs.ebrs, needs.dsps) == (figures["ulx3s_85f_ebr"], figures["ulx3s_85f_dsp"])
    assert abs(needs.luts/figures["ulx3s_85f_lut"] - 1) < 0.05
    small = fit.needs(dataclasses.replace(ARCHS["tiny"], vector=False), codecs=("zfpi",))
    assert (small.ebrs, small.dsps) == (35, 24)
    for name, ebrs, dsps in (("ulx3s-45f", 95, 72), ("ulx3s-25f", 47, 28)):
        board = BOARDS[name]
        wanted = fit.needs_of(board, ARCHS[board.arch])
        assert (wanted.ebrs, wanted.dsps) == (ebrs, dsps)
    assert fit.memory_ebrs(4096, 64) == 16 and fit.memory_ebrs(512, 64) == 2


def test_speeds():
    """Each that a host tries, at the clock of each board; tests/soc/test_line.py has the limit."""
    for board in BOARDS.values():
        for baud in BAUDS:
            board_module.check_line(dataclasses.replace(board, baud=baud))
    with pytest.raises(ValueError, match="allowed are 9600 to 496000"):
        board_module.check_line(dataclasses.replace(board, clk_freq=4e6))
    board_module.check_line(dataclasses.replace(board, clk_freq=4e6, baud=496_000))


def test_clocks():
    board = BOARDS["ulx3s-85f"]
    assert pll_makes(25e6, [50e6, 100e6]) and not pll_makes(25e6, [401e6])
    assert not pll_makes(25e6, [50e6, 3e6])
    for board in BOARDS.values():
        check_clocks(board)
        with pytest.raises(ValueError, match=r"--clk-freq 1: .* near it are 4 MHz and"):
            check_clocks(dataclasses.replace(board, clk_freq=1e6))
    for memory, name in ((SDR, "M12L64322A"), (SDR_HALF, "MT48LC16M16"), (DDR3, "MT41K64M16")):
        assert name in board_module.sdram_modules(memory)
