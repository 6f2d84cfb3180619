"""Writes the settings of one machine: bochsrc and the MSRs that differ from Bochs' own."""

from dataclasses import dataclass
from pathlib import Path

from lab.image import KERNEL_ADDRESS, SETUP_ADDRESS

# Instructions per second of machine time: one instruction is one tick of every clock.
INSTRUCTIONS_PER_SECOND = 200_000_000
INITRD_ADDRESS = 0x10000000

# With SMAP, Bochs keeps no user page in its TLB for the kernel, and walks the page tables for each byte that
# the kernel copies from or to a process: a tenth of the time of a machine.
_WITHOUT = "smap"

# IA32_MISC_ENABLE bit 0, "fast strings", is on in real parts and 0 in Bochs. Without it Linux clears
# the CPU flag ERMS but not FSRM, and the memmove of 6.1 corrupts memory when only FSRM is there.
_MSRS = "0x1a0 0 00000000 00000001 00000000 00000000 00000000 00000000\n"


@dataclass(frozen=True)
class Settings:
    """Files are named relative to the machine's work folder, or absolutely."""

    emulator: Path
    kernel: Path
    root: Path
    cpus: int
    memory: int


def write(settings: Settings, work: Path) -> None:
    """Writes bochsrc and msrs.def into the work folder."""
    (work / "msrs.def").write_text(_MSRS)
    (work / "bochsrc").write_text(f"""\
display_library: nogui
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
print_timestamps: enabled=1
memory: guest={settings.memory}, host={settings.memory}
romimage: file={settings.emulator}/BIOS-bochs-latest, options=fastboot
vgaromimage: file={settings.emulator}/vgabios.bin
optromimage1: file={settings.emulator}/bootrom.bin, address=0xd0000
optramimage1: file=low.bin, address={SETUP_ADDRESS:#x}
optramimage2: file={settings.kernel}, address={KERNEL_ADDRESS:#x}
optramimage3: file=initrd.bin, address={INITRD_ADDRESS:#x}
cpu: model=tigerlake, count=1:{settings.cpus}:1, ips={INSTRUCTIONS_PER_SECOND}, quantum=16, \
reset_on_triple_fault=0, exclude_features="{_WITHOUT}", ignore_bad_msrs=1, msrs="msrs.def"
clock: sync=none, time0=1700000000, rtc_sync=0
pci: enabled=1, chipset=i440fx
com1: enabled=1, mode=file, dev=console.log
com2: enabled=1, mode=file, dev=output.log
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=0
ata0-master: type=disk, mode=volatile, path={settings.root}, journal=root.redolog
ata0-slave: type=disk, mode=flat, path=result.img
boot: disk
floppy_bootsig_check: disabled=1
private_colormap: enabled=0
""")
