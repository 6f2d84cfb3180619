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

/* Kinds of record; the number is in the header of a chunk and in struct sld_lost. */
enum sld_kind {
	SLD_KIND_TRAP = 1,		/* struct sld_trap */
	SLD_KIND_DETECTION = 2,		/* struct sld_detection */
	SLD_KIND_TASK = 3,		/* struct sld_task */
	SLD_KIND_LOST = 4,		/* struct sld_lost */
	SLD_KIND_EXIT = 5,		/* struct sld_exit */
	SLD_KIND_COUNTS = 6,		/* struct sld_counts */
	SLD_KIND_USER_EXIT = 7,		/* struct sld_user_exit */
	SLD_KIND_SIGNAL = 8,		/* struct sld_signal */
	SLD_KIND_MIGRATE = 9,		/* struct sld_migrate */
	SLD_KIND_STALL = 10,		/* struct sld_stall */
	SLD_KIND_DETAIL = 11,		/* struct sld_detail */
	SLD_KIND_SCHEDSTAT = 12,	/* struct sld_schedstat */
	SLD_KIND_BUS_LOCK = 13,		/* struct sld_bus_lock */
};

/* Flags of a trap: what happened in it, and which probes were attached. */
enum sld_trap_flags {
	SLD_TRAP_GUEST = 1,		/* a guest's split lock: handle_guest_split_lock ran */
	SLD_TRAP_WARNED = 2,		/* split_lock_warn ran (in the mode fatal it does not) */
	SLD_TRAP_SLEPT = 4,		/* msleep_interruptible ran */
	SLD_TRAP_SEMAPHORE = 8,		/* down_interruptible ran */
	SLD_TRAP_MSR_CLEARED = 16,	/* MSR_TEST_CTRL bit 29 was cleared during this trap; the detection record has the CPU */
	SLD_TRAP_HANDLED = 32,		/* handle_guest_split_lock returned true (always set for user space) */
	SLD_TRAP_EXITS_WATCHED = 64,	/* exits, guest_ns and vcpu cover all the time since the thread's last trap */
	SLD_TRAP_MSR_WATCHED = 128,	/* writes of MSR_TEST_CTRL were recorded: without SLD_TRAP_MSR_CLEARED detection stayed on */
	SLD_TRAP_SIGNAL_GROUP = 256,	/* the signal was sent to the process, not to the thread */
	SLD_TRAP_RETURN_MISSED = 512,	/* the return from the sleep or the wait was not seen: its result and duration are not known */
	SLD_TRAP_PENDING_READ = 1024,	/* early return: what was pending for the thread was read, the following flags */
	SLD_TRAP_SIGNAL_PENDING = 2048,	/* a signal that the thread does not block */
	SLD_TRAP_PTRACE = 4096,		/* a stop that a tracer asked for (PTRACE_INTERRUPT): JOBCTL_TRAP_STOP, JOBCTL_TRAP_NOTIFY */
	SLD_TRAP_FREEZER = 8192,	/* the freezer of cgroup v2: JOBCTL_TRAP_FREEZE */
	SLD_TRAP_GROUP_STOP = 16384,	/* a stop of the whole process (SIGSTOP): JOBCTL_STOP_PENDING */
	SLD_TRAP_TASK_WORK = 32768,	/* task work, of io_uring for example */
	SLD_TRAP_LIVEPATCH = 65536,	/* a live patch was being applied or removed */
};

/* One trap: from the entry of split_lock_warn to the return of its caller, which is handle_guest_split_lock or, for a
 * program on the host, handle_user_split_lock. In the mode fatal, a run of handle_guest_split_lock. */
struct sld_trap {
	__u64 start_ns;			/* ns: when the trap started */
	__u64 end_ns;			/* ns: when it ended */
	__u64 rip;			/* address: the instruction with the split lock, in the address space of the guest (or the program) */
	__u64 sleep_ns;			/* ns: time spent in msleep_interruptible */
	__u64 semaphore_ns;		/* ns: time spent in down_interruptible */
	__u64 guest_ns;			/* ns: time in guest mode since the thread's last trap */
	__u64 signal_ns;		/* ns: when the signal that ended the sleep or the wait was generated; 0: none seen */
	__u32 tgid;			/* id: process (the VMM) */
	__u32 tid;			/* id: thread (the vCPU) */
	__s32 vcpu;			/* index: vCPU id; -1: not known */
	__u32 flags;			/* bits: enum sld_trap_flags */
	__u32 start_cpu;		/* index: CPU at the start */
	__u32 end_cpu;			/* index: CPU at the end */
	__u32 sleep_requested_ms;	/* ms: argument of msleep_interruptible */
	__u32 sleep_left_ms;		/* ms: result of msleep_interruptible; above 0 means that it returned early */
	__s32 semaphore_result;		/* errno: result of down_interruptible, 0 or -EINTR */
	__u32 exits;			/* count: VM exits since the thread's last trap, including the one that led to this trap */
	__s32 signal;			/* signo: the signal; 0: none seen */
	__s32 signal_code;		/* si_code: how the signal was generated (SI_TIMER, SI_TKILL, SI_KERNEL, ...) */
	__u32 sender_tgid;		/* id: process that sent it; 0: the kernel did, or a timer */
	__u32 sender_tid;		/* id: thread that sent it; 0: the kernel did, or a timer */
};

