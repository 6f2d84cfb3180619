// SPDX-License-Identifier: GPL-2.0-only
/* What is pending for a thread whose sleep, or wait for the semaphore, returned early.
 *
 * msleep_interruptible and down_interruptible return early if signal_pending() is true: a signal that the thread does
 * not block, or a request of ptrace, of the cgroup freezer, of a group stop, or task work, which make it true without a
 * signal. The layout of the structures comes from the kernel's BTF (sldtrace/capture/bpf/sources.py); without it nothing
 * is read. Each read is a call into the kernel, and costs the guest time in each early return: signal, blocked and pending
 * are near each other and are read together. The bits of task->jobctl are those of include/linux/sched/jobctl.h since 76f969e8948d (5.2).
 */

#ifdef SLD_TASK_BLOCKED

#define SLD_JOBCTL_STOP_PENDING (1UL << 17)
#define SLD_JOBCTL_TRAP_STOP (1UL << 19)
#define SLD_JOBCTL_TRAP_NOTIFY (1UL << 20)
#define SLD_JOBCTL_TRAP_FREEZE (1UL << 23)
#define SLD_WORD(member) (((member) - SLD_TASK_SIGNAL) / sizeof(u64))	/* of the words from task->signal on */
#define SLD_KLP_IDLE (-1)	/* KLP_TRANSITION_IDLE, KLP_UNDEFINED before 6.14: include/linux/livepatch.h */

static __always_inline u64 read_word(u64 base, u32 place)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + place));
	return value;
}

static __always_inline u64 bit_of(s32 signal)
{
	return signal > 0 ? 1UL << ((signal - 1) & 63) : 0;
}

/* Does the task block the signal? */
static __always_inline bool is_blocked(u64 task, s32 signal)
{
	return read_word(task, SLD_TASK_BLOCKED) & bit_of(signal);
}

/* Of the current thread. Sets flags of its trap, and the signals of which one may have ended the sleep. */
static __always_inline void read_pending(struct sld_thread *t)
{
	u64 task = bpf_get_current_task(), words[SLD_WORD(SLD_TASK_PENDING) + 1] = {}, jobctl;
	u32 flags = SLD_TRAP_PENDING_READ;
	s32 patch = SLD_KLP_IDLE;

	bpf_probe_read_kernel(words, sizeof(words), (void *)(task + SLD_TASK_SIGNAL));
	t->pending = words[SLD_WORD(SLD_TASK_PENDING)] | read_word(words[0], SLD_TASK_SHARED_PENDING);
	t->pending &= ~words[SLD_WORD(SLD_TASK_BLOCKED)];
	if (t->pending)
		flags |= SLD_TRAP_SIGNAL_PENDING;
	jobctl = read_word(task, SLD_TASK_JOBCTL);
	if (jobctl & SLD_JOBCTL_STOP_PENDING)
		flags |= SLD_TRAP_GROUP_STOP;
	if (jobctl & (SLD_JOBCTL_TRAP_STOP | SLD_JOBCTL_TRAP_NOTIFY))
		flags |= SLD_TRAP_PTRACE;
	if (jobctl & SLD_JOBCTL_TRAP_FREEZE)
		flags |= SLD_TRAP_FREEZER;
	if (read_word(task, SLD_TASK_TASK_WORKS))
		flags |= SLD_TRAP_TASK_WORK;
#ifdef SLD_TASK_PATCH_STATE
	bpf_probe_read_kernel(&patch, sizeof(patch), (void *)(task + SLD_TASK_PATCH_STATE));
#endif
	if (patch != SLD_KLP_IDLE)
		flags |= SLD_TRAP_LIVEPATCH;
	t->trap.flags |= flags;
}

/* May this signal have ended the sleep? One that was blocked, or that another thread has taken, has not. */
static __always_inline bool may_have_ended(struct sld_thread *t, s32 signal)
{
	return !(t->trap.flags & SLD_TRAP_PENDING_READ) || t->pending & bit_of(signal);
}

#else

static __always_inline void read_pending(struct sld_thread *t)
{
}

static __always_inline bool may_have_ended(struct sld_thread *t, s32 signal)
{
	return true;
}

#endif
