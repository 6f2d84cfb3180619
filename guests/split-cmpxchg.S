/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-cmpxchg: lock cmpxchg on a quadword that crosses a cache line: as in lock-free code of a guest
 *
 * Does: loads the operand, stores it plus one if it did not change in between, else retries; then adds one
 *	to its counter.
 * Provokes: as split-bts; with several vCPUs on one operand also failed attempts, which trap like the others.
 * Expect any mode: as split-bts.
 */
	.set	operand, 0x3c
	.set	width, 8
	.include "abi.inc"

	header
start:	movq	(%rsi), %rax
again:	leaq	1(%rax), %rdi
locked:	lock cmpxchgq %rdi, (%rsi)
	jnz	again
	incq	(%rdx)
	jmp	start
