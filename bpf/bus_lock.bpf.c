// SPDX-License-Identifier: GPL-2.0-only
/* Counts the bus locks that raise #DB: those of programs on the host, on a CPU with bus-lock detection, where the kernel
 * has it on (arch/x86/kernel/cpu/bus_lock.c: bus_lock_init).
 *
 * A program can have hundreds of thousands of them a second, so they are counted by thread and address. The recorder reads
 * the counters as memory (sldtrace/capture/bpf/bus_locks.py). The counters of a thread are a list that only this thread
 * changes, so nothing is atomic.
 */

/* Bus locks of one thread at one address. */
struct sld_bus_lock_counter {
	u64 since_ns;		/* when this entry was made; 0: it is free */
	u64 ended_ns;		/* when the thread ended; 0: it has not */
	u64 count;
	u64 handler_ns;
	u64 rip;
	u32 tgid;
	u32 tid;
	u32 next;		/* index of the thread's next counter; 0: none */
	u32 reserved;
};

BPF_F_TABLE("array", u32, struct sld_bus_lock_counter, bus_locks, SLD_BUS_LOCKS, BPF_F_MMAPABLE);	/* 0 is not used */
BPF_STACK(free_bus_locks, u32, SLD_BUS_LOCKS);	/* the recorder fills it */

/* The index of the current thread's counter for that address; 0: none is free. */
static __always_inline u32 bus_lock_of(struct sld_thread *t, u64 id, u64 rip, u64 now)
{
	struct sld_bus_lock_counter *counter = 0;
	u32 index = t->bus_locks, oldest = 0;

#pragma nounroll
	for (u32 i = 0; i < SLD_BUS_ADDRESSES; i++) {
		counter = index ? bus_locks.lookup(&index) : 0;
		if (!counter)
			break;
		if (counter->rip == rip)
			return index;
		oldest = index;
		index = counter->next;
	}
	if (counter) {
		counter->rip = 0;
		return oldest;
	}
	if (free_bus_locks.pop(&index))
		return 0;
	counter = bus_locks.lookup(&index);
	if (!counter)
		return 0;
	counter->rip = rip;
	counter->tgid = id >> 32;
	counter->tid = id;
	counter->next = t->bus_locks;
	counter->since_ns = now;
	t->bus_locks = index;
	return index;
}

static __always_inline int bus_lock_enter(struct pt_regs *regs)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), rip = 0;
	struct sld_bus_lock_counter *counter;
	struct sld_thread *t;
	u32 index;

	bpf_probe_read_kernel(&rip, sizeof(rip), &regs->ip);
	if (!control(SLD_CONTROL_OPEN) || !SLD_SELECTS_RIP(rip) || !is_selected(id))
		return 0;
	count_seen(SLD_KIND_BUS_LOCK);
	t = thread_of(id);
	if (!t) {
		t = thread_create(id, now, SLD_KIND_BUS_LOCK);
		if (!t)
			return 0;
	}
	index = bus_lock_of(t, id, rip, now);
	counter = bus_locks.lookup(&index);
	if (!index || !counter) {
		lose(SLD_KIND_BUS_LOCK, SLD_LOST_TABLE_FULL, id);
		return 0;
	}
	counter->count++;
	t->bus_lock = index;
	t->bus_lock_ns = now;
	return 0;
}

static __always_inline int bus_lock_return(void)
{
	struct sld_thread *t = thread_of(bpf_get_current_pid_tgid());
	struct sld_bus_lock_counter *counter;
	u32 index;

	if (!t || !t->bus_lock)
		return 0;
	index = t->bus_lock;
	t->bus_lock = 0;
	counter = bus_locks.lookup(&index);
	if (counter)
		counter->handler_ns += bpf_ktime_get_ns() - t->bus_lock_ns;
	return 0;
}

/* The thread has ended: its counters are final, and the recorder frees them when it has read them. */
static __always_inline void bus_locks_end(struct sld_thread *t)
{
	u32 index = t->bus_locks;
	struct sld_bus_lock_counter *counter;

#pragma nounroll
	for (u32 i = 0; i < SLD_BUS_ADDRESSES && index; i++) {
		counter = bus_locks.lookup(&index);
		if (!counter)
			break;
		counter->ended_ns = bpf_ktime_get_ns();
		index = counter->next;
	}
}

#ifndef SLD_KPROBE_handle_bus_lock
KFUNC_PROBE(handle_bus_lock, struct pt_regs *regs) { return bus_lock_enter(regs); }
KRETFUNC_PROBE(handle_bus_lock, struct pt_regs *regs) { return bus_lock_return(); }
#else
int kprobe__handle_bus_lock(struct pt_regs *ctx) { return bus_lock_enter((struct pt_regs *)PT_REGS_PARM1(ctx)); }
int kretprobe__handle_bus_lock(struct pt_regs *ctx) { return bus_lock_return(); }
#endif
