/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Option ROM of 512 bytes: takes over INT 19h (bootstrap) and enters the real-mode setup code of a
 * Linux bzImage that the emulator has put at 0x90000 (see lab/image.py). No boot disk, no loader.
 */
	.code16
	.globl	_start
_start:
	.byte	0x55, 0xaa, 1		/* signature, length in units of 512 bytes */
	pushw	%ds			/* the BIOS far-calls here */
	pushw	%ax
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	$(boot - _start), 0x19 * 4
	movw	%cs, 0x19 * 4 + 2
	popw	%ax
	popw	%ds
	lretw
boot:
	cli
	movw	$0x9000, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movw	$0xe000, %sp
	ljmpw	$0x9020, $0
