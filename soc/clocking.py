"""A board's clocks, from its oscillator, and what its DRAM wants of them."""

from litex.build.io import DDROutput
from litex.gen import *
from litex.soc.cores.clock import ECP5PLL
from migen import *
from migen.genlib.resetsync import AsyncResetSynchronizer

from .boards import DDR3, SDR_HALF

INIT_HZ    = 25e6      # Of the domain that starts ECP5DDRPHY's delay loop.
POR_CLOCKS = 2**16     # Of the oscillator, before the PLL is let go.
MARGIN     = 1e-2      # By which LiteX's PLL may miss a clock.

# What the PLL can make ----------------------------------------------------------------------------

def clocks_of(board):
    """{name: Hz} of the clocks that ``board`` needs from its PLL."""
    if board.memory == DDR3:
        return {"sys2x": 2*board.clk_freq, "init": _init_hz(board)}
    if board.memory == SDR_HALF:
        return {"sys": board.clk_freq, "sys2x": 2*board.clk_freq}
    return {"sys": board.clk_freq}


def _init_hz(board):
    return board.clk[1]/round(board.clk[1]/INIT_HZ)


def pll_makes(clkin, clocks):
    """Whether one ECP5PLL makes all of ``clocks`` (Hz) from ``clkin`` (Hz)."""
    pll = ECP5PLL()
    low, high = pll.clko_freq_range
    if not all(low <= clock <= high for clock in clocks):
        return False
    pll.register_clkin(Signal(), clkin)
    for clock in clocks:
        pll.create_clkout(ClockDomain("checked"), clock, margin=MARGIN)
    try:
        pll.compute_config()
    except ValueError:
        return False
    return True


def check_clocks(board):
    """ValueError: the board's PLL cannot make its clocks; says which system clocks near it can."""
    def makes(hz):
        changed = {"sys": hz, "sys2x": 2*hz, "init": _init_hz(board)}
        return pll_makes(board.clk[1], [changed[name] for name in clocks_of(board)])

    if makes(board.clk_freq):
        return
    wanted = board.clk_freq/1e6
    near   = sorted((mhz for mhz in range(4, 201) if mhz != wanted),
                    key=lambda mhz: abs(mhz - wanted))
    made   = []
    for mhz in near:
        if makes(mhz*1e6):
            made.append(mhz)
        if len(made) == 2:
            break
    raise ValueError(f"board {board.name}: --clk-freq {wanted:g}: its PLL cannot make that from "
                     f"{board.clk[1]/1e6:g} MHz for {board.memory}: near it are "
                     f"{' and '.join(f'{mhz} MHz' for mhz in sorted(made))}")

# BoardCRG -----------------------------------------------------------------------------------------

class BoardCRG(LiteXModule):
    """System clock and DRAM clocks of ``board`` (boards.Board), and its pads that are only driven.

    With DDR3 ``stop`` and ``reset`` are the PHY's, which starts its clocks by them.
    """
    def __init__(self, platform, board):
        self.rst = Signal()

        # # #

        name, freq = board.clk
        clk = platform.request(name)

        resets = [self.rst]
        if board.rst is not None:
            pad = platform.request(board.rst)
            resets.append(~pad if board.rst_low else pad)
        if board.memory == DDR3:
            resets.append(self._power_up(clk))

        self.pll = pll = ECP5PLL()
        self.comb += pll.reset.eq(Reduce("OR", resets))
        pll.register_clkin(clk, freq)
        self.cd_sys = ClockDomain()
        if board.memory == DDR3:
            self._ddr3(platform, board)
        else:
            self._sdr(platform, board)
        for enable in board.enables:
            self.comb += platform.request(enable).eq(1)

    def _power_up(self, clk):
        """High for POR_CLOCKS after configuration."""
        self.cd_por = ClockDomain(reset_less=True)
        left, power_up = Signal(max=POR_CLOCKS, reset=POR_CLOCKS - 1), Signal()
        self.comb += [
            self.cd_por.clk.eq(clk),
            power_up.eq(left != 0),
        ]
        self.sync.por += If(power_up, left.eq(left - 1))
        return power_up

    def _sdr(self, platform, board):
        pll = self.pll
        pll.create_clkout(self.cd_sys, board.clk_freq, margin=MARGIN)
        if board.memory == SDR_HALF:
            self.cd_sys2x    = ClockDomain()
            self.cd_sys2x_ps = ClockDomain()
            pll.create_clkout(self.cd_sys2x,    2*board.clk_freq, margin=MARGIN)
            pll.create_clkout(self.cd_sys2x_ps, 2*board.clk_freq, phase=180, margin=MARGIN)
            sdram_clk = ClockSignal("sys2x_ps")
        else:
            self.cd_sys_ps = ClockDomain()
            pll.create_clkout(self.cd_sys_ps, board.clk_freq, phase=board.sdram_clk_phase,
                margin=MARGIN)
            sdram_clk = ClockSignal("sys_ps")
        self.specials += DDROutput(1, 0, platform.request("sdram_clock"), sdram_clk)

    def _ddr3(self, platform, board):
        self.stop       = Signal()
        self.reset      = Signal()
        self.cd_init    = ClockDomain()
        self.cd_sys2x   = ClockDomain(reset_less=True)
        self.cd_sys2x_i = ClockDomain(reset_less=True)     # The PLL's, that cannot be stopped.
        pll = self.pll
        pll.create_clkout(self.cd_sys2x_i, 2*board.clk_freq, margin=MARGIN, with_reset=False)
        pll.create_clkout(self.cd_init, _init_hz(board), margin=MARGIN)
        # The edge clock of the DRAM's pads; the system clock is half of it, in step with it.
        edge = self.cd_sys2x_i.clk
        if board.eclk_bridge:
            edge = Signal()
            self.specials += Instance("ECLKBRIDGECS",
                i_CLK0   = self.cd_sys2x_i.clk,
                i_SEL    = 0,
                o_ECSOUT = edge,
            )
        self.specials += [
            Instance("ECLKSYNCB",
                i_ECLKI = edge,
                i_STOP  = self.stop,
                o_ECLKO = self.cd_sys2x.clk,
            ),
            Instance("CLKDIVF",
                p_DIV     = "2.0",
                i_CLKI    = self.cd_sys2x.clk,
                i_RST     = self.reset,
                i_ALIGNWD = 0,
                o_CDIVX   = self.cd_sys.clk,
            ),
            AsyncResetSynchronizer(self.cd_sys, ~pll.locked | self.reset),
        ]
        # Behind a divider: said, lest nobody asks for it.
        platform.add_period_constraint(self.cd_sys.clk, 1e9/board.clk_freq)
