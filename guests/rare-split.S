/* SPDX-License-Identifier: GPL-2.0-only
 *
 * rare-split: lock bts, of which one in N (--every) crosses a cache line
 *
 * Does: N - 1 times lock bts on a quadword inside one line, then once on one that crosses its end; each adds
 *	one to its counter.
 * Provokes: one #AC in N locks. Like a guest with real work and one misaligned variable.
 * Expect detection off or missing: loops, with any timer.
 * Expect warn, mitigate=1: with a timer shorter than the kernel's sleep N - 1 loops, then no progress at its
 *	first split lock. With a longer one it loops, with a penalty once in N loops.
 * Expect warn, mitigate=0: loops, with any timer.
 * Expect fatal: SIGBUS to the monitor at the first split lock, after N - 1 loops.
 */
	.set	operand, 0x3c
	.set	width, 8
	.set	every, 1000000
	.include "abi.inc"

	header
start:	movq	%rsi, %r9
	andq	$-64, %r9
outer:	movq	%rcx, %r8
inner:	decq	%r8
	jz	locked
	lock btsq %rdi, (%r9)
	incq	(%rdx)
	jmp	inner
locked:	lock btsq %rdi, (%rsi)
	incq	(%rdx)
	jmp	outer
