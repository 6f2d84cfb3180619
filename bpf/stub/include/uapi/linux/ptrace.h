/* SPDX-License-Identifier: GPL-2.0-only */
/* What a kprobe gets: the registers, in the order of arch/x86/include/uapi/asm/ptrace.h. */
#pragma once
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
