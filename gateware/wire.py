"""The wire in hardware: bytes of the PHY to checked frames for the firmware, and back.

::

            +----------------- WirePort -----------------+
    sink -->| WireReceiver   -> packet FIFO -> rx_* CSRs |
            |                                            |
  source <--| WireTransmitter <- word FIFO  <- tx_* CSRs |
            |          CRC-32 unit, uptime      CSRs     |
            +--------------------------------------------+

See spec/wire.py for the frames. Both ways the firmware handles 32-bit words: the header word, then
the padded payload; SYNC and CRC-32 are added and removed here.
"""

from litex.gen import *
from litex.soc.interconnect import stream
from litex.soc.interconnect.csr import CSRStatus, CSRStorage
from migen import *

from ..spec.wire import MAX_PAYLOAD, SYNC
from .crc import CRC32

SYNC_WORD       = int.from_bytes(SYNC, "little")
MAX_FRAME_WORDS = 1 + (MAX_PAYLOAD + 3)//4      # Header word and payload, as FIFOs hold them.


def payload_words(length):
    """Words of a payload of ``length`` (Signal) bytes."""
    return (length + 3)[2:]

# WireReceiver -------------------------------------------------------------------------------------

class WireReceiver(LiteXModule):
    """Finds frames in a byte stream and keeps the good ones.

    A frame is written into a memory as it comes and becomes visible when its CRC-32 is right;
    otherwise the write pointer goes back. ``sink.ready`` falls only while the memory is full (of
    good frames: one frame always fits) and for a clock after a frame.

    Parameters
    ----------
    depth : int
        Words of the memory, a power of two.
    timeout : int
        Clocks without a byte within a frame after which the frame is given up.

    Attributes
    ----------
    sink : Endpoint([("data", 8)])
    words : Signal
        Words of the first frame that are not yet read; 0: no frame is there.
    data : Signal(32)
        The next of them.
    pop, drop : Signal
        Take that word; take the rest of the frame.
    errors : Signal(16)
        Frames given up (wrong CRC, length over the maximum, timeout); wraps.
    """

    def __init__(self, depth=1024, timeout=2**20):
        if depth & (depth - 1) or depth < 2*MAX_FRAME_WORDS - 2:
            raise ValueError(f"WireReceiver: depth = {depth}: allowed are powers of two that hold "
                             f"two frames, from 512 words on")
        self.sink   = sink = stream.Endpoint([("data", 8)])
        self.words  = Signal(max=MAX_FRAME_WORDS + 1)
        self.data   = Signal(32)
        self.pop    = Signal()
        self.drop   = Signal()
        self.errors = Signal(16)

        # # #

        # Memory: read pointer <= committed <= write pointer, all modulo 2*depth. ------------------
        write     = Signal(log2_int(depth) + 1)
        committed = Signal.like(write)
        read      = Signal.like(write)
        read_next = Signal.like(write)
        level     = Signal.like(write)
        full      = Signal()
        self.comb += [
            level.eq(write - read),
            full.eq(level[-1]),
        ]

        memory     = Memory(32, depth)
        write_port = memory.get_port(write_capable=True)
        read_port  = memory.get_port()
        self.specials += memory, write_port, read_port

        # Last four bytes, the newest on top: a SYNC, or a word of the frame. ----------------------
        recent = Signal(24)
        word   = Signal(32)
        taken  = Signal()
        self.comb += [
            word.eq(Cat(recent, sink.data)),
            taken.eq(sink.valid & sink.ready),
        ]
        self.sync += If(taken, recent.eq(word[8:]))

        # Deframer. --------------------------------------------------------------------------------
        self.crc = crc = CRC32(data_width=8)
        byte     = Signal(2)     # Of the word that is coming.
        header   = Signal()      # That word is the header.
        left     = Signal(max=MAX_FRAME_WORDS + 1)  # Words after this one, CRC included.
        length   = word[16:32]
        idle     = Signal(max=timeout + 1)
        late     = Signal()
        give_up  = Signal()
        self.comb += [
            crc.data.eq(sink.data),
            late.eq(idle == timeout),
            write_port.adr.eq(write),
            write_port.dat_w.eq(word),
        ]

        self.fsm = fsm = FSM(reset_state="HUNT")
        fsm.act("HUNT",
            sink.ready.eq(1),
            crc.init.eq(1),
            NextValue(idle, 0),
            NextValue(byte, 0),
            NextValue(header, 1),
            If(sink.valid & (word == SYNC_WORD), NextState("FRAME"))
        )
        fsm.act("FRAME",
            sink.ready.eq(~full),
            # A full memory is no silence of the line.
            If(sink.valid | full, NextValue(idle, 0)).Else(NextValue(idle, idle + 1)),
            If(taken,
                crc.ce.eq(1),
                NextValue(byte, byte + 1),
                If(byte == 3,
                    NextValue(header, 0),
                    NextValue(left, Mux(header, payload_words(length), left - 1)),
                    If(header & (length > MAX_PAYLOAD),
                        give_up.eq(1)
                    ).Elif(~header & (left == 0),
                        NextState("CHECK")
                    ).Else(
                        write_port.we.eq(1),
                        NextValue(write, write + 1)
                    )
                )
            ).Elif(late,
                give_up.eq(1)
            ),
            If(give_up, NextState("HUNT"))
        )
        fsm.act("CHECK",
            NextValue(recent, 0),    # The end of a frame is not the beginning of a SYNC.
            If(crc.match,
                NextValue(committed, write)
            ).Else(
                give_up.eq(1)
            ),
            NextState("HUNT")
        )
        # ``write`` is set here and in FRAME, never in the same clock.
        self.sync += If(give_up,
            write.eq(committed),
            self.errors.eq(self.errors + 1)
        )

        # Reader: the memory's output is always the word at ``read``. ------------------------------
        remaining = Signal.like(self.words)
        self.comb += [
            read_next.eq(read),
            If(self.drop,
                read_next.eq(read + remaining)
            ).Elif(self.pop & (remaining != 0),
                read_next.eq(read + 1)
            ),
            read_port.adr.eq(read_next),
            self.data.eq(read_port.dat_r),
            self.words.eq(remaining),
        ]
        self.sync += [
            read.eq(read_next),
            If(self.drop,
                remaining.eq(0)
            ).Elif(remaining != 0,
                If(self.pop, remaining.eq(remaining - 1))
            ).Elif(read != committed,
                remaining.eq(1 + payload_words(self.data[16:32]))
            )
        ]

