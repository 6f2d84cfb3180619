/* SPDX-License-Identifier: GPL-2.0-only
 *
 * The one definition of every record. The probes fill these structures, the recorder writes them
 * as they are, and sldtrace.recording.schema reads this file to learn the layout; the tables of
 * docs/recording-format.md are made from it.
 *
 * The rules that keep it readable by both sides:
 *  - fields are naturally aligned and there is no padding that is not a field;
 *  - the size of a record is a multiple of 8;
 *  - the comment of a field is "unit: meaning"; every time is CLOCK_MONOTONIC nanoseconds.
 */

/* Kinds of record; the number stands in the header of a chunk and in struct sld_lost. */
enum sld_kind {
	SLD_KIND_TRAP = 1,		/* struct sld_trap */
	SLD_KIND_DETECTION = 2,		/* struct sld_detection */
	SLD_KIND_TASK = 3,		/* struct sld_task */
	SLD_KIND_LOST = 4,		/* struct sld_lost */
};

/* What a trap record says about itself: what happened, and what was being watched meanwhile. */
enum sld_trap_flags {
	SLD_TRAP_GUEST = 1,		/* a guest's split lock: handle_guest_split_lock ran */
	SLD_TRAP_WARNED = 2,		/* split_lock_warn ran (not so when the mode is fatal) */
	SLD_TRAP_SLEPT = 4,		/* msleep_interruptible ran */
	SLD_TRAP_WAITED = 8,		/* down_interruptible ran */
	SLD_TRAP_DETECTION_OFF = 16,	/* MSR_TEST_CTRL bit 29 was cleared in this run; the detection record says where */
	SLD_TRAP_HANDLED = 32,		/* handle_guest_split_lock returned true (always set for user space) */
	SLD_TRAP_EXITS_WATCHED = 64,	/* exits, guest_ns and vcpu cover all the time since the thread's last trap */
	SLD_TRAP_MSR_WATCHED = 128,	/* the absence of SLD_TRAP_DETECTION_OFF means that it stayed on */
	SLD_TRAP_SIGNAL_GROUP = 256,	/* the signal was sent to the process, not to the thread */
	SLD_TRAP_RETURN_MISSED = 512,	/* the return from the sleep or the wait was not seen: its result and time are not known */
};

/* One run of handle_guest_split_lock (guest), or of split_lock_warn outside it (user space). */
struct sld_trap {
	__u64 enter_ns;			/* ns: when the function was entered */
	__u64 exit_ns;			/* ns: when it returned */
	__u64 rip;			/* address: the instruction with the split lock, as the guest (or the program) numbers it */
	__u64 sleep_ns;			/* ns: time spent in msleep_interruptible */
	__u64 semaphore_ns;		/* ns: time spent in down_interruptible */
	__u64 guest_ns;			/* ns: time in guest mode since the thread's last trap */
	__u64 signal_ns;		/* ns: when the signal that ended the sleep or the wait was generated; 0: none seen */
	__u32 tgid;			/* id: process (the VMM) */
	__u32 tid;			/* id: thread (the vCPU) */
	__s32 vcpu;			/* index: vCPU id; -1: not known */
	__u32 flags;			/* bits: enum sld_trap_flags */
	__u32 enter_cpu;		/* index: CPU at entry */
	__u32 exit_cpu;			/* index: CPU at return */
	__u32 sleep_requested_ms;	/* ms: argument of msleep_interruptible */
	__u32 sleep_left_ms;		/* ms: result of msleep_interruptible; above 0 means that it returned early */
	__s32 semaphore_result;		/* errno: result of down_interruptible, 0 or -EINTR */
	__u32 exits;			/* count: VM exits since the thread's last trap, the one that led to this trap included */
	__s32 signal;			/* signo: the signal; 0: none seen */
	__s32 signal_code;		/* si_code: what made the signal (SI_TIMER, SI_TKILL, SI_KERNEL, ...) */
	__u32 signal_tgid;		/* id: process that sent it; 0: the kernel did, or a timer */
	__u32 signal_tid;		/* id: thread that sent it; 0: the kernel did, or a timer */
};

/* One write of MSR_TEST_CTRL (0x33): split-lock detection of a core switched off or on. */
struct sld_detection {
	__u64 ns;			/* ns: when it was written */
	__u64 value;			/* MSR: the value; bit 29 set means that detection is on */
	__u32 cpu;			/* index: CPU that wrote it */
	__u32 tid;			/* id: thread that wrote it */
};

/* A thread that trapped, when it did so for the first time in this recording. */
struct sld_task {
	__u64 ns;			/* ns: when it trapped */
	__u32 tgid;			/* id: process */
	__u32 tid;			/* id: thread */
	char comm[16];			/* bytes: name of the thread, NUL-terminated; may hold anything */
};

/* Why something is missing from the recording. */
enum sld_lost_cause {
	SLD_LOST_NOTHING = 0,		/* in the probes' tallies: events seen, lost or not; in no record */
	SLD_LOST_RING_FULL = 1,		/* no room in the ring buffer: the recorder was not read fast enough */
	SLD_LOST_TABLE_FULL = 2,	/* too many threads trap at once: no room to follow another one */
	SLD_LOST_UNFINISHED = 3,	/* the return of a run was never seen */
	SLD_LOST_SKIPPED = 4,		/* the kernel did not run the probe (bpf_prog_info.recursion_misses); cpu is not known */
};

/* Records lost since the previous record of the same CPU, kind and cause. */
struct sld_lost {
	__u64 ns;			/* ns: when the loss was read out */
	__u64 count;			/* count: records lost since the previous report */
	__u32 cpu;			/* index: CPU that lost them; 4294967295: not known */
	__u16 kind;			/* kind: enum sld_kind of what was lost */
	__u16 cause;			/* cause: enum sld_lost_cause */
};

/* Not in any file: what the probes and the recorder tell each other through maps. */

/* Size of the probes' tallies: a counter at index (cpu * SLD_KINDS + kind) * SLD_CAUSES + cause. */
enum sld_tallies {
	SLD_KINDS = 8,			/* above the largest enum sld_kind */
	SLD_CAUSES = 8,			/* above the largest enum sld_lost_cause */
};

/* Index into the map that the recorder writes. */
enum sld_control {
	SLD_CONTROL_OPEN = 0,		/* not 0: record the runs that begin from now on */
	SLD_CONTROL_EXITS = 1,		/* since when (ns) kvm_entry and kvm_exit are probed; 0: they are not */
	SLD_CONTROL_MSR = 2,		/* since when (ns) write_msr is probed; 0: it is not */
};
