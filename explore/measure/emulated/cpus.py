"""The emulated processors, and the INT8 kernels that runtimes choose on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from arch.errors import InputError, not_one_of

V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
V9 = (
    V82 + " jscvt fcma sha3 sm3 sm4 sha512 sve asimdfhm dit uscat ilrcpc flagm sb paca pacg dcpodp sve2 sveaes svepmull"
    " svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16 rng bti mte sme"
)


@dataclass(frozen=True)
class Cpu:
    """An emulated processor.

    kernels: instruction set of the fastest INT8 kernels that it can run
    cpuinfo: implementer, variant, part, revision and features, for QEMU 7.2, which shows programs the host's; None
        where QEMU 7.2 does not emulate the processor
    counts: whether `instructions@CPU` is a quantity
    """

    name: str
    title: str
    kernels: str
    cpuinfo: tuple[str, str, str, int, str] | None = None
    counts: bool = False


_ALL = (
    Cpu("cortex-a53", "Cortex-A53", "NEON", ("0x41", "0x0", "0xd03", 4, V8), True),
    Cpu("cortex-a55", "Cortex-A55", "DOTPROD"),
    Cpu("cortex-a72", "Cortex-A72", "NEON", ("0x41", "0x0", "0xd08", 3, V8), True),
    Cpu("cortex-a76", "Cortex-A76", "DOTPROD", ("0x41", "0x4", "0xd0b", 1, V82), True),
    Cpu("cortex-a710", "Cortex-A710", "I8MM"),
    Cpu("max", "all extensions of QEMU", "SME", ("0x41", "0x0", "0xd4f", 0, V9)),  # named as a Neoverse V2
)
CPUS = {cpu.name: cpu for cpu in _ALL}
COUNTED = tuple(cpu.name for cpu in _ALL if cpu.counts)
CODE_PATHS = ("cortex-a53", "cortex-a76", "cortex-a710", "max")  # one processor for each instruction set


def cpu(name: str) -> Cpu:
    """Return a processor by its name.

    Raises:
        InputError: no such processor.
    """
    if name not in CPUS:
        raise InputError(f"qemu://{name}: {not_one_of(name, CPUS)}")
    return CPUS[name]


def write_cpuinfo(folder: Path, root: Path) -> None:
    """Write `folder`/CPU, a copy of `root` in links with the processor's own /proc/cpuinfo, for QEMU 7.2."""
    for found in _ALL:
        if found.cpuinfo is None:
            continue
        implementer, variant, part, revision, features = found.cpuinfo
        place = folder / found.name
        (place / "proc").mkdir(parents=True)
        for entry in ("lib", "usr", "etc"):
            (place / entry).symlink_to(root / entry)
        block = (
            "processor\t: {}\nBogoMIPS\t: 108.00\n"
            f"Features\t: {features}\nCPU implementer\t: {implementer}\nCPU architecture: 8\nCPU variant\t: {variant}\n"
            f"CPU part\t: {part}\nCPU revision\t: {revision}\n\n"
        )
        (place / "proc" / "cpuinfo").write_text("".join(block.format(index) for index in range(2)))