# WireTransmitter ----------------------------------------------------------------------------------

class WireTransmitter(LiteXModule):
    """Sends frames whose header word and payload words are pushed into a FIFO.

    The header's length says how many words follow it: push exactly these. ``push`` is ignored while
    ``room`` is 0.

    Parameters
    ----------
    depth : int
        Words of the FIFO, a power of two.

    Attributes
    ----------
    source : Endpoint([("data", 8)])
    data : Signal(32)
    push : Signal
    room : Signal
        Words that can be pushed.
    """

    def __init__(self, depth=512):
        if depth & (depth - 1) or depth < MAX_FRAME_WORDS:
            raise ValueError(f"WireTransmitter: depth = {depth}: allowed are powers of two that "
                             f"hold a frame, from 512 words on")
        self.source = source = stream.Endpoint([("data", 8)])
        self.data   = Signal(32)
        self.push   = Signal()
        self.room   = Signal(max=depth + 1)

        # # #

        self.fifo = fifo = stream.SyncFIFO([("data", 32)], depth, buffered=True)
        self.comb += [
            fifo.sink.valid.eq(self.push),
            fifo.sink.data.eq(self.data),
            # The level counts the output register too: depth + 1 words at most.
            If(fifo.level < depth, self.room.eq(depth - fifo.level)),
        ]

        # Framer: SYNC, header, payload, CRC are all words, sent from a shift register. ------------
        self.crc = crc = CRC32(data_width=8)
        shift = Signal(32)
        byte  = Signal(2)
        left  = Signal(max=MAX_FRAME_WORDS + 1)   # Words of the payload still to come.
        SYNCS, HEADER, PAYLOAD, CHECKSUM = range(4)
        part  = Signal(max=4)                     # What ``shift`` holds.
        self.comb += [
            source.data.eq(shift[:8]),
            crc.data.eq(shift[:8]),
        ]

        self.fsm = fsm = FSM(reset_state="IDLE")
        fsm.act("IDLE",
            crc.init.eq(1),
            NextValue(part, SYNCS),
            NextValue(shift, SYNC_WORD),
            If(fifo.source.valid, NextState("SEND"))
        )
        fsm.act("SEND",
            source.valid.eq(1),
            If(source.ready,
                crc.ce.eq((part == HEADER) | (part == PAYLOAD)),
                NextValue(shift, shift[8:]),
                NextValue(byte, byte + 1),
                If(byte == 3, NextState("NEXT"))
            )
        )
        fsm.act("NEXT",
            If(part == CHECKSUM,
                NextState("IDLE")
            ).Elif((part != SYNCS) & (left == 0),
                NextValue(part, CHECKSUM),
                NextValue(shift, crc.value),
                NextState("SEND")
            ).Elif(fifo.source.valid,
                fifo.source.ready.eq(1),
                NextValue(shift, fifo.source.data),
                If(part == SYNCS,
                    NextValue(part, HEADER),
                    NextValue(left, payload_words(fifo.source.data[16:32]))
                ).Else(
                    NextValue(part, PAYLOAD),
                    NextValue(left, left - 1)
                ),
                NextState("SEND")
            )
        )

