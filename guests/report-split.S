/* SPDX-License-Identifier: GPL-2.0-only
 *
 * report-split: as split-bts, and says by port I/O how far it is, once in N loops (--every)
 *
 * Does: lock bts on a quadword that crosses a cache line, adds one to its counter, and after N loops writes
 *	the counter's low 32 bits to the monitor's port.
 * Provokes: as split-bts, and one KVM_EXIT_IO in N loops. So progress is known from inside the guest, at
 *	the moment it is made, and not only from its memory afterwards.
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
