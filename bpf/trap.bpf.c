// SPDX-License-Identifier: GPL-2.0-only
/* Assembles one record for each trap.
 *
 * A trap starts at the entry of split_lock_warn and ends at the return of its caller, handle_guest_split_lock or
 * handle_user_split_lock. Each hook costs about 200 instructions in each trap. So the entries of the callers and the
 * return of split_lock_warn are not hooked: they would add nothing.
 *
 * Each function is hooked by fentry/fexit (KFUNC), or by kprobe/kretprobe where the recorder defines
 * SLD_KPROBE_function. The hooks read arguments and results; what is pending after an early return: pending.bpf.c.
 */

#include <uapi/linux/ptrace.h>

BPF_RINGBUF_OUTPUT(traps, SLD_TRAP_PAGES);

/* The trap has ended: clears its fields, except for the ids of the thread. */
static __always_inline void reset_trap(struct sld_thread *t)
{
	s32 vcpu = t->trap.vcpu;
	u32 tgid = t->trap.tgid;

	__builtin_memset(&t->trap, 0, sizeof(t->trap));
	t->trap.vcpu = vcpu;
	t->trap.tgid = tgid;
	t->phase_ns = 0;
	t->pending = 0;
}

static __always_inline void trap_begin(u64 rip, u32 flags)
{
	u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), exits;
	u32 tid = id, tgid = id >> 32;
	struct sld_thread *t;
	struct sld_vcpu *v;

	/* SLD_CONTROL_OPEN: while the probes are attached one by one, the one at the end may still be missing. */
	if (!control(SLD_CONTROL_OPEN) || !SLD_SELECTS_RIP(rip) || !is_selected(id))
		return;
	t = thread_of(tid);
	if (t && t->trap.start_ns && flags & ~t->trap.flags & SLD_TRAP_WARNED) {
		/* guest_enter has started this trap. */
		t->trap.flags |= SLD_TRAP_WARNED;
		return;
	}
	count_seen(SLD_KIND_TRAP);
	if (!t) {
		/* With guest_enter each trap comes here twice: this counts too many losses, not too few. */
		t = thread_create(id, now, SLD_KIND_TRAP);
		if (!t)
			return;
	}
	if (t->trap.start_ns) {
		lose(SLD_KIND_TRAP, SLD_LOST_UNFINISHED, id);
		reset_trap(t);
		t->idle_ns = 0;
	}
	if (control(SLD_CONTROL_MSR))
		flags |= SLD_TRAP_MSR_WATCHED;
	exits = control(SLD_CONTROL_EXITS);
	if (exits && t->idle_ns && exits <= t->idle_ns)
		flags |= SLD_TRAP_EXITS_WATCHED;
	t->last_ns = now;
	v = vcpu_of(tid);
	if (v) {
		t->trap.vcpu = v->vcpu;
		t->trap.exits = v->exits - t->exits;
		t->trap.guest_ns = v->guest_ns - t->guest_ns;
		t->exits = v->exits;
		t->guest_ns = v->guest_ns;
		v->recent_until_ns = now + SLD_RECENT_NS;
	}
	/* A signal from before the last VM entry is not pending: it would have prevented that entry. */
	t->since_ns = v && v->entry_ns ? v->entry_ns : now;
	penalty_begin(tgid, tid, now);
	t->trap.start_ns = now;
	t->trap.rip = rip;
	t->trap.flags = flags;
	t->trap.tgid = tgid;
	t->trap.tid = tid;
	t->trap.start_cpu = bpf_get_smp_processor_id();
}

/* Stores the newest signal as the one that ended the sleep, if it is pending: an earlier one would have ended the sleep
 * itself. A signal to the process may have woken another of its threads, so one to this thread comes first. */
static __always_inline void attribute_signal(struct sld_thread *t)
{
	u32 tgid = t->trap.tgid;
	struct last_signal *s = &t->signal;
	struct sld_group *group;

	if (s->ns < t->since_ns || !may_have_ended(t, s->number)) {
		group = groups.lookup(&tgid);
		if (!group || group->signal.ns < t->since_ns || !may_have_ended(t, group->signal.number))
			return;
		s = &group->signal;
		t->trap.flags |= SLD_TRAP_SIGNAL_GROUP;
	}
	t->trap.signal_ns = s->ns;
	t->trap.signal = s->number;
	t->trap.signal_code = s->code;
	t->trap.sender_tgid = s->sender >> 32;
	t->trap.sender_tid = s->sender;
}

static __always_inline void trap_end(struct sld_thread *t, bool handled)
{
	struct sld_trap *record;

	penalty_end(t->trap.tgid, t->trap.tid);
	t->trap.end_ns = bpf_ktime_get_ns();
	t->trap.end_cpu = bpf_get_smp_processor_id();
	if (handled)
		t->trap.flags |= SLD_TRAP_HANDLED;
	if (t->phase_ns)
		t->trap.flags |= SLD_TRAP_RETURN_MISSED;
	/* signal_generate comes after the wake-up: this thread may have run on another CPU before it. */
	if ((t->trap.sleep_left_ms || t->trap.semaphore_result) && !t->trap.signal_ns)
		attribute_signal(t);
	t->idle_ns = t->trap.end_ns;
	record = check_reserved(SLD_KIND_TRAP, (u64)t->trap.tgid << 32 | t->trap.tid, traps.ringbuf_reserve(sizeof(*record)));
	if (record) {
		__builtin_memcpy(record, &t->trap, sizeof(*record));
		submit(record);
	}
	reset_trap(t);
}

