"""The changes to Bochs 3.0 that give its Tiger Lake split-lock detection, as anchored edits.

An edit names a passage that must occur exactly once in its file; anything else stops the build.
What is modelled (Intel SDM vol. 3A 9.1.2.3 and vol. 4, Linux arch/x86/kernel/cpu/bus_lock.c):
MSR_IA32_CORE_CAPS (0xCF) bit 5 says that detection exists; MSR_TEST_CTRL (0x33) bit 29 switches it
on per logical CPU; a LOCKed access that straddles a 64-byte line then raises #AC(0) at any privilege
level, whatever CR0.AM and EFLAGS.AC say. In VMX non-root operation it obeys the exception bitmap.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.failures import LabError


@dataclass(frozen=True)
class Edit:
    """Puts `text` before, after or in place of the only occurrence of `anchor` in `file`."""

    file: str
    anchor: str
    where: Literal["before", "after", "instead"]
    text: str

    def apply(self, source: str) -> str:
        """The edited text of the file; LabError when the anchor does not occur exactly once."""
        count = source.count(self.anchor)
        if count != 1:
            raise LabError(
                f"{self.file}: an anchor occurs {count} times, not once: {self.anchor!r}",
                "the emulator's edits in lab/edits.py are for Bochs 3.0",
            )
        new = {"before": self.text + self.anchor, "after": self.anchor + self.text, "instead": self.text}
        return source.replace(self.anchor, new[self.where])


def apply(tree: Path, edits: tuple[Edit, ...]) -> None:
    """Applies the edits to the files below `tree`; a file that is not there is a LabError."""
    for edit in edits:
        path = tree / edit.file
        try:
            source = path.read_text(encoding="latin-1")
        except FileNotFoundError:
            raise LabError(f"the emulator's source has no {edit.file}") from None
        path.write_text(edit.apply(source), encoding="latin-1")


_DECODER = "cpu/decoder/fetchdecode32.cc"


def _check_read_half(bits: int, name: str) -> Edit:
    # The read half of a read-modify-write is where a locked access translates its address.
    return Edit(
        "cpu/access2.cc",
        f"BX_CPU_C::read_RMW_linear_{name}(unsigned s, bx_address laddr)\n{{\n  Bit{bits}u data;\n",
        "after",
        f"  if ((BX_CPU_THIS_PTR test_ctrl & (1 << 29)) && (laddr & 63) > 64 - {bits // 8} &&\n"
        "      BX_CPU_THIS_PTR lock_icount == BX_CPU_THIS_PTR icount) exception(BX_AC_EXCEPTION, 0);\n",
    )


SPLIT_LOCK_DETECTION = (
    # State of each CPU, and one more instruction handler.
    Edit(
        "cpu/cpu.h",
        "  Bit64u icount_last_sync;\n",
        "after",
        "  Bit64u test_ctrl;    // MSR_TEST_CTRL; bit 29: split-lock detection\n"
        "  Bit64u lock_icount;  // icount of the newest instruction that asserts LOCK\n",
    ),
    Edit(
        "cpu/cpu.h",
        "  BX_SMF void MOV32S_EdGdM(bxInstruction_c *) BX_CPP_AttrRegparmN(1);\n",
        "after",
        "  BX_SMF void LOCKED_INSTR(bxInstruction_c *) BX_CPP_AttrRegparmN(1);\n",
    ),
    Edit(
        "cpu/init.cc",
        "  BX_CPU_THIS_PTR msr.ia32_spec_ctrl = 0;\n",
        "after",
        "  BX_CPU_THIS_PTR test_ctrl = 0;\n  BX_CPU_THIS_PTR lock_icount = ~BX_CONST64(0);\n",
    ),
    # While decoding: memory forms with a LOCK prefix, and XCHG, which locks without one, run
    # through LOCKED_INSTR. It notes the instruction count and calls the ordinary handler, so
    # that instructions without a lock pay nothing.
    Edit(
        _DECODER,
        "        i->execute1 = &BX_CPU_C::MOV32S_EdGdM;\n    }\n",
        "after",
        "    if (i->getLock() || ia_opcode == BX_IA_XCHG_EwGw || ia_opcode == BX_IA_XCHG_EdGd ||\n"
        "        ia_opcode == BX_IA_XCHG_EqGq)\n"
        "      if (i->execute1 != &BX_CPU_C::BxError) i->execute1 = &BX_CPU_C::LOCKED_INSTR;\n",
    ),
    Edit(
        _DECODER,
        "int BX_CPU_C::assignHandler(bxInstruction_c *i, Bit32u fetchModeMask)\n",
        "before",
        "void BX_CPP_AttrRegparmN(1) BX_CPU_C::LOCKED_INSTR(bxInstruction_c *i)\n"
        "{\n"
        "  BX_CPU_THIS_PTR lock_icount = BX_CPU_THIS_PTR icount;\n"
        "  return BX_CPU_CALL_METHOD(BxOpcodesTable[i->getIaOpcode()].execute1, (i));\n"
        "}\n\n",
    ),
    # While running: the check, for this very instruction only.
    _check_read_half(16, "word"),
    _check_read_half(32, "dword"),
    _check_read_half(64, "qword"),
    # The two MSRs. Bits other than 29 and 31 of MSR_TEST_CTRL are reserved: #GP.
    Edit(
        "cpu/msr.cc",
        "bool BX_CPP_AttrRegparmN(2) BX_CPU_C::handle_unknown_rdmsr(Bit32u index, Bit64u *msr)\n{\n",
        "after",
        "  if (index == 0x33) { *msr = BX_CPU_THIS_PTR test_ctrl; return true; }\n"
        "  if (index == BX_MSR_IA32_CORE_CAPABILITIES) { *msr = 1 << 5; return true; }\n",
    ),
    Edit(
        "cpu/msr.cc",
        "bool BX_CPP_AttrRegparmN(2) BX_CPU_C::handle_unknown_wrmsr(Bit32u index, Bit64u val_64)\n{\n",
        "after",
        "  if (index == 0x33) {\n"
        "    if (val_64 & ~BX_CONST64(0xa0000000)) return false;\n"
        "    BX_CPU_THIS_PTR test_ctrl = val_64;\n"
        "    return true;\n"
        "  }\n",
    ),
)

CLOCKS_AND_REPEATABILITY = (
    # CPUID.15H is the frequency of the TSC: here that is the configured instructions per second,
    # and not the 2.4 GHz of the model. TSC, deadline timer and PIT then agree.
    Edit(
        "cpu/cpudb/intel/tigerlake.cc",
        "    get_leaf(leaf, 0x00000002, 0x0000007e, 0x0249f000, 0x00000000);\n",
        "instead",
        "    get_leaf(leaf, 1, 1, SIM->get_param_num(BXPN_IPS)->get(), 0);\n",
    ),
    # RDRAND is seeded from the wall clock; two runs of one machine shall be the same.
    Edit(
        "cpu/init.cc",
        "  srand(time(NULL)); // initialize random generator for RDRAND/RDSEED\n",
        "instead",
        "  srand(1);\n",
    ),
    # The serial ports carry the command's output and no cable hangs on them: a byte takes 5 us
    # and not the 87 us of 115200 baud.
    Edit(
        "iodev/serial.cc",
        " " * 53 + "(BX_SER_THIS s[port].line_cntl.wordlen_sel + 7));\n",
        "after",
        "        if (BX_SER_THIS s[port].databyte_usec > 5) BX_SER_THIS s[port].databyte_usec = 5;\n",
    ),
)

_TIMER = "    bx_pc_system.activate_timer(BX_PIDE_THIS s.bmdma[channel].timer_index, "

# The disk and idle time cost next to nothing, in machine time and on the wall; nothing in the lab is
# about disks, and a machine that waits for a timer need not be waited for.
SPEED = (
    # An idle machine with one CPU goes straight to its next timer instead of there in steps of 10 ticks.
    Edit(
        "cpu/event.cc",
        "    BX_TICKN(10); // when in HLT run time faster for single CPU\n",
        "instead",
        "    Bit32u left = bx_pc_system.getNumCpuTicksLeftNextEvent();\n    BX_TICKN(left ? left : 1);\n",
    ),
    # The same for more CPUs, when a whole round found every one of them halted.
    Edit(
        "main.cc",
        "        Bit32u executed = 0, processor = 0;\n        bool run = true;\n",
        "after",
        "        static bool busy = false;\n",
    ),
    Edit(
        "main.cc",
        "           if (n == 0) n = quantum; // the CPU was halted\n",
        "before",
        "           if (n) busy = true;\n",
    ),
    Edit(
        "main.cc",
        "             BX_TICKN(executed / BX_SMP_PROCESSORS);\n",
        "instead",
        "             Bit32u ticks = executed / BX_SMP_PROCESSORS;\n"
        "             Bit32u left = bx_pc_system.getNumCpuTicksLeftNextEvent();\n"
        "             if (!busy && left > ticks) ticks = left;\n"
        "             busy = false;\n"
        "             BX_TICKN(ticks);\n",
    ),
    # A seek takes 10 us wherever it goes, and not up to 5 ms.
    Edit("iodev/harddrv.cc", "    fSeekBase = 5000.0;\n", "instead", "    fSeekBase = 0.0;\n"),
    # DMA: 10 us to start or to look again, 16 us for a block, and not 1 ms and up to 4 ms.
    Edit(
        "iodev/pci_ide.cc",
        "timer_index, 1000, 0);\n      } else if (!(value & 0x01)",
        "instead",
        "timer_index, 10, 0);\n      } else if (!(value & 0x01)",
    ),
    Edit(
        "iodev/pci_ide.cc", _TIMER + "1000, 0);\n    return;\n", "instead", _TIMER + "10, 0);\n    return;\n"
    ),
    Edit("iodev/pci_ide.cc", _TIMER + "(size >> 4) | 0x10, 0);\n", "instead", _TIMER + "16, 0);\n"),
)

BUGS_OF_BOCHS = (
    # optramimage reads a file across the ends of RAM blocks, which lie anywhere in host memory.
    Edit(
        "memory/misc_mem.cc",
        "    ret = read(fd, (bx_ptr_t) BX_MEM_THIS get_vector(offset), size);\n",
        "instead",
        "    unsigned long room = 4096 - (offset & 4095);\n"
        "    ret = read(fd, (bx_ptr_t) BX_MEM_THIS get_vector(offset), size < room ? size : room);\n",
    ),
    # VM entry into a guest with EFLAGS.IF=0: the interrupt mask is computed before in_vmx_guest is
    # set, so external-interrupt exiting is ignored and such a guest can never be kicked out.
    Edit(
        "cpu/vmx.cc",
        "  BX_CPU_THIS_PTR in_vmx_guest = true;\n\n  unmask_event(BX_EVENT_INIT);\n",
        "after",
        "  handleInterruptMaskChange();\n",
    ),
    # CPUID.0BH: one of something takes no bit of the APIC ID, and not one. Two cores of one thread each
    # were two threads of one core otherwise, which share MSR_TEST_CTRL on real parts.
    *(
        Edit(
            "cpu/cpuid.cc",
            f"     leaf->eax = ilog2({count}-1)+1;\n     leaf->ebx = {ebx};\n",
            "instead",
            f"     leaf->eax = {count} > 1 ? ilog2({count}-1)+1 : 0;\n     leaf->ebx = {ebx};\n",
        )
        for count, ebx in (("nthreads", "nthreads"), ("ncores", "ncores * nthreads"))
    ),
)

EDITS = SPLIT_LOCK_DETECTION + CLOCKS_AND_REPEATABILITY + SPEED + BUGS_OF_BOCHS
