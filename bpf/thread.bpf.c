// SPDX-License-Identifier: GPL-2.0-only
/* What is known of each thread that traps, and the tallies of what was seen and lost. */

#define SLD_THREADS 16384	/* threads that can be followed at a time */

/* The newest signal generated for a thread or a process. */
struct last_signal {
	u64 ns;			/* 0: none */
	s32 number;
	s32 code;
	u64 sender;		/* TGID << 32 | TID of who sent it; 0: the kernel, or a timer */
};

struct sld_thread {
	struct sld_trap trap;	/* the run under way (enter_ns is 0 between runs); collects exits and guest_ns between runs */
	u64 phase_ns;		/* when the sleep or wait under way began; 0: neither */
	u64 entry_ns;		/* last VM entry; 0: none seen */
	u64 exit_ns;		/* last VM exit; 0: none seen */
	u64 idle_ns;		/* end of the last run; 0: this is the first */
	struct last_signal signal;
};

BPF_HASH(threads, u32, struct sld_thread, SLD_THREADS);
BPF_ARRAY(blank, struct sld_thread, 1);
BPF_TABLE("lru_hash", u32, struct last_signal, groups, SLD_THREADS);	/* by TGID: signals sent to the process */

/* Shared with the recorder as memory, not by the bpf system call: that one keeps kprobe and tracepoint programs from
 * running on its CPU meanwhile (bpf_disable_instrumentation), also when a vCPU thread preempts it. */
BPF_F_TABLE("array", u32, u64, tallies, SLD_CPUS * SLD_KINDS * SLD_CAUSES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, control, 4, BPF_F_MMAPABLE);	/* by enum sld_control */
BPF_RINGBUF_OUTPUT(tasks, SLD_TASK_PAGES);

static __always_inline void tally(u32 kind, u32 cause)
{
	u32 slot = (bpf_get_smp_processor_id() * SLD_KINDS + kind) * SLD_CAUSES + cause;
	u64 *n = tallies.lookup(&slot);

	/* Atomic: where the kernel is preemptible, another thread may count on this CPU in between. */
	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline u64 told(u32 what)
{
	u64 *value = control.lookup(&what);

	return value ? *value : 0;
}

/* Is this thread one that the user asked for? */
static __always_inline bool wanted(u64 id)
{
#ifdef SLD_ONLY_TGID
	return id >> 32 == SLD_ONLY_TGID;
#else
	return true;
#endif
}

/* The thread's state if it is inside a run that is being recorded. */
static __always_inline struct sld_thread *inside(void)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct sld_thread *t = threads.lookup(&tid);

	return t && t->trap.enter_ns ? t : 0;
}

/* First trap of a thread: make its state, and say who it is. */
static __always_inline struct sld_thread *meet(u64 id, u64 now)
{
	struct last_signal none = {};
	struct sld_thread *t;
	struct sld_task *task;
	u32 tgid = id >> 32, tid = id, zero = 0;

	t = blank.lookup(&zero);
	if (!t || threads.insert(&tid, t))
		return 0;
	t = threads.lookup(&tid);
	if (!t)
		return 0;
	t->trap.vcpu = -1;
	t->trap.tgid = tgid;
	groups.insert(&tgid, &none);	/* the second thread of a process finds it there: not an error */

	tally(SLD_KIND_TASK, SLD_LOST_NOTHING);
	task = tasks.ringbuf_reserve(sizeof(*task));
	if (!task) {
		tally(SLD_KIND_TASK, SLD_LOST_RING_FULL);
		return t;
	}
	task->ns = now;
	task->tgid = tgid;
	task->tid = tid;
	bpf_get_current_comm(task->comm, sizeof(task->comm));
	tasks.ringbuf_submit(task, BPF_RB_NO_WAKEUP);
	return t;
}

/* A TID may be used again: what was known of it ends with the thread. */
TRACEPOINT_PROBE(sched, sched_process_exit)
{
	u32 tid = bpf_get_current_pid_tgid();

	threads.delete(&tid);
	return 0;
}