/* Attached only where not every trap calls a split_lock_warn that can be hooked: inlined, or the mode may be fatal. */
static __always_inline int guest_enter(u64 rip)
{
	trap_begin(rip, SLD_TRAP_GUEST);
	return 0;
}

static __always_inline int guest_return(bool handled)
{
	struct sld_thread *t = thread_in_trap();

	if (t) {
		t->trap.flags |= SLD_TRAP_GUEST;
		trap_end(t, handled);
	}
	return 0;
}

static __always_inline int warn_enter(u64 rip)
{
	trap_begin(rip, SLD_TRAP_WARNED);
	return 0;
}

static __always_inline int user_return(bool handled)
{
	struct sld_thread *t = thread_in_trap();

	if (t)
		trap_end(t, handled);
	return 0;
}

static __always_inline int sleep_enter(u32 ms)
{
	struct sld_thread *t = thread_in_trap();

	if (!t)
		return 0;
	t->trap.flags |= SLD_TRAP_SLEPT;
	t->trap.sleep_requested_ms = ms;
	t->phase_ns = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int sleep_return(u64 left_ms)
{
	struct sld_thread *t = thread_in_trap();

	if (!t || !t->phase_ns)
		return 0;
	t->trap.sleep_ns = bpf_ktime_get_ns() - t->phase_ns;
	t->trap.sleep_left_ms = left_ms;
	t->phase_ns = 0;
	if (left_ms) {
		read_pending(t);
		attribute_signal(t);
	}
	return 0;
}

static __always_inline int semaphore_enter(void)
{
	struct sld_thread *t = thread_in_trap();

	if (!t)
		return 0;
	t->trap.flags |= SLD_TRAP_SEMAPHORE;
	t->phase_ns = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int semaphore_return(s32 result)
{
	struct sld_thread *t = thread_in_trap();

	if (!t || !t->phase_ns)
		return 0;
	t->trap.semaphore_ns = bpf_ktime_get_ns() - t->phase_ns;
	t->trap.semaphore_result = result;
	t->phase_ns = 0;
	if (result) {
		read_pending(t);
		attribute_signal(t);
	}
	return 0;
}

#ifndef SLD_KPROBE_handle_guest_split_lock
KFUNC_PROBE(handle_guest_split_lock, unsigned long ip) { return guest_enter(ip); }
KRETFUNC_PROBE(handle_guest_split_lock, unsigned long ip, unsigned long ret) { return guest_return((u8)ret); }
#else
int kprobe__handle_guest_split_lock(struct pt_regs *ctx) { return guest_enter(PT_REGS_PARM1(ctx)); }
int kretprobe__handle_guest_split_lock(struct pt_regs *ctx) { return guest_return((u8)PT_REGS_RC(ctx)); }
#endif

/* Its return is not hooked: the return of its caller is enough, and each hook costs the guest time in each trap. */
#ifndef SLD_KPROBE_split_lock_warn
KFUNC_PROBE(split_lock_warn, unsigned long ip) { return warn_enter(ip); }
#else
int kprobe__split_lock_warn(struct pt_regs *ctx) { return warn_enter(PT_REGS_PARM1(ctx)); }
#endif

/* The caller for user space; in the mode fatal it returns false and there is no trap. */
#ifndef SLD_KPROBE_handle_user_split_lock
KRETFUNC_PROBE(handle_user_split_lock, void *regs, long error_code, unsigned long ret)
{
	return user_return((u8)ret);
}
#else
int kretprobe__handle_user_split_lock(struct pt_regs *ctx) { return user_return((u8)PT_REGS_RC(ctx)); }
#endif

#ifndef SLD_KPROBE_msleep_interruptible
KFUNC_PROBE(msleep_interruptible, unsigned int ms) { return sleep_enter(ms); }
KRETFUNC_PROBE(msleep_interruptible, unsigned int ms, unsigned long ret) { return sleep_return(ret); }
#else
int kprobe__msleep_interruptible(struct pt_regs *ctx) { return sleep_enter(PT_REGS_PARM1(ctx)); }
int kretprobe__msleep_interruptible(struct pt_regs *ctx) { return sleep_return(PT_REGS_RC(ctx)); }
#endif

#ifndef SLD_KPROBE_down_interruptible
KFUNC_PROBE(down_interruptible, void *sem) { return semaphore_enter(); }
KRETFUNC_PROBE(down_interruptible, void *sem, int ret) { return semaphore_return(ret); }
#else
int kprobe__down_interruptible(struct pt_regs *ctx) { return semaphore_enter(); }
int kretprobe__down_interruptible(struct pt_regs *ctx) { return semaphore_return((s32)PT_REGS_RC(ctx)); }
#endif
