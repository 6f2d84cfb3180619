// SPDX-License-Identifier: GPL-2.0-only
/* The state of each thread that traps and of its process, the filters, and the counts of events seen and lost. */

/* libbcc makes two functions that print and parse a table's values, and compiles them for this machine, with code for
 * each element of an array (BPFModule::annotate, src/cc/bpf_module.cc): a quarter of the time of compiling. Bytes are a
 * string for it. Look-ups cast the result. */
#define SLD_BYTES(type) struct type##_bytes { char bytes[sizeof(struct type)]; }

#define SLD_GROUPS 16384
#define SLD_PENALIZED 4096

/* TIDs are below 4 million (PID_MAX_LIMIT, include/linux/threads.h). */
#define SLD_TID_BLOCK 2048
#define SLD_TID_BLOCKS 2048

/* The newest signal generated for a thread or a process. */
struct last_signal {
	u64 ns;			/* 0: none */
	s32 number;
	s32 code;
	u64 sender;		/* TGID << 32 | TID of the sender; 0: the kernel, or a timer */
};

/* A thread with a slot. */
struct sld_thread {
	u32 tid;		/* 0: it has not trapped, and has no bus locks */
	u32 bus_locks;		/* index into `bus_locks`: its newest counter; 0: none */
	u32 bus_lock;		/* the counter of the bus lock in progress; 0: none */
	u32 reserved;
	u64 bus_lock_ns;	/* when that one started */
	struct sld_trap trap;	/* the trap in progress (start_ns is 0 between traps) */
	u64 phase_ns;		/* start of the sleep or wait in progress; 0: neither */
	u64 idle_ns;		/* end of the last trap; 0: this is the first */
	u64 last_ns;		/* start of the newest trap */
	u64 since_ns;		/* the VM entry before it, or its start: the signal that ends its sleep is newer */
	u64 exits;		/* VM exits of its vCPU when the last trap started */
	u64 guest_ns;
	u64 pending;		/* signals that may have ended the sleep or wait, one bit each (pending.bpf.c) */
	struct last_signal signal;
};

/* A process with such a thread. */
struct sld_group {
	struct last_signal signal;
};

/* The thread of a process that is in a penalty. Two processes may share an entry; the newest thread overwrites it. So
 * an empty entry does not prove that no thread of the process is penalized. */
struct penalized {
	u32 tgid;
	u32 tid;		/* 0: none */
	u64 ns;			/* start of the process's newest trap */
};

/* The exits of a thread for one reason. */
struct sld_cell {
	u64 count;
	u64 guest_ns;
	u64 host_ns;
	u32 reason;
	s32 vector;
	u32 kind;		/* result of exit_kind, plus one; 0: free */
	u16 isa;
	u16 log2;		/* of the last host time */
	u32 host_log2[SLD_LOG2S];
};

/* A thread that runs a vCPU and whose exits are followed; sldtrace/capture/bpf/counters.py reads it. */
struct sld_vcpu {
	u32 tid;
	u32 tgid;
	s32 vcpu;
	u32 cell;		/* index of the last exit's cell; 4294967295: its entry has been seen */
	u64 since_ns;		/* when this entry was made; 0: the exits of the thread are not followed */
	u64 ended_ns;		/* when the thread ended; 0: it has not */
	u64 entry_ns;		/* last VM entry; 0: none seen */
	u64 last_ns;		/* last VM entry or exit; 0: none seen */
	u64 recent_until_ns;	/* until when each of its exits is recorded */
	u64 exits;
	u64 guest_ns;
	struct sld_exit pending;	/* the exit whose entry has not been seen yet; ns is 0: none */
	struct sld_cell cells[SLD_CELLS];	/* by SLD_CELL of vcpu.bpf.c */
};
SLD_BYTES(sld_vcpu);

/* The slot of each thread, by TID: an index into `threads` and `vcpus`, or one of the values below. So two threads never
 * share an entry, whatever their TIDs. Arrays, because a look-up in one is inlined and takes a tenth of the time of one
 * in a hash; each trap does seven. */
struct sld_slots {
	u16 of[SLD_TID_BLOCK];
};
SLD_BYTES(sld_slots);
BPF_ARRAY(slots, struct sld_slots_bytes, SLD_TID_BLOCKS);

#define SLD_NO_SLOT 0		/* not known */
#define SLD_TABLE_FULL 0x7fff	/* no slot was free; its name has been recorded */
#define SLD_UNFOLLOWED 0x8000	/* its exits are not followed, and SLD_CONTROL_SCOPE, 15 bits, when that was checked */

