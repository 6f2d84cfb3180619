/* SPDX-License-Identifier: GPL-2.0-only
 *
 * own-ac: a guest at CPL 3 with alignment checks on, which handles its own #AC
 *
 * Does: sets CR0.AM, goes to CPL 3 with EFLAGS.AC set, and executes lock bts across a cache line. Its handler
 *	of #AC adds one to the counter and skips the instruction: a loop is one exception.
 * Provokes: #AC of the guest itself: KVM intercepts each and injects it into the guest
 *	(vmx_guest_inject_ac(), arch/x86/kvm/vmx/vmx.c). handle_guest_split_lock() must not run for them.
 * Expect any mode: loops, with any timer, also in fatal; no sleep, no line in the host's log.
 */
	.set	operand, 0x3c
	.set	width, 8
	.set	privileged, 1
	.include "abi.inc"

	/* Selectors; the monitor starts the guest with the first two. */
	.set	KERNEL_CODE, 1 << 3
	.set	USER_DATA, 3 << 3 | 3
	.set	USER_CODE, 4 << 3 | 3
	.set	TASK, 5 << 3

	/* The tables are in the upper part of the stack's page, so that each vCPU has its own. */
	.set	GDT, 0x000		/* 7 quadwords */
	.set	TSS, 0x080		/* 104 bytes; RSP0 at 4, I/O map base at 102 */
	.set	IDT, 0x100		/* 18 gates of 16 bytes */
	.set	TABLES, 0x400
	.set	AC, 17			/* the vector */
	.set	AM, 18			/* the bit of CR0, and that of AC in RFLAGS */

	header
start:	leaq	-TABLES(%rsp), %rbp

	movabsq	$0x00209b0000000000, %rax	/* 64-bit code, CPL 0 */
	movq	%rax, GDT+8(%rbp)
	movabsq	$0x00cf93000000ffff, %rax	/* data, CPL 0 */
	movq	%rax, GDT+16(%rbp)
	movabsq	$0x00cff3000000ffff, %rax	/* data, CPL 3 */
	movq	%rax, GDT+24(%rbp)
	movabsq	$0x0020fb0000000000, %rax	/* 64-bit code, CPL 3 */
	movq	%rax, GDT+32(%rbp)
	leaq	TSS(%rbp), %rbx			/* available 64-bit TSS; its base is below 16 MiB */
	shlq	$16, %rbx
	movabsq	$0x0000890000000067, %rax
	orq	%rbx, %rax
	movq	%rax, GDT+40(%rbp)

	movq	%rbp, TSS+4(%rbp)		/* the handler's stack: below the tables */
	movw	$104, TSS+102(%rbp)

	leaq	handler(%rip), %rax		/* interrupt gate, CPL 0 */
	movw	%ax, IDT+AC*16(%rbp)
	movw	$KERNEL_CODE, IDT+AC*16+2(%rbp)
	movw	$0x8e00, IDT+AC*16+4(%rbp)
	shrq	$16, %rax
	movw	%ax, IDT+AC*16+6(%rbp)

	movq	%rbp, %rsp
	subq	$16, %rsp
	movw	$7*8-1, (%rsp)
	leaq	GDT(%rbp), %rax
	movq	%rax, 2(%rsp)
	lgdt	(%rsp)
	movw	$18*16-1, (%rsp)
	leaq	IDT(%rbp), %rax
	movq	%rax, 2(%rsp)
	lidt	(%rsp)
	movw	$TASK, %ax
	ltr	%ax

	movq	%cr0, %rax
	btsq	$AM, %rax
	movq	%rax, %cr0

	pushq	$USER_DATA
	pushq	%rbp
	pushq	$1 << AM | 1 << 1
	pushq	$USER_CODE
	leaq	user(%rip), %rax
	pushq	%rax
	iretq

user:
locked:	lock btsq %rdi, (%rsi)
next:	jmp	user

handler:
	addq	$8, %rsp			/* the error code, always 0 */
	incq	(%rdx)
	leaq	next(%rip), %rax
	movq	%rax, (%rsp)
	iretq
