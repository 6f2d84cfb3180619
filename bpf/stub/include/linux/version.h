/* SPDX-License-Identifier: GPL-2.0-only */
/* Any version will do: the kernel has not compared it with its own since 5.0 (6c4fc209fcf9). */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)
