/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-bts: lock bts on a quadword that crosses a cache line, in an endless loop that counts
 *
 * Does: sets bit 0, as set_bit() of a Linux guest would, of a quadword of which four bytes lie before
 *	and four behind the end of a 64-byte line; then adds one to its counter.
 * Provokes: one #AC for each split lock that runs while split-lock detection is on, therefore
 *	handle_guest_split_lock() in the host's kernel, at one guest address.
 * Expect detection off or missing: loops, with any timer.
 * Expect warn, mitigate=1: no loop at all with a timer shorter than the kernel's sleep of 10 ms
 *	(8 to 16 ms, by HZ and version); with a longer one loops, slowed by the sleeps.
 * Expect warn, mitigate=0: loops, with any timer.
 * Expect fatal: SIGBUS to the monitor at the first split lock.
 */
	.set	operand, 0x3c
	.include "bts.inc"
