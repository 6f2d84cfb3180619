/* SPDX-License-Identifier: GPL-2.0-only
 *
 * aligned-bts: the control of split-bts, with the quadword inside one cache line
 *
 * Does: the same instructions as split-bts; only the address of the operand differs.
 * Provokes: nothing. A trap that is seen while it runs is not the guest's.
 * Expect any mode: loops, with any timer.
 */
	.set	operand, 0
	.include "bts.inc"