/* One write of MSR_TEST_CTRL (0x33): split-lock detection of a core switched off or on. */
struct sld_detection {
	__u64 ns;			/* ns: when it was written */
	__u64 value;			/* MSR: the value; bit 29 set means that detection is on */
	__u32 cpu;			/* index: CPU that wrote it */
	__u32 tid;			/* id: thread that wrote it */
};

/* A thread that traps, has bus locks, or whose VM exits are followed, or that cannot be followed, because there is no room for more threads. */
struct sld_task {
	__u64 ns;			/* ns: first trap, bus lock, or VM exit that was followed, whichever came first */
	__u32 tgid;			/* id: process */
	__u32 tid;			/* id: thread */
	char comm[16];			/* bytes: name of the thread, NUL-terminated; otherwise arbitrary bytes */
};

/* The extension that the exit reason belongs to (arch/x86/include/asm/kvm.h: KVM_ISA_VMX, KVM_ISA_SVM). */
enum sld_isa {
	SLD_ISA_VMX = 1,		/* Intel: exit reasons of the SDM, volume 3, appendix C */
	SLD_ISA_SVM = 2,		/* AMD: exit codes of the APM, volume 2, appendix C */
};

/* What happened between a VM exit and the next entry. */
enum sld_exit_flags {
	SLD_EXIT_USER = 1,		/* KVM_RUN returned to the VMM before the next entry; host_ns includes the VMM's time */
	SLD_EXIT_NO_ENTRY = 2,		/* no entry was seen before the next exit, or before the thread's end: host_ns is 0 */
};

/* One VM exit with the entry that follows it, of a thread that trapped recently or of all (record --exits). */
struct sld_exit {
	__u64 ns;			/* ns: when the guest exited */
	__u64 guest_ns;			/* ns: time in guest mode before the exit; 0: not known */
	__u64 host_ns;			/* ns: time until the next VM entry */
	__u64 rip;			/* address: instruction pointer of the guest */
	__u64 info1;			/* bits: exit qualification (Intel) or EXITINFO1 (AMD) */
	__u32 reason;			/* reason: exit reason (Intel: the basic one, 16 bits; bit 26: the guest had a bus lock before this exit) or exit code (AMD), see isa */
	__u32 intr_info;		/* bits: interruption information; the low byte is the vector of an exception */
	__u32 tgid;			/* id: process (the VMM) */
	__u32 tid;			/* id: thread (the vCPU) */
	__s32 vcpu;			/* index: vCPU id */
	__u32 exit_cpu;			/* index: CPU at the exit */
	__u32 entry_cpu;		/* index: CPU at the next entry */
	__u16 isa;			/* isa: enum sld_isa */
	__u16 flags;			/* bits: enum sld_exit_flags */
};

/* VM exits of one thread for one reason, counted since the previous record of the same thread and reason. */
struct sld_counts {
	__u64 ns;			/* ns: when the counters were read */
	__u64 since_ns;			/* ns: when they were read before */
	__u64 count;			/* count: VM exits */
	__u64 guest_ns;			/* ns: time in guest mode before these exits, where known */
	__u64 host_ns;			/* ns: time from these exits to the entries that followed */
	__u32 tgid;			/* id: process (the VMM) */
	__u32 tid;			/* id: thread (the vCPU) */
	__s32 vcpu;			/* index: vCPU id */
	__u32 reason;			/* reason: as in the exit record; 4294967295: all reasons without a counter of their own */
	__s32 vector;			/* vector: of the exception, for an exit by one; -1: not known */
	__u32 isa;			/* isa: enum sld_isa */
	__u32 host_log2[32];		/* count: entry n: exits with a host time of 2^n to 2^(n+1) ns; the last one: and more */
};