# WirePort -----------------------------------------------------------------------------------------

class WirePort(LiteXModule):
    """Receiver, transmitter, a CRC-32 unit for the firmware and the uptime counter.

    ``sink`` and ``source`` go to a PHY; ``add_csr()`` gives the firmware its registers (CSR bank
    ``wire``): ``rx_words``, ``rx_data`` (reading takes the word), ``rx_drop``, ``rx_errors``,
    ``tx_room``, ``tx_data``, ``crc_init``, ``crc_data``, ``crc_value``, ``uptime_latch``,
    ``uptime``.

    Parameters
    ----------
    rx_depth, tx_depth : int
        Words of the two memories. The host may have ``4*rx_depth`` bytes unanswered.
    timeout : int
        See WireReceiver. It should be shorter than the time after which the host repeats a request
        (1 s) and longer than a pause a host makes within a frame.
    """

    def __init__(self, rx_depth=1024, tx_depth=512, timeout=2**20):
        self.rx_depth = rx_depth
        self.tx_depth = tx_depth

        # # #

        self.receiver    = WireReceiver(rx_depth, timeout)
        self.transmitter = WireTransmitter(tx_depth)
        self.sink        = self.receiver.sink
        self.source      = self.transmitter.source

        self.crc    = CRC32(data_width=32)
        self.uptime = Signal(64)
        self.sync  += self.uptime.eq(self.uptime + 1)

    def add_csr(self):
        self._rx_words  = CSRStatus(len(self.receiver.words),
            description="Words left of the first received frame; 0: none.")
        self._rx_data   = CSRStatus(32, description="Its next word. Reading takes it.")
        self._rx_drop   = CSRStorage(description="Write: drop the rest of the frame.")
        self._rx_errors = CSRStatus(16, description="Frames that were not good.")
        self._tx_room   = CSRStatus(len(self.transmitter.room),
            description="Words that can be written to tx_data.")
        self._tx_data   = CSRStorage(32,
            description="Header word, then payload words of a frame to send.")
        self._crc_init  = CSRStorage(description="Write: begin a CRC-32.")
        self._crc_data  = CSRStorage(32, description="Write: fold in four bytes.")
        self._crc_value = CSRStatus(32, description="CRC-32 of what was folded in.")
        self._uptime_latch = CSRStorage(description="Write: copy the clock count to uptime.")
        self._uptime       = CSRStatus(64, description="System clocks since reset, when latched.")
        self.comb += [
            self._rx_words.status.eq(self.receiver.words),
            self._rx_data.status.eq(self.receiver.data),
            self.receiver.pop.eq(self._rx_data.we),
            self.receiver.drop.eq(self._rx_drop.re),
            self._rx_errors.status.eq(self.receiver.errors),
            self._tx_room.status.eq(self.transmitter.room),
            self.transmitter.data.eq(self._tx_data.storage),
            self.transmitter.push.eq(self._tx_data.re),
            self.crc.init.eq(self._crc_init.re),
            self.crc.data.eq(self._crc_data.storage),
            self.crc.ce.eq(self._crc_data.re),
            self._crc_value.status.eq(self.crc.value),
        ]
        self.sync += If(self._uptime_latch.re, self._uptime.status.eq(self.uptime))
