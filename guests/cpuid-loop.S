/* SPDX-License-Identifier: GPL-2.0-only
 *
 * cpuid-loop: cpuid in an endless loop that counts: one VM exit each, all handled by the kernel
 *
 * Does: executes cpuid leaf 0, which always causes a VM exit (Intel SDM volume 3,
 *	27.1.2 "Instructions That Cause VM Exits Unconditionally"); then adds one to its counter.
 * Provokes: as many VM exits as the host can handle, none of which leaves KVM_RUN: the guest with the highest
 *	cost of probes on VM exits. No split lock.
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