/* KVM_RUN returned to the VMM (tracepoint kvm:kvm_userspace_exit), of a thread whose exits are recorded. */
struct sld_user_exit {
	__u64 ns;			/* ns: when */
	__u32 tgid;			/* id: process (the VMM) */
	__u32 tid;			/* id: thread (the vCPU) */
	__s32 vcpu;			/* index: vCPU id */
	__u32 cpu;			/* index: CPU */
	__u32 reason;			/* reason: KVM_EXIT_... of include/uapi/linux/kvm.h */
	__s32 error;			/* errno: 0 or what the ioctl returned, for example -EINTR */
};

/* What is known about a signal. */
enum sld_signal_flags {
	SLD_SIGNAL_BLOCKED = 1,		/* sent to a thread, which blocked it then: it ended no sleep */
};

/* A signal that became pending for a thread that trapped recently, or for its process. */
struct sld_signal {
	__u64 ns;			/* ns: when it was generated */
	__u32 tgid;			/* id: process that receives it */
	__u32 tid;			/* id: thread that receives it; 0: the process as a whole */
	__s32 signal;			/* signo: the signal */
	__s32 signal_code;		/* si_code: how it was generated (SI_TIMER, SI_TKILL, SI_KERNEL, ...) */
	__u32 sender_tgid;		/* id: process that sent it; 0: the kernel did, or a timer */
	__u32 sender_tid;		/* id: thread that sent it; 0: the kernel did, or a timer */
	__u32 cpu;			/* index: CPU on which it was generated */
	__u16 result;			/* result: 0: delivered, 4: delivered without its siginfo (include/trace/events/signal.h) */
	__u16 flags;			/* bits: enum sld_signal_flags */
};

/* The scheduler moved a thread that trapped recently to another CPU. */
struct sld_migrate {
	__u64 ns;			/* ns: when */
	__u32 tgid;			/* id: process */
	__u32 tid;			/* id: thread */
	__u32 from_cpu;			/* index: CPU before */
	__u32 to_cpu;			/* index: CPU after */
	__u32 by_tgid;			/* id: process that was running then, which may have moved it */
	__u32 by_tid;			/* id: thread that was running then */
};

/* What a thread of a VMM waited for inside KVM. */
enum sld_stall_kind {
	SLD_STALL_SRCU = 1,		/* synchronize_srcu: until all readers of kvm->srcu, sleeping vCPUs included, are done */
	SLD_STALL_MUTEX = 2,		/* a contended mutex, vcpu->mutex if the caller is kvm_vcpu_ioctl */
};

/* A thread of a VMM with a vCPU that traps waited inside KVM for a lock. A penalized vCPU may have held it. */
struct sld_stall {
	__u64 ns;			/* ns: when the wait began */
	__u64 end_ns;			/* ns: when it ended */
	__u32 tgid;			/* id: process (the VMM) */
	__u32 tid;			/* id: thread that waited */
	__u32 what;			/* kind: enum sld_stall_kind */
	__u32 lock;			/* hash: of the lock's address; the same for the same lock */
	__u32 caller;			/* offset: of the return address in the module kvm; the fact kvm.functions names it */
	__s32 result;			/* errno: 0, or -EINTR when a signal ended the wait */
	__u32 penalized_tid;		/* id: thread of the process that was penalized when the wait began or ended, the newest of several; 0: none */
	__u32 cpu;			/* index: CPU at the end */
};

/* How long a thread that trapped ran and waited for a CPU (/proc/PID/task/TID/schedstat), read about once a second. The
 * first record of a thread begins within 200 ms of its first trap. */
struct sld_schedstat {
	__u64 ns;			/* ns: end of the interval */
	__u64 since_ns;			/* ns: its start */
	__u64 run_ns;			/* ns: time on a CPU, in guest mode too */
	__u64 run_delay_ns;		/* ns: time in which it was runnable and waited for a CPU */
	__u64 throttled_ns;		/* ns: time in which a quota throttled its cgroup or one above (cpu.stat of cgroup v2); 0: none, or not known */
	__u32 tgid;			/* id: process */
	__u32 tid;			/* id: thread */
};

/* Bus locks of one thread at one address that raised #DB (handle_bus_lock), counted since the previous record of the same
 * thread and address. Only programs on the host have them: the kernel does not detect those of guests so. */
struct sld_bus_lock {
	__u64 ns;			/* ns: when the counters were read */
	__u64 since_ns;			/* ns: when they were read before */
	__u64 count;			/* count: bus locks */
	__u64 handler_ns;		/* ns: time in handle_bus_lock; in the mode ratelimit:N nearly all of it is the sleep */
	__u64 rip;			/* address: the instruction after the one with the bus lock; 0: all addresses without a counter of their own */
	__u32 tgid;			/* id: process */
	__u32 tid;			/* id: thread */
};

