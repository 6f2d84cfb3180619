// SPDX-License-Identifier: GPL-2.0-only
/* Records who waits inside KVM in a VM of which a vCPU traps, and who was being punished then. Attached on the
 * first trap. The waits while nobody is punished show what is usual.
 *
 * A vCPU sleeps its penalty inside KVM_RUN: it holds vcpu->mutex, and is a reader of kvm->srcu. The probes
 * know that a wait is KVM's by the stack: SLD_KVM_BEGIN and SLD_KVM_END are the bounds of the module's text.
 */

struct sld_wait {
	u64 ns;
	u64 lock;
	u32 what;
	u32 caller;
	u32 punished;
	u32 unused;
};

BPF_HASH(waits, u32, struct sld_wait, 4096);
BPF_RINGBUF_OUTPUT(stalls, SLD_STALL_PAGES);

#define SLD_FRAMES 8

static __always_inline u32 punished_of(u32 tgid)
{
	u32 slot = tgid & (SLD_THREADS - 1);
	struct punished *p = punished.lookup(&slot);

	return p && p->tgid == tgid ? p->tid : 0;
}

static __always_inline int stall_begin(void *ctx, u64 lock, u32 what)
{
	u64 id = bpf_get_current_pid_tgid(), frames[SLD_FRAMES] = {};
	u32 tgid = id >> 32, tid = id;
	struct sld_wait wait = {.lock = lock, .what = what};
	struct sld_group *group = groups.lookup(&tgid);
	struct sld_wait *outer;

	if (!group || !told(SLD_CONTROL_OPEN))
		return 0;
	/* synchronize_srcu waits by synchronize_srcu_expedited, and both may take a mutex: it is one wait. */
	outer = waits.lookup(&tid);
	if (outer && outer->what == SLD_STALL_SRCU)
		return 0;
	bpf_get_stack(ctx, frames, sizeof(frames), 0);
	for (int i = 0; i < SLD_FRAMES; i++)
		if (!wait.caller && frames[i] > SLD_KVM_BEGIN && frames[i] < SLD_KVM_END)
			wait.caller = frames[i] - SLD_KVM_BEGIN;
	if (!wait.caller)
		return 0;
	wait.punished = punished_of(tgid);
	wait.ns = bpf_ktime_get_ns();
	waits.update(&tid, &wait);
	return 0;
}

static __always_inline int stall_end(u64 lock, u32 what, s32 result)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tgid = id >> 32, tid = id;
	struct sld_wait *wait = waits.lookup(&tid);
	struct sld_stall *record;

	if (!wait || wait->what != what || (what == SLD_STALL_MUTEX && wait->lock != lock))
		return 0;
	if (!wait->punished)
		wait->punished = punished_of(tgid);
	tally(SLD_KIND_STALL, SLD_LOST_NOTHING);
	record = stalls.ringbuf_reserve(sizeof(*record));
	if (!record) {
		tally(SLD_KIND_STALL, SLD_LOST_RING_FULL);
		goto out;
	}
	record->ns = wait->ns;
	record->end_ns = bpf_ktime_get_ns();
	record->tgid = tgid;
	record->tid = tid;
	record->what = what;
	record->lock = wait->lock * 0x9e3779b97f4a7c15ULL >> 32;
	record->caller = wait->caller;
	record->result = result;
	record->punished_tid = wait->punished;
	record->cpu = bpf_get_smp_processor_id();
	stalls.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
out:
	waits.delete(&tid);
	return 0;
}

/* Called seldom: kprobes do, and save two programs that the kernel's whole BTF would have to be read for. */
int kprobe__synchronize_srcu(struct pt_regs *ctx) { return stall_begin(ctx, PT_REGS_PARM1(ctx), SLD_STALL_SRCU); }
int kretprobe__synchronize_srcu(struct pt_regs *ctx) { return stall_end(0, SLD_STALL_SRCU, 0); }
int kprobe__synchronize_srcu_expedited(struct pt_regs *ctx)
{
	return stall_begin(ctx, PT_REGS_PARM1(ctx), SLD_STALL_SRCU);
}
int kretprobe__synchronize_srcu_expedited(struct pt_regs *ctx) { return stall_end(0, SLD_STALL_SRCU, 0); }

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
