/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-xchg: xchg with memory, a lock without the prefix, on a doubleword that crosses a cache line
 *
 * Does: exchanges the operand with a register, as a spinlock's atomic_exchange() would; the processor locks
 *	it without being asked (Intel SDM volume 2, XCHG). Then adds one to its counter.
 * Provokes: as split-bts. Whoever looks for split locks by looking for LOCK prefixes misses it.
 * Expect any mode: as split-bts.
 */
	.set	operand, 0x3e
	.set	width, 4
	.include "abi.inc"

	header
start:	movl	$1, %eax
locked:	xchgl	%eax, (%rsi)
	incq	(%rdx)
	jmp	start
