// SPDX-License-Identifier: GPL-2.0-only
/* What is known of each thread that traps and of its process, who is wanted, and the tallies of seen and lost. */

#define SLD_THREADS 4096	/* threads that can be followed at a time */
#define SLD_GROUPS 16384

/* The newest signal generated for a thread or a process. */
struct last_signal {
	u64 ns;			/* 0: none */
	s32 number;
	s32 code;
	u64 sender;		/* TGID << 32 | TID of who sent it; 0: the kernel, or a timer */
};

/* A thread that has trapped. */
struct sld_thread {
	u32 tid;		/* 0: nobody's */
	u32 slot;		/* index of this entry */
	struct sld_trap trap;	/* the run under way (start_ns is 0 between runs) */
	u64 phase_ns;		/* when the sleep or wait under way began; 0: neither */
	u64 idle_ns;		/* end of the last run; 0: this is the first */
	u64 last_ns;		/* start of the newest run */
	u64 since_ns;		/* the VM entry before it, or its start: the signal that ends its sleep is younger */
	u64 exits;		/* what its vCPU had counted when the last run began */
	u64 guest_ns;
	struct last_signal signal;
};

/* A process with such a thread. */
struct sld_group {
	struct last_signal signal;
};

/* Who is being punished: a thread inside a run, at the place of its process. Of two processes at one place, or two
 * threads of a process, the newest; that nobody is told does not prove that nobody was. */
struct punished {
	u32 tgid;
	u32 tid;		/* 0: nobody */
	u64 ns;			/* when the newest run of the process began */
};

/* The exits of a thread for one reason. */
struct sld_cell {
	u64 count;
	u64 guest_ns;
	u64 host_ns;
	u32 reason;
	s32 vector;
	u32 isa;
	u16 kind;		/* what kind_of said, plus one; 0: free */
	u16 log2;		/* of the last host time */
	u32 host_log2[SLD_LOG2S];
};

/* A thread that runs a vCPU and whose exits are followed; sldtrace/capture/bpf/counters.py reads it. */
struct sld_vcpu {
	u32 tid;		/* 0: free; 4294967295: the thread has ended */
	u32 owner;		/* its TID, also afterwards */
	u32 tgid;
	s32 vcpu;
	u32 cell;		/* index of the last exit's cell; 4294967295: its entry has been seen */
	u32 reserved;
	u64 entry_ns;		/* last VM entry; 0: none seen */
	u64 exit_ns;		/* last VM exit; 0: none seen */
	u64 hot_ns;		/* until when its exits are recorded one by one */
	u64 exits;
	u64 guest_ns;
	u64 since_ns;		/* when it was met */
	struct sld_exit pending;	/* the exit that waits for its entry; ns is 0: none does */
	struct sld_cell cells[SLD_CELLS];	/* by SLD_CELL of vcpu.bpf.c */
};

/* See thread_of: an array is looked up in a tenth of the time that a hash takes, and a trap needs it seven times. */
BPF_ARRAY(threads, struct sld_thread, SLD_THREADS);
BPF_HASH(thread_claims, u32, u32, SLD_THREADS);	/* by index into threads: the TID; whoever inserts it has the entry */
BPF_ARRAY(punished, struct punished, SLD_THREADS);	/* by the low bits of the TGID */
BPF_TABLE("lru_hash", u32, struct sld_group, groups, SLD_GROUPS);	/* by TGID */
#ifdef SLD_BY_VM
BPF_HASH(unwanted, u32, u8, SLD_THREADS);	/* TGIDs of VMs that the recorder has told to leave out */
#endif

/* Shared with the recorder as memory, not by the bpf system call: that one keeps kprobe and tracepoint programs from
 * running on its CPU meanwhile (bpf_disable_instrumentation), also when a vCPU thread preempts it. */
BPF_F_TABLE("array", u32, u64, tallies, SLD_CPUS * SLD_KINDS * SLD_CAUSES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, control, 6, BPF_F_MMAPABLE);	/* by enum sld_control */
BPF_F_TABLE("array", u32, struct sld_vcpu, vcpus, SLD_VCPUS, BPF_F_MMAPABLE);	/* see vcpu_of */
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

#define SLD_PROBES 8

/* The entry of a thread in `vcpus`: at its TID, or a little after if others came first. */
static __always_inline struct sld_vcpu *vcpu_of(u32 tid)
{
#pragma nounroll
	for (u32 i = 0; i < SLD_PROBES; i++) {
		u32 slot = (tid + i) & (SLD_VCPUS - 1);
		struct sld_vcpu *v = vcpus.lookup(&slot);

		if (v && v->tid == tid)
			return v;
	}
	return 0;
}

