/* SPDX-License-Identifier: GPL-2.0-only
 *
 * report-split: as split-bts, and reports its progress by port I/O once in N loops (--every)
 *
 * Does: lock bts on a quadword that crosses a cache line, adds one to its counter, and after N loops writes
 *	the counter's low 32 bits to the monitor's port.
 * Provokes: as split-bts, and one KVM_EXIT_IO in N loops, so the guest itself reports its progress when it
 *	makes it; otherwise it is only in its memory.
 * Expect any mode: as split-bts; a guest that makes no progress reports nothing.
 */
	.set	operand, 0x3c
	.set	width, 8
	.set	every, 1000
	.set	privileged, 1
	.include "abi.inc"

	header
start:	movq	%rcx, %r8
again:
locked:	lock btsq %rdi, (%rsi)
	incq	(%rdx)
	decq	%r8
	jnz	again
	movl	(%rdx), %eax
	outl	%eax, $port
	jmp	start