BPF_STACK(free_slots, u32, SLD_SLOTS);	/* the recorder fills it; see slot_free */
BPF_ARRAY(threads, struct sld_thread, SLD_SLOTS + 1);
BPF_ARRAY(penalized, struct penalized, SLD_PENALIZED);	/* by the low bits of the TGID */
BPF_TABLE("lru_hash", u32, struct sld_group, groups, SLD_GROUPS);	/* by TGID */
#ifdef SLD_BY_VM
BPF_HASH(filtered, u32, u8, SLD_GROUPS);	/* TGIDs of VMs that --vm does not select */
#endif

/* The recorder maps these as memory. It does not use the bpf system call, because during one the kernel skips kprobe
 * and tracepoint programs on that CPU (bpf_disable_instrumentation), even for a vCPU thread that preempts it. */
BPF_F_TABLE("array", u32, u64, event_counts, SLD_CPUS * SLD_KINDS * SLD_CAUSES, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, controls, 6, BPF_F_MMAPABLE);	/* by enum sld_control */
BPF_F_TABLE("array", u32, struct sld_vcpu_bytes, vcpus, SLD_SLOTS + 1, BPF_F_MMAPABLE);	/* see vcpu_of */
BPF_F_TABLE("array", u32, u64, followed, SLD_SLOTS + 1, BPF_F_MMAPABLE);	/* not 0: the entry of `vcpus` is in use */
BPF_RINGBUF_OUTPUT(tasks, SLD_TASK_PAGES);
BPF_RINGBUF_OUTPUT(losses, SLD_LOST_PAGES);