/* Is this thread one that the user asked for? */
static __always_inline bool wanted(u64 id)
{
	u32 tgid = id >> 32, tid = id;

	if (!SLD_WANTED_TGID(tgid) || !SLD_WANTED_TID(tid))
		return false;
#ifdef SLD_CGROUP
	if (bpf_get_current_ancestor_cgroup_id(SLD_CGROUP_LEVEL) != SLD_CGROUP)
		return false;
#endif
#ifdef SLD_WANTED_COMM
	u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	if (!SLD_WANTED_COMM(comm[0], comm[1]))
		return false;
#endif
#ifdef SLD_BY_VM
	if (unwanted.lookup(&tgid))
		return false;
#endif
	return true;
}

#define SLD_THREAD_PROBES 4

/* The entry of a thread in `threads`: at its TID, or a little after if others came first. */
static __always_inline struct sld_thread *thread_of(u32 tid)
{
#pragma nounroll
	for (u32 i = 0; i < SLD_THREAD_PROBES; i++) {
		u32 slot = (tid + i) & (SLD_THREADS - 1);
		struct sld_thread *t = threads.lookup(&slot);

		if (t && t->tid == tid)
			return t;
	}
	return 0;
}

#ifdef SLD_TASK_PID
/* TGID << 32 | TID of a task_struct, whose layout the kernel's BTF tells (sldtrace/capture/bpf/sources.py). */
static __always_inline u64 id_of(u64 task)
{
	u32 tid = 0, tgid = 0;

	bpf_probe_read_kernel(&tid, sizeof(tid), (void *)(task + SLD_TASK_PID));
	bpf_probe_read_kernel(&tgid, sizeof(tgid), (void *)(task + SLD_TASK_TGID));
	return (u64)tgid << 32 | tid;
}
#endif

static __always_inline void punish(u32 tgid, u32 tid, u64 now)
{
	u32 slot = tgid & (SLD_THREADS - 1);
	struct punished *p = punished.lookup(&slot);

	if (p) {
		p->tgid = tgid;
		p->tid = tid;
		p->ns = now;
	}
}

static __always_inline void forgive(u32 tgid, u32 tid)
{
	u32 slot = tgid & (SLD_THREADS - 1);
	struct punished *p = punished.lookup(&slot);

	if (p && p->tid == tid)
		p->tid = 0;
}

/* The thread's state if it is inside a run that is being recorded. */
static __always_inline struct sld_thread *inside(void)
{
	struct sld_thread *t = thread_of(bpf_get_current_pid_tgid());

	return t && t->trap.start_ns ? t : 0;
}

/* Has the thread trapped so lately that all about it is recorded? */
static __always_inline bool hot(struct sld_thread *t, u64 now)
{
	return now - t->last_ns < SLD_HOT_NS;
}

/* The same of a process; where another one has taken its place that is not known, and it is. */
static __always_inline bool process_hot(u32 tgid, u64 now)
{
	u32 slot = tgid & (SLD_THREADS - 1);
	struct punished *p = punished.lookup(&slot);

	return !p || p->tgid != tgid || now - p->ns < SLD_HOT_NS;
}

/* Somebody whose exits were passed over may be wanted now. */
static __always_inline void widen(void)
{
	u32 what = SLD_CONTROL_SCOPE;
	u64 *scope = control.lookup(&what);

	if (scope)
		__sync_fetch_and_add(scope, 1);
}

/* Says who a thread is. */
static __always_inline void introduce(u64 id, u64 now)
{
	struct sld_task *task;

	tally(SLD_KIND_TASK, SLD_LOST_NONE);
	task = tasks.ringbuf_reserve(sizeof(*task));
	if (!task) {
		tally(SLD_KIND_TASK, SLD_LOST_RING_FULL);
		return;
	}
	task->ns = now;
	task->tgid = id >> 32;
	task->tid = id;
	bpf_get_current_comm(task->comm, sizeof(task->comm));
	tasks.ringbuf_submit(task, BPF_RB_NO_WAKEUP);
}

/* First trap of a thread: make its state. */
static __always_inline struct sld_thread *meet(u64 id, u64 now)
{
	struct sld_group none = {};
	struct sld_thread *t;
	u32 tgid = id >> 32, tid = id;

#pragma nounroll
	for (u32 i = 0; i < SLD_THREAD_PROBES; i++) {
		u32 slot = (tid + i) & (SLD_THREADS - 1);

		t = threads.lookup(&slot);
		if (!t || t->tid || thread_claims.insert(&slot, &tid))
			continue;
		__builtin_memset(t, 0, sizeof(*t));
		t->slot = slot;
		t->trap.vcpu = -1;
		t->trap.tgid = tgid;
		t->tid = tid;
		groups.insert(&tgid, &none);	/* the second thread of a process finds it there: not an error */
		widen();
		introduce(id, now);
		return t;
	}
	return 0;
}
