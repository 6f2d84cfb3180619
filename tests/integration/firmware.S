/* SPDX-License-Identifier: GPL-2.0-only
 *
 * firmware: a guest of 64 KiB for real VMMs (qemu -bios), in real mode: locked increments and counters
 *
 * Does: lock inc on a doubleword in an endless loop, aligned or across the end of a 64-byte line, and adds one
 *	to its counter after each. The settings below are written into the image before it is used
 *	(firmware.py).
 * vCPU N, by its APIC ID, has its data at 0x2000 + 0x100 * N in guest memory: a counter of finished loops; one
 *	of timer interrupts, at +4 (vCPU 0 only); one of starts, at +8; the line of its operand, from +0x40 on.
 */
	.set	data, 0x2000
	.set	ticks, 4
	.set	starts, 8
	.set	line, 0x40
	.set	TIMER, 8		/* the interrupt vector of the PIT */
	.set	APIC_BASE, 0x1b		/* MSRs: Intel SDM volume 4 */
	.set	X2APIC_ICR, 0x830

	.code16
	.text
	.globl	start

/* Other vCPUs start here: a start-up IPI with vector 0xf0 is CS:IP = f000:0000. */
start:	jmp	begin

	.org	16
/* The settings. */
offset:	.word	0			/* of the operand in its line; more than 60: across its end */
pit:	.word	0			/* divisor of 1,193,182 Hz; 0: no timer */
every:	.long	1			/* one lock in so many is at that offset, the others at offset 0 */
others:	.word	0			/* 1: start the other vCPUs */

begin:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$1, %eax
	cpuid
	shrl	$16, %ebx		/* BH: the APIC ID */
	movb	$0, %bl
	leaw	data(%bx), %si
	leaw	line(%si), %bp
	leaw	0x100(%si), %sp
	movw	%bp, %di
	addw	%cs:offset, %di
	incl	starts(%si)
	testw	%bx, %bx
	jnz	again

	cmpw	$0, %cs:others
	je	timer
	movl	$APIC_BASE, %ecx
	rdmsr
	orl	$0xc00, %eax		/* x2APIC */
	wrmsr
	movl	$X2APIC_ICR, %ecx
	xorl	%edx, %edx
	movl	$0xc4500, %eax		/* INIT to all but this one */
	wrmsr
	movl	$0xc46f0, %eax		/* start-up, vector 0xf0 */
	wrmsr

timer:	movw	%cs:pit, %bx
	testw	%bx, %bx
	jz	again
	movw	$tick, TIMER*4
	movw	$0xf000, TIMER*4+2
	movb	$0x11, %al		/* the 8259: ICW1 to ICW4, and only IRQ 0 */
	outb	%al, $0x20
	movb	$TIMER, %al
	outb	%al, $0x21
	movb	$0x04, %al
	outb	%al, $0x21
	movb	$0x01, %al
	outb	%al, $0x21
	movb	$0xfe, %al
	outb	%al, $0x21
	movb	$0x34, %al		/* the 8254: counter 0, mode 2 */
	outb	%al, $0x43
	movb	%bl, %al
	outb	%al, $0x40
	movb	%bh, %al
	outb	%al, $0x40
	sti

again:	movl	%cs:every, %ecx
inner:	decl	%ecx
	jz	locked
	lock incl %ds:(%bp)
	incl	(%si)
	jmp	inner
locked:	lock incl (%di)
	incl	(%si)
	jmp	again

tick:	pushw	%ax
	incl	data+ticks
	movb	$0x20, %al
	outb	%al, $0x20
	popw	%ax
	iret

	.org	0xfff0, 0xf4
reset:	ljmp	$0xf000, $begin
	.org	0x10000, 0xf4