static __always_inline void count_event(u32 kind, u32 cause)
{
	u32 slot = (bpf_get_smp_processor_id() * SLD_KINDS + kind) * SLD_CAUSES + cause;
	u64 *n = event_counts.lookup(&slot);

	/* Atomic: on a preemptible kernel another thread may count on this CPU at the same time. */
	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline void count_seen(u32 kind)
{
	count_event(kind, SLD_LOST_NONE);
}

/* No wake-up: it is an interrupt to this CPU, which is about to enter the guest, and can itself starve the guest. */
static __always_inline void submit(void *record)
{
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Records a loss, with its thread (id: TGID << 32 | TID); without room for that it is counted. */
static __always_inline void lose(u32 kind, u32 cause, u64 id)
{
	struct sld_lost *record = losses.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count_event(kind, cause);
		return;
	}
	record->ns = record->since_ns = bpf_ktime_get_ns();
	record->count = 1;
	record->cpu = bpf_get_smp_processor_id();
	record->kind = kind;
	record->cause = cause;
	record->tgid = id >> 32;
	record->tid = id;
	submit(record);
}

/* A value that the recorder sets. */
static __always_inline u64 control(u32 what)
{
	u64 *value = controls.lookup(&what);

	return value ? *value : 0;
}

/* Counts the event as lost if its ring had no room for the record. Returns the record. (A macro cannot do both: bcc
 * rewrites ringbuf_reserve where it is written in the source.) */
static __always_inline void *check_reserved(u32 kind, u64 id, void *record)
{
	if (!record)
		lose(kind, SLD_LOST_RING_FULL, id);
	return record;
}

/* Where the slot of a thread is stored. */
static __always_inline u16 *place_of(u32 tid)
{
	u32 block = tid / SLD_TID_BLOCK;
	struct sld_slots *p = (void *)slots.lookup(&block);

	return p ? &p->of[tid % SLD_TID_BLOCK] : 0;
}

static __always_inline u32 slot_of(u32 tid)
{
	u16 *place = place_of(tid);

	return place ? *place : SLD_NO_SLOT;
}

/* The counters of a slot. No slot has the number 0, and the other values are beyond the table. */
static __always_inline struct sld_vcpu *vcpu_at(u32 slot)
{
	struct sld_vcpu *v = (void *)vcpus.lookup(&slot);

	return v && v->since_ns ? v : 0;
}

static __always_inline struct sld_vcpu *vcpu_of(u32 tid)
{
	return vcpu_at(slot_of(tid));
}

/* The state of a thread that has trapped or has bus locks. */
static __always_inline struct sld_thread *thread_of(u32 tid)
{
	u32 slot = slot_of(tid);
	struct sld_thread *t = threads.lookup(&slot);

	return t && t->tid ? t : 0;
}

/* Do the filters of the command line select the current thread? */
static __always_inline bool is_selected(u64 id)
{
	u32 tgid = id >> 32, tid = id;

	if (!SLD_SELECTS_TGID(tgid) || !SLD_SELECTS_TID(tid))
		return false;
#ifdef SLD_CGROUP
	if (bpf_get_current_ancestor_cgroup_id(SLD_CGROUP_LEVEL) != SLD_CGROUP)
		return false;
#endif
#ifdef SLD_SELECTS_COMM
	u64 comm[2] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	if (!SLD_SELECTS_COMM(comm[0], comm[1]))
		return false;
#endif
#ifdef SLD_BY_VM
	if (filtered.lookup(&tgid))
		return false;
#endif
	return true;
}

#ifdef SLD_TASK_PID
/* TGID << 32 | TID of a task_struct, whose layout comes from the kernel's BTF (sldtrace/capture/bpf/sources.py). */
static __always_inline u64 id_of(u64 task)
{
	u64 id = 0;

	bpf_probe_read_kernel(&id, sizeof(id), (void *)(task + SLD_TASK_PID));	/* pid, then tgid */
	return id;
}
#endif

static __always_inline void penalty_begin(u32 tgid, u32 tid, u64 now)
{
	u32 slot = tgid & (SLD_PENALIZED - 1);
	struct penalized *p = penalized.lookup(&slot);

	if (p) {
		p->tgid = tgid;
		p->tid = tid;
		p->ns = now;
	}
}

static __always_inline void penalty_end(u32 tgid, u32 tid)
{
	u32 slot = tgid & (SLD_PENALIZED - 1);
	struct penalized *p = penalized.lookup(&slot);

	if (p && p->tid == tid)
		p->tid = 0;
}

/* The current thread's state if it is in a trap that is recorded. */
static __always_inline struct sld_thread *thread_in_trap(void)
{
	struct sld_thread *t = thread_of(bpf_get_current_pid_tgid());

	return t && t->trap.start_ns ? t : 0;
}

/* Did the thread trap within SLD_RECENT_NS? Then its signals and migrations are recorded. */
static __always_inline bool trapped_recently(struct sld_thread *t, u64 now)
{
	return now - t->last_ns < SLD_RECENT_NS;
}

/* The same of a process; also true if another process has taken its entry. */
static __always_inline bool process_trapped_recently(u32 tgid, u64 now)
{
	u32 slot = tgid & (SLD_PENALIZED - 1);
	struct penalized *p = penalized.lookup(&slot);

	return !p || p->tgid != tgid || now - p->ns < SLD_RECENT_NS;
}

/* Has vcpu.bpf.c check threads again whose exits it does not follow. */
static __always_inline void scope_changed(void)
{
	u32 what = SLD_CONTROL_SCOPE;
	u64 *scope = controls.lookup(&what);

	if (scope)
		__sync_fetch_and_add(scope, 1);
}

/* Writes the task record of the current thread. */
static __always_inline void emit_task(u64 id, u64 now)
{
	struct sld_task *task;

	count_seen(SLD_KIND_TASK);
	task = check_reserved(SLD_KIND_TASK, id, tasks.ringbuf_reserve(sizeof(*task)));
	if (!task)
		return;
	task->ns = now;
	task->tgid = id >> 32;
	task->tid = id;
	bpf_get_current_comm(task->comm, sizeof(task->comm));
	submit(task);
}

/* The slot of the current thread, which gets one if it has none. Returns 0 if none is free; then a record of that kind
 * is lost. In either case the thread's name is recorded once. */
static __always_inline u32 slot_claim(u64 id, u64 now, u32 kind)
{
	u16 *place = place_of(id);
	u32 slot, before;
	struct sld_thread *t;

	if (!place)
		return 0;
	before = *place;
	if (before != SLD_NO_SLOT && before < SLD_TABLE_FULL)
		return before;
	if (free_slots.pop(&slot))
		slot = SLD_TABLE_FULL;
	t = threads.lookup(&slot);
	if (t)
		__builtin_memset(t, 0, sizeof(*t));
	*place = slot;
	if (before != SLD_TABLE_FULL)
		emit_task(id, now);
	if (t)
		return slot;
	lose(kind, SLD_LOST_TABLE_FULL, id);
	return 0;
}

/* Makes the state of a thread at its first event of that kind. Returns 0 if no slot is free. */
static __always_inline struct sld_thread *thread_create(u64 id, u64 now, u32 kind)
{
	u32 tgid = id >> 32, slot = slot_claim(id, now, kind);
	struct sld_thread *t = threads.lookup(&slot);
	struct sld_group none = {};

	if (!slot || !t)
		return 0;
	t->trap.vcpu = -1;
	t->trap.tgid = tgid;
	t->tid = id;
	groups.insert(&tgid, &none);	/* fails for the second thread of a process: not an error */
	scope_changed();
	return t;
}
