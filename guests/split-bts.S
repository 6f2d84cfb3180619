/* SPDX-License-Identifier: GPL-2.0-only
 *
 * split-bts: lock bts on a quadword that crosses a cache line, in an endless loop that counts
 *
 * Does: sets bit 0, like set_bit() of a Linux guest, of a quadword with four bytes before and four after
 *	the end of a 64-byte line; then adds one to its counter.
 * Provokes: one #AC for each split lock that executes while detection is on, and so
 *	handle_guest_split_lock() in the host's kernel, at one guest address.
 * Expect detection off or missing: loops, with any timer.
 * Expect warn, mitigate=1: no progress with a timer shorter than the kernel's sleep of 10 ms
 *	(8 to 16 ms, by HZ and version); with a longer one loops, slowed by penalties.
 * Expect warn, mitigate=0: loops, with any timer.
 * Expect fatal: SIGBUS to the monitor at the first split lock.
 */
	.set	operand, 0x3c
	.include "bts.inc"
