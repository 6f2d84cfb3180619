/* SPDX-License-Identifier: GPL-2.0-only
 *
 * aligned-bts: control for split-bts, with the quadword inside one cache line
 *
 * Does: the same instructions as split-bts; only the address of the operand differs.
 * Provokes: nothing. A trap while it runs is not from this guest.
 * Expect any mode: loops, with any timer.
 */
	.set	operand, 0
	.include "bts.inc"
