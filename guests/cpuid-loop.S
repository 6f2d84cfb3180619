/* SPDX-License-Identifier: GPL-2.0-only
 *
 * cpuid-loop: cpuid in an endless loop that counts: one VM exit each, all answered by the kernel
 *
 * Does: executes cpuid leaf 0, which the processor hands to the hypervisor always (Intel SDM volume 3,
 *	27.1.2 "Instructions That Cause VM Exits Unconditionally"); then adds one to its counter.
 * Provokes: as many VM exits as the host can serve, none of which leaves KVM_RUN: the guest that pays most
 *	for whatever watches VM exits. No split lock.
 * Expect any mode: loops, with any timer.
 */
	.set	operand, 0
	.set	width, 0
	.include "abi.inc"

	header
start:	movq	%rdx, %r8		/* cpuid overwrites RAX, RBX, RCX and RDX */
again:	xorl	%eax, %eax
locked:	cpuid
	incq	(%r8)
	jmp	again
