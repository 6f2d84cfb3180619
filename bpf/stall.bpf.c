// SPDX-License-Identifier: GPL-2.0-only
/* Records who waits inside KVM in a VM of which a vCPU traps, and who was being punished then, from the first
 * trap on. The waits while nobody is punished show what is usual.
 *
 * A vCPU sleeps its penalty inside KVM_RUN: it holds vcpu->mutex, and is a reader of kvm->srcu. The probes
 * know that a wait is KVM's by the stack: SLD_KVM_BEGIN and SLD_KVM_END are the bounds of the module's text.
 */

struct sld_wait {
	u64 ns;
	u64 lock;
	u32 what;
	u32 by;		/* the function that waits, below; 0: of a mutex */
	u32 caller;
	u32 punished;
};

/* synchronize_srcu waits by synchronize_srcu_expedited. */
#define SLD_BY_SRCU 1
#define SLD_BY_EXPEDITED 2

BPF_HASH(waits, u32, struct sld_wait, 4096);
BPF_RINGBUF_OUTPUT(stalls, SLD_STALL_PAGES);

#define SLD_FRAMES 8

static __always_inline u32 punished_of(u32 tgid)
{
	u32 slot = tgid & (SLD_THREADS - 1);
	struct punished *p = punished.lookup(&slot);

	return p && p->tgid == tgid ? p->tid : 0;
}

/* Is what begins now a part of the wait under way? That may not be: its end was missed (a kretprobe can be), or it began
 * before the probes were taken off. A mutex that is begun again means sleep after spinning (kernel/locking/mutex.c). */
static __always_inline bool part_of(struct sld_wait *outer, u64 lock, u32 by)
{
	if (outer->ns < told(SLD_CONTROL_LOCKS))
		return false;
	if (outer->what == SLD_STALL_SRCU)
		return !by || (outer->by == SLD_BY_SRCU && by == SLD_BY_EXPEDITED);
	return !by && outer->lock == lock;
}

static __always_inline int stall_begin(void *ctx, u64 lock, u32 what, u32 by)
{
	u64 id = bpf_get_current_pid_tgid(), frames[SLD_FRAMES] = {};
	u32 tgid = id >> 32, tid = id;
	struct sld_wait wait = {.lock = lock, .what = what, .by = by};
	struct sld_group *group = groups.lookup(&tgid);
	struct sld_wait *outer;

	if (!group || !told(SLD_CONTROL_OPEN) || !told(SLD_CONTROL_LOCKS))
		return 0;
	outer = waits.lookup(&tid);
	if (outer && part_of(outer, lock, by))
		return 0;
	bpf_get_stack(ctx, frames, sizeof(frames), 0);
	for (int i = 0; i < SLD_FRAMES; i++)
		if (!wait.caller && frames[i] > SLD_KVM_BEGIN && frames[i] < SLD_KVM_END)
			wait.caller = frames[i] - SLD_KVM_BEGIN;
	if (!wait.caller)
		return 0;
	if (outer && outer->ns >= told(SLD_CONTROL_LOCKS)) {
		tally(SLD_KIND_STALL, SLD_LOST_NONE);
		tally(SLD_KIND_STALL, SLD_LOST_UNFINISHED);
	}
	wait.punished = punished_of(tgid);
	wait.ns = bpf_ktime_get_ns();
	waits.update(&tid, &wait);
	return 0;
}

static __always_inline int stall_end(u64 lock, u32 by, s32 result)
{
	u64 id = bpf_get_current_pid_tgid(), since = told(SLD_CONTROL_LOCKS);
	u32 tgid = id >> 32, tid = id;
	struct sld_wait *wait = waits.lookup(&tid);
	struct sld_stall *record;

	if (!wait || wait->by != by || (!by && wait->lock != lock))
		return 0;
	if (!told(SLD_CONTROL_OPEN) || !since || wait->ns < since)
		goto out;
	if (!wait->punished)
		wait->punished = punished_of(tgid);
	tally(SLD_KIND_STALL, SLD_LOST_NONE);
	record = stalls.ringbuf_reserve(sizeof(*record));
	if (!record) {
		tally(SLD_KIND_STALL, SLD_LOST_RING_FULL);
		goto out;
	}
	record->ns = wait->ns;
	record->end_ns = bpf_ktime_get_ns();
	record->tgid = tgid;
	record->tid = tid;
	record->what = wait->what;
	record->lock = wait->lock * 0x9e3779b97f4a7c15ULL >> 32;
	record->caller = wait->caller;
	record->result = result;
	record->penalized_tid = wait->punished;
	record->cpu = bpf_get_smp_processor_id();
	stalls.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
out:
	waits.delete(&tid);
	return 0;
}

/* Called seldom: kprobes do, and save two programs that the kernel's whole BTF would have to be read for. */
int kprobe__synchronize_srcu(struct pt_regs *ctx)
{
	return stall_begin(ctx, PT_REGS_PARM1(ctx), SLD_STALL_SRCU, SLD_BY_SRCU);
}
int kretprobe__synchronize_srcu(struct pt_regs *ctx) { return stall_end(0, SLD_BY_SRCU, 0); }
int kprobe__synchronize_srcu_expedited(struct pt_regs *ctx)
{
	return stall_begin(ctx, PT_REGS_PARM1(ctx), SLD_STALL_SRCU, SLD_BY_EXPEDITED);
}
int kretprobe__synchronize_srcu_expedited(struct pt_regs *ctx) { return stall_end(0, SLD_BY_EXPEDITED, 0); }

/* The slow path of mutexes, rwsems, ... (include/trace/events/lock.h, since 5.19: 16edd9b511a1).
 * TP_PROTO(void *lock, unsigned int flags) and TP_PROTO(void *lock, int ret). */
#define SLD_LCB_F_MUTEX (1 << 5)

#ifdef SLD_HAS_contention
RAW_TRACEPOINT_PROBE(contention_begin)
{
	if (!(ctx->args[1] & SLD_LCB_F_MUTEX))
		return 0;
	return stall_begin(ctx, ctx->args[0], SLD_STALL_MUTEX, 0);
}

RAW_TRACEPOINT_PROBE(contention_end) { return stall_end(ctx->args[0], 0, ctx->args[1]); }
#endif
