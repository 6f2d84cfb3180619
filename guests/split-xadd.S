/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-xadd: lock xadd on a quadword that crosses a cache line: an atomic counter of the guest
 *
 * Does: adds one to the operand, as atomic_fetch_add() of C would; then adds one to its counter. Several
 *	vCPUs on one operand: it holds the sum of their loops, so a lost update can be seen.
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
