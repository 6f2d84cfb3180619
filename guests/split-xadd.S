/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-xadd: lock xadd on a quadword that crosses a cache line: as in an atomic counter of a guest
 *
 * Does: adds one to the operand, like atomic_fetch_add() of C; then adds one to its counter. Several
 *	vCPUs on one operand: it is the sum of their loops, which shows a lost update.
 * Provokes: as split-bts.
 * Expect any mode: as split-bts.
 */
	.set	operand, 0x3c
	.set	width, 8
	.include "abi.inc"

	header
start:	movl	$1, %eax
locked:	lock xaddq %rax, (%rsi)
	incq	(%rdx)
	jmp	start