/* Levels of detail; each includes those below. */
enum sld_level {
	SLD_LEVEL_TRAPS = 0,		/* traps, their signals and names: nothing that fires on every VM exit is attached */
	SLD_LEVEL_COUNTS = 1,		/* and counts of VM exits, detection, migrations, stalls */
	SLD_LEVEL_EXITS = 2,		/* and a record for each VM exit, and each return to the VMM */
};

/* Why the level changed. */
enum sld_reason {
	SLD_REASON_START = 0,		/* the recording starts at this level */
	SLD_REASON_TRAP = 1,		/* a thread trapped */
	SLD_REASON_IDLE = 2,		/* no thread has trapped for a while */
	SLD_REASON_EVENTS = 3,		/* more records a second than --max-events-per-second */
	SLD_REASON_CPU = 4,		/* more CPU time than --max-cpu-percent */
	SLD_REASON_RECOVERED = 5,	/* well below both limits again */
};

/* The recorder changed the level of detail. */
struct sld_detail {
	__u64 ns;			/* ns: when */
	__u64 measured;			/* amount: the value that caused it: records a second (events), CPU in 1/1000 % (cpu), ns without a trap (idle) */
	__u64 limit;			/* amount: the limit for that value */
	__u32 level;			/* level: the new level; enum sld_level */
	__u32 previous;			/* level: the level before */
	__u32 reason;			/* reason: enum sld_reason */
	__u32 probes;			/* count: probes attached afterwards */
};

/* Why a record is missing. */
enum sld_lost_cause {
	SLD_LOST_NONE = 0,		/* not lost: index of the events seen in the probes' counters; in no record */
	SLD_LOST_RING_FULL = 1,		/* no room in the ring buffer: the recorder did not read fast enough */
	SLD_LOST_TABLE_FULL = 2,	/* the thread could not be followed: there was no room for more threads */
	SLD_LOST_UNFINISHED = 3,	/* the end of a trap, or of a wait, was not seen */
	SLD_LOST_SKIPPED = 4,		/* the kernel did not run the probe (bpf_prog_info.recursion_misses); the CPU is not known */
};

/* Records that were lost between two times on one CPU, of one kind, cause and thread. */
struct sld_lost {
	__u64 ns;			/* ns: when the last of them was lost, or the latest time at which it can have been */
	__u64 since_ns;			/* ns: the same of the first of them; 0: not known */
	__u64 count;			/* count: records */
	__u32 cpu;			/* index: CPU on which they were lost; 4294967295: not known */
	__u16 kind;			/* kind: enum sld_kind of what was lost */
	__u16 cause;			/* cause: enum sld_lost_cause */
	__u32 tgid;			/* id: process that they are about; 0: not known */
	__u32 tid;			/* id: thread that they are about; 0: not known, or the process as a whole */
};

/* Not in any file: maps that the probes and the recorder share. */

/* Size of the map event_counts: a counter at index (cpu * SLD_KINDS + kind) * SLD_CAUSES + cause. */
enum sld_event_counts {
	SLD_KINDS = 16,			/* above the largest enum sld_kind */
	SLD_CAUSES = 8,			/* above the largest enum sld_lost_cause */
};

/* Index into the map controls, which the recorder writes. */
enum sld_control {
	SLD_CONTROL_OPEN = 0,		/* not 0: record traps that start from now on */
	SLD_CONTROL_EXITS = 1,		/* since when (ns) kvm_entry and kvm_exit are probed; 0: they are not */
	SLD_CONTROL_MSR = 2,		/* since when (ns) write_msr is probed; 0: it is not */
	SLD_CONTROL_LEVEL = 3,		/* enum sld_level */
	SLD_CONTROL_SCOPE = 4,		/* rises when threads whose exits are not followed have to be checked again */
	SLD_CONTROL_LOCKS = 5,		/* since when (ns) waits inside KVM are recorded; 0: they are not */
};

/* The counters of each thread whose exits are followed: a cell for each reason. Powers of two. */
enum sld_counters {
	SLD_CELLS = 32,			/* reasons of one thread; the last cell takes all further ones */
	SLD_LOG2S = 32,			/* entries of host_log2 */
};

/* The counters of bus locks. */
enum sld_bus_locks {
	SLD_BUS_LOCKS = 4096,		/* counters: one for each thread and address */
	SLD_BUS_ADDRESSES = 16,		/* addresses of one thread; the first counter takes all further ones */
};
