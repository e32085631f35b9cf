"""The accelerator as Verilog for the test bench: three native ports and the control signals."""

from litedram.common import LiteDRAMNativePort
from litex.gen import *
from litex.gen.fhdl.verilog import convert
from migen import *

from ...gateware.accelerator import Accelerator

ADDRESS_BITS = 24

CONTROL = ("start", "abort", "program", "program_words", "region_base", "region_words", "busy",
           "done", "error", "detail", "run_cycles", "layers_done", "profile_address",
           "profile_data")


class Top(LiteXModule):
    def __init__(self, arch, watchdog, go_limit, **options):
        self.cd_sys = ClockDomain("sys")
        self.ios    = [self.cd_sys.clk, self.cd_sys.rst]

        # # #

        ports = {}
        for name, mode in (("fetch", "read"), ("read", "read"), ("write", "write")):
            port = ports[name] = LiteDRAMNativePort(mode, ADDRESS_BITS, 32)
            wires = {"cmd_valid": port.cmd.valid, "cmd_ready": port.cmd.ready,
                     "cmd_we": port.cmd.we, "cmd_addr": port.cmd.addr}
            if mode == "read":
                wires |= {"rdata_valid": port.rdata.valid, "rdata_ready": port.rdata.ready,
                          "rdata": port.rdata.data}
            else:
                wires |= {"wdata_valid": port.wdata.valid, "wdata_ready": port.wdata.ready,
                          "wdata": port.wdata.data, "wdata_we": port.wdata.we}
            for suffix, signal in wires.items():
                pin = Signal(len(signal), name=f"{name}_{suffix}")
                driven = suffix in ("cmd_ready", "rdata_valid", "rdata", "wdata_ready")
                self.comb += signal.eq(pin) if driven else pin.eq(signal)
                self.ios.append(pin)
        self.accelerator = accelerator = Accelerator(arch, ports["fetch"], ports["read"],
            ports["write"], watchdog, go_limit, **options)
        for name in CONTROL:
            signal = getattr(accelerator, name)
            pin = Signal(len(signal), name=f"ctl_{name}")   # `program` is a keyword.
            inputs = ("start", "abort", "program", "program_words", "region_base", "region_words",
                      "profile_address")
            self.comb += signal.eq(pin) if name in inputs else pin.eq(signal)
            self.ios.append(pin)


def verilog(arch, watchdog, go_limit, **options):
    """Verilog of module ``top``, without comments (they hold the date). options: Accelerator's."""
    top  = Top(arch, watchdog, go_limit, **options)
    text = str(convert(top, ios=set(top.ios), name="top"))
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("//"))
