/*
 * loop.c: the run loop of a VMM whose tick does not freeze a guest that takes split locks.
 *
 *     cc -O2 -Wall -o loop loop.c
 *     ./loop naive 2        what not to do: a tick of one millisecond by the clock
 *     ./loop defer 2        a tick that found the vCPU asleep comes later the next time
 *     ./loop cputime 2      a tick by the CPU time of the vCPU thread, which a sleeping thread does not use
 *
 * A VMM interrupts KVM_RUN of its vCPU threads with a signal, to share the CPU or to serve its devices. On
 * an Intel host with split-lock detection the kernel makes a thread whose guest took a split lock sleep for
 * 10 ms, rounded up to jiffies (handle_guest_split_lock). A signal ends that sleep before the instruction
 * was executed, and the next KVM_RUN traps on it again. A tick that is shorter than the penalty stops the
 * guest until the tick stops. But a tick has to interrupt only a vCPU that runs: one that sleeps inside
 * KVM_RUN, penalized or halted, uses no CPU.
 *
 * So the VMM can measure its tick in CPU time of the vCPU thread (cputime: one argument changes; the kernel
 * checks such timers once a jiffy). Or it checks after each tick whether the thread slept instead of
 * running (defer: exact to the timer). A signal that must arrive at once, to stop the VM for example, is
 * still sent. Only the tick is deferred, by at most MOST_NS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 1000000LL   /* the tick that the VMM wants */
#define MOST_NS 64000000LL  /* longer than the penalty of any kernel (30 ms at HZ=100) */
#define KICK SIGUSR1

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { CODE = 0x1000, OPERAND = 0x203f, COUNTER = 0x3000, MEMORY = 0x4000 };

/* lock bts dword [OPERAND], 1, which crosses a cache line; inc dword [COUNTER]; jmp to the beginning */
static const uint8_t guest[] = {
	0xf0, 0x0f, 0xba, 0x2d, 0x3f, 0x20, 0, 0, 1, /**/ 0xff, 0x05, 0, 0x30, 0, 0, /**/ 0xeb, 0xef,
};

static int fail(const char *what)
{
	fprintf(stderr, "loop: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int must(int result, const char *what)
{
	return result < 0 ? fail(what) : result;
}

static int64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* A VM with one vCPU in 32-bit protected mode, flat, at the guest's first instruction; its kvm_run. */
static struct kvm_run *boot(int *vcpu, volatile uint32_t **counter)
{
	int kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	int size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY, .userspace_addr = (uintptr_t)memory};
	struct kvm_segment code = {.limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_segment data = {.limit = ~0u, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
	struct kvm_sregs sregs;
	struct kvm_run *run;

	if (memory == MAP_FAILED)
		fail("the guest's memory");
	memcpy(memory + CODE, guest, sizeof(guest));
	*counter = (volatile uint32_t *)(memory + COUNTER);
	must(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	*vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *vcpu, 0);
	if (run == MAP_FAILED)
		fail("kvm_run");
	must(ioctl(*vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cr0 |= 1;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	must(ioctl(*vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(*vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	return run;
}

/* The kick is blocked but for KVM_RUN, so that none is lost between two of them. */
static void open_kick_in_kvm_run(int vcpu, sigset_t *kick)
{
	struct { struct kvm_signal_mask head; uint64_t blocked; } mask = {{.len = 8}, ~(1ULL << (KICK - 1))};

	sigemptyset(kick);
	sigaddset(kick, KICK);
	sigprocmask(SIG_BLOCK, kick, NULL);
	must(ioctl(vcpu, KVM_SET_SIGNAL_MASK, &mask), "KVM_SET_SIGNAL_MASK");
}

/* How often this thread went to sleep; preemption does not count. */
static long voluntary_switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static timer_t tick_of_this_thread(clockid_t clock)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KICK};
	timer_t timer;

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	must(timer_create(clock, &event, &timer), "timer_create");
	return timer;
}

int main(int count, char **words)
{
	const char *how = count > 1 ? words[1] : "";
	double seconds = count > 2 ? atof(words[2]) : 2;
	int cputime = !strcmp(how, "cputime"), defer = !strcmp(how, "defer");
	int64_t period = TICK_NS, patience = 2 * TICK_NS, end;
	unsigned long runs = 0, deferred = 0;
	long slept = voluntary_switches();
	volatile uint32_t *loops;
	sigset_t kick;
	timer_t tick;
	int vcpu;

	if (!(cputime || defer || !strcmp(how, "naive")) || seconds <= 0) {
		fprintf(stderr, "usage: loop naive|defer|cputime [SECONDS]\n");
		return 2;
	}
	struct kvm_run *run = boot(&vcpu, &loops);
	open_kick_in_kvm_run(vcpu, &kick);
	tick = tick_of_this_thread(cputime ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC);
	/* The loop checks the time after each tick. */
	end = now(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);

	while (now(CLOCK_MONOTONIC) < end) {
		struct itimerspec spec = {.it_value = {period / 1000000000, period % 1000000000}};
		int64_t began = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);

		timer_settime(tick, 0, &spec, NULL);
		if (ioctl(vcpu, KVM_RUN, 0) == 0) {
			fprintf(stderr, "loop: KVM_RUN returned with exit reason %u\n", run->exit_reason);
			return 1;
		}
		if (errno != EINTR)
			fail("KVM_RUN");
		runs++;
		sigtimedwait(&kick, NULL, &(struct timespec){0});

		/* Here the VMM does its periodic work. */

		if (!defer)
			continue;
		int64_t ran = now(CLOCK_THREAD_CPUTIME_ID) - cpu, took = now(CLOCK_MONOTONIC) - began;
		long before = slept;
		slept = voluntary_switches();
		if (slept == before || 2 * ran >= took) {
			period = TICK_NS; /* it ran, or others ran: the tick is needed */
			continue;
		}
		/* It hardly ran: wait twice as long, and begin with that the next time. */
		deferred++;
		if (8 * ran < took && period >= patience && patience < MOST_NS)
			patience *= 2;
		period = patience;
	}
	printf("%-8s %10u loops in %g s, %lu KVM_RUN", how, *loops, seconds, runs);
	if (defer)
		printf(", %lu ticks deferred by up to %lld ms", deferred, (long long)(patience / 1000000));
	printf("\n");
	return *loops == 0;
}
