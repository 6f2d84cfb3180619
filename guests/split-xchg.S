/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-xchg: xchg with memory, which locks without the prefix, on a doubleword that crosses a cache line
 *
 * Does: exchanges the operand with a register, like the atomic_exchange() of a spinlock; the processor
 *	always locks it (Intel SDM volume 2, XCHG). Then adds one to its counter.
 * Provokes: as split-bts. A search for LOCK prefixes does not find this split lock.
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
