// SPDX-License-Identifier: GPL-2.0-only
/* A program whose split locks never complete their penalty, and its own account of what ends them.
 *
 * usage: culprits CASE MILLISECONDS (see `cases`)
 *
 * A thread, the victim, executes a split lock all the time on CPU 0; the main thread, on CPU 1, does what the case says.
 * Prints JSON: PID, TID and loops of the victim, how often its handlers ran, by signal, and what the case counts.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_US 2000			/* less than any penalty's sleep */
#define ENTRIES 512

static volatile unsigned long loops;
static volatile bool ended;
static unsigned handled[65], counted;
static pid_t victim;
static long duration_ms;
static unsigned *completed;		/* of the victim's ring; NULL: it has none */
static char line[192] __attribute__((aligned(64)));

static void pause_us(long us)
{
	nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

static bool until_end(void)
{
	static struct timespec end;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!end.tv_sec)
		end = (struct timespec){now.tv_sec + duration_ms / 1000, now.tv_nsec + duration_ms % 1000 * 1000000};
	return (now.tv_sec - end.tv_sec) * 1000000000 + now.tv_nsec - end.tv_nsec < 0;
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void handle(int signal)
{
	handled[signal]++;
}

/* Three of five are SIGUSR1, two are SIGUSR2. */
static void two_signals(void)
{
	for (; until_end(); counted++, pause_us(PERIOD_US))
		syscall(SYS_tgkill, getpid(), victim, counted % 5 < 3 ? SIGUSR1 : SIGUSR2);
}

static void children(void)
{
	for (; until_end(); counted++, pause_us(PERIOD_US)) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

/* The socket belongs to the process; another signal than the one that it handles, SIGWINCH, is ignored. */
static void urgent_data(void)
{
	int pair[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || fcntl(pair[0], F_SETOWN, getpid()))
		err(1, "socketpair");
	for (; until_end(); counted++, pause_us(PERIOD_US)) {
		syscall(SYS_tgkill, getpid(), victim, SIGWINCH);
		if (send(pair[1], "!", 1, MSG_OOB) != 1 || recv(pair[0], &byte, 1, MSG_OOB) != 1)
			err(1, "MSG_OOB");
	}
}

static void *map(int fd, size_t size, off_t offset)
{
	void *found = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (found == MAP_FAILED)
		err(1, "mmap");
	return found;
}

/* One timeout each period, in the ring of this thread: each that completes is task work for it, without a signal. */
static void submit_timeouts(void)
{
	static struct __kernel_timespec at[ENTRIES];
	unsigned count = duration_ms * 1000 / PERIOD_US;
	struct io_uring_params p = {};
	struct io_uring_sqe *entries;
	char *submission, *completion;
	int fd = syscall(SYS_io_uring_setup, ENTRIES, &p);

	if (fd < 0)
		err(1, "io_uring_setup");
	submission = map(fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	completion = map(fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	entries = map(fd, p.sq_entries * sizeof(*entries), IORING_OFF_SQES);
	if (count > ENTRIES)
		count = ENTRIES;
	for (unsigned i = 0; i < count; i++) {
		long us = (i + 1) * PERIOD_US;

		at[i] = (struct __kernel_timespec){us / 1000000, us % 1000000 * 1000};
		entries[i] = (struct io_uring_sqe){.opcode = IORING_OP_TIMEOUT, .addr = (uintptr_t)&at[i], .len = 1};
		((unsigned *)(submission + p.sq_off.array))[i] = i;
	}
	__atomic_store_n((unsigned *)(submission + p.sq_off.tail), count, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, fd, count, 0, 0, NULL, 0) != count)
		err(1, "io_uring_enter");
	completed = (unsigned *)(completion + p.cq_off.tail);
}

static void task_work(void)
{
	while (until_end())
		pause_us(PERIOD_US);
	counted = *completed;
}

static const struct {
	const char *name;
	void (*act)(void);
	void (*prepare)(void);		/* in the victim */
} cases[] = {
	{"two signals", two_signals, NULL},
	{"children", children, NULL},
	{"urgent data", urgent_data, NULL},
	{"task work", task_work, submit_timeouts},
}, *chosen;

static void *split(void *ready)
{
	sigset_t none;

	on_cpu(0);
	if (chosen->prepare)
		chosen->prepare();
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	victim = gettid();
	pthread_barrier_wait(ready);
	for (; !ended; loops++)
		__asm__ volatile("lock addl $1, (%0)" : : "r"(line + 62) : "memory");
	return NULL;
}

int main(int count, char **arguments)
{
	static const int signals[] = {SIGUSR1, SIGUSR2, SIGCHLD, SIGURG};
	const char *comma = "";
	pthread_barrier_t ready;
	pthread_t thread;
	sigset_t all;

	for (size_t i = 0; count == 3 && i < sizeof(cases) / sizeof(*cases); i++)
		if (!strcmp(cases[i].name, arguments[1]))
			chosen = &cases[i];
	if (!chosen)
		errx(2, "usage: culprits CASE MILLISECONDS");
	duration_ms = atol(arguments[2]);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &(struct sigaction){.sa_handler = handle, .sa_flags = SA_RESTART}, NULL);
	/* What is sent to the process reaches the victim. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	on_cpu(1);
	pthread_barrier_init(&ready, NULL, 2);
	pthread_create(&thread, NULL, split, &ready);
	pthread_barrier_wait(&ready);
	chosen->act();
	ended = true;
	printf("{\"pid\": %d, \"tid\": %d, \"loops\": %lu, \"counted\": %u, \"handled\": {", getpid(), victim, loops, counted);
	for (int i = 1; i < 65; i++)
		if (handled[i]) {
			printf("%s\"%d\": %u", comma, i, handled[i]);
			comma = ", ";
		}
	printf("}}\n");
	fflush(stdout);
	_exit(0);			/* the victim may sleep */
}
