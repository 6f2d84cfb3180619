// SPDX-License-Identifier: GPL-2.0-only
/* Records waits for locks inside KVM, in processes with a vCPU that traps, and the thread that is penalized then.
 * Attached at the first trap. Waits without a penalized thread are recorded for comparison.
 *
 * A vCPU sleeps its penalty inside KVM_RUN: it holds vcpu->mutex, and is a reader of kvm->srcu. A wait is KVM's if
 * its stack has an address between SLD_KVM_BEGIN and SLD_KVM_END, the bounds of the module's text.
 */

struct sld_wait {
	u64 ns;
	u64 lock;
	u32 what;
	u32 caller;
	u32 penalized;
};

BPF_HASH(waits, u32, struct sld_wait, 4096);
BPF_RINGBUF_OUTPUT(stalls, SLD_STALL_PAGES);

#define SLD_FRAMES 8

static __always_inline u32 penalized_thread(u32 tgid)
{
	u32 slot = tgid & (SLD_PENALIZED - 1);
	struct penalized *p = penalized.lookup(&slot);

	return p && p->tgid == tgid ? p->tid : 0;
}

/* Does the wait that begins now belong to the outer one? Not if the end of the outer one was missed (a kretprobe can
 * miss it), or it began before the probes were last detached. A mutex begins twice where the thread spins and then
 * sleeps (kernel/locking/mutex.c); synchronize_srcu ends with synchronize_srcu_expedited, or waits for mutexes. */
static __always_inline bool is_nested(struct sld_wait *outer, u64 lock)
{
	if (outer->ns < control(SLD_CONTROL_LOCKS))
		return false;
	return outer->what == SLD_STALL_SRCU || outer->lock == lock;
}

static __always_inline int stall_begin(void *ctx, u64 lock, u32 what)
{
	u64 id = bpf_get_current_pid_tgid(), frames[SLD_FRAMES] = {};
	u32 tgid = id >> 32, tid = id;
	struct sld_wait wait = {.lock = lock, .what = what};
	struct sld_group *group = groups.lookup(&tgid);
	struct sld_wait *outer;

	if (!group || !control(SLD_CONTROL_OPEN) || !control(SLD_CONTROL_LOCKS))
		return 0;
	outer = waits.lookup(&tid);
	if (outer && is_nested(outer, lock))
		return 0;
	bpf_get_stack(ctx, frames, sizeof(frames), 0);
#pragma nounroll
	for (int i = 0; i < SLD_FRAMES; i++)
		if (!wait.caller && frames[i] > SLD_KVM_BEGIN && frames[i] < SLD_KVM_END)
			wait.caller = frames[i] - SLD_KVM_BEGIN;
	if (!wait.caller)
		return 0;
	if (outer && outer->ns >= control(SLD_CONTROL_LOCKS)) {
		count_seen(SLD_KIND_STALL);
		lose(SLD_KIND_STALL, SLD_LOST_UNFINISHED, id);
	}
	wait.penalized = penalized_thread(tgid);
	wait.ns = bpf_ktime_get_ns();
	waits.update(&tid, &wait);
	return 0;
}

static __always_inline int stall_end(u64 lock, u32 what, s32 result)
{
	u64 id = bpf_get_current_pid_tgid(), since = control(SLD_CONTROL_LOCKS);
	u32 tgid = id >> 32, tid = id;
	struct sld_wait *wait = waits.lookup(&tid);
	struct sld_stall *record;

	if (!wait || wait->what != what || (what == SLD_STALL_MUTEX && wait->lock != lock))
		return 0;
	if (!control(SLD_CONTROL_OPEN) || !since || wait->ns < since)
		goto out;
	if (!wait->penalized)
		wait->penalized = penalized_thread(tgid);
	count_seen(SLD_KIND_STALL);
	record = check_reserved(SLD_KIND_STALL, id, stalls.ringbuf_reserve(sizeof(*record)));
	if (!record)
		goto out;
	record->ns = wait->ns;
	record->end_ns = bpf_ktime_get_ns();
	record->tgid = tgid;
	record->tid = tid;
	record->what = wait->what;
	record->lock = wait->lock * 0x9e3779b97f4a7c15ULL >> 32;
	record->caller = wait->caller;
	record->result = result;
	record->penalized_tid = wait->penalized;
	record->cpu = bpf_get_smp_processor_id();
	submit(record);
out:
	waits.delete(&tid);
	return 0;
}

/* kprobes, because these are called rarely; fentry would need the whole BTF of the kernel for two more programs. They
 * are attached to synchronize_srcu_expedited as well: the wait ends with the first of the two that returns. */
int kprobe__synchronize_srcu(struct pt_regs *ctx) { return stall_begin(ctx, PT_REGS_PARM1(ctx), SLD_STALL_SRCU); }
int kretprobe__synchronize_srcu(struct pt_regs *ctx) { return stall_end(0, SLD_STALL_SRCU, 0); }

/* The slow path of mutexes, rwsems, ... (include/trace/events/lock.h, since 5.19: 16edd9b511a1).
 * TP_PROTO(void *lock, unsigned int flags) and TP_PROTO(void *lock, int ret). */
#define SLD_LCB_F_MUTEX (1 << 5)

#ifdef SLD_HAS_contention
RAW_TRACEPOINT_PROBE(contention_begin)
{
	if (!(ctx->args[1] & SLD_LCB_F_MUTEX))
		return 0;
	return stall_begin(ctx, ctx->args[0], SLD_STALL_MUTEX);
}

RAW_TRACEPOINT_PROBE(contention_end) { return stall_end(ctx->args[0], SLD_STALL_MUTEX, ctx->args[1]); }
#endif
