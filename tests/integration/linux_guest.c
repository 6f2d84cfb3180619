/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The only process of a Linux guest: counts split locks, in a page that is found from outside by its mark.
 */
#include <stdint.h>
#include <unistd.h>

static struct {
	char before[126];
	uint32_t loops; /* two bytes of it are in the next cache line */
	char after[62];
	char mark[64];
} __attribute__((packed, aligned(4096))) page;

int main(void)
{
	/* Made here, so that the file of the program does not have it. */
	for (int i = 0; i < 64; i++)
		page.mark[i] = "split locks are counted here"[i % 28] ^ 0x80;
	/* The kernel has a rest of its start to do. */
	sleep(1);
	for (;;)
		__asm__ volatile("lock incl %0" : "+m"(page.loops));
}
