// SPDX-License-Identifier: GPL-2.0-only
/* Frees the state of threads and processes that end or exec: their ids may be used again. */

static __always_inline void thread_end(u32 tid)
{
	u16 *place = place_of(tid);
	u32 slot = place ? *place : SLD_NO_SLOT;
	struct sld_thread *t = threads.lookup(&slot);

#ifdef SLD_KVM_BEGIN
	waits.delete(&tid);
#endif
	if (slot == SLD_NO_SLOT)
		return;
#ifdef SLD_HAS_bus_lock
	if (t)
		bus_locks_end(t);
#endif
	if (t && t->trap.start_ns) {
		lose(SLD_KIND_TRAP, SLD_LOST_UNFINISHED, (u64)t->trap.tgid << 32 | tid);
		penalty_end(t->trap.tgid, tid);
	}
	if (place)
		*place = SLD_NO_SLOT;
#ifdef SLD_HAS_kvm
	if (vcpu_end(slot))
		slot = SLD_NO_SLOT;	/* the recorder frees it when it has read the counters */
#endif
	if (t && slot)
		free_slots.push(&slot, 0);
}

static __always_inline void process_end(u32 tgid)
{
	groups.delete(&tgid);
#ifdef SLD_BY_VM
	filtered.delete(&tgid);
#endif
}

/* TP_PROTO(struct task_struct *p, ...), include/trace/events/sched.h: the running thread. */
RAW_TRACEPOINT_PROBE(sched_process_exit)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = id, tgid = id >> 32;

	thread_end(tid);
	if (tid == tgid)
		process_end(tgid);
	return 0;
}

/* exec ends all other threads, and gives the TID of the first one to the thread that called it (fs/exec.c: de_thread).
 * TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm): the running thread, and its TID before. */
RAW_TRACEPOINT_PROBE(sched_process_exec)
{
	u32 tid = ctx->args[1], tgid = bpf_get_current_pid_tgid() >> 32;

#pragma nounroll
	for (int i = 0; i < 2; i++)
		thread_end(i ? tgid : tid);
	process_end(tgid);
	return 0;
}
