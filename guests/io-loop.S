/* SPDX-License-Identifier: GPL-2.0-only
 *
 * io-loop: port output in an endless loop that counts: one VM exit each, all handled by the monitor
 *
 * Does: adds one to its counter, then writes the counter's low 32 bits to the monitor's port.
 * Provokes: as many returns from KVM_RUN as the host can handle (KVM_EXIT_IO): the guest with the highest cost of
 *	probes on KVM_RUN. No split lock.
 * Expect any mode: loops, with any timer.
 */
	.set	operand, 0
	.set	width, 0
	.set	privileged, 1
	.include "abi.inc"

	header
start:	incq	(%rdx)
	movl	(%rdx), %eax
locked:	outl	%eax, $port
	jmp	start
