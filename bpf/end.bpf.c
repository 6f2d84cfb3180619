// SPDX-License-Identifier: GPL-2.0-only
/* Frees the state of threads and processes that end or exec: their ids may be used again. */

static __always_inline void thread_end(u32 tid)
{
	struct sld_thread *t = thread_of(tid);
	u32 slot;

	if (t) {
		if (t->trap.start_ns) {
			count_lost(SLD_KIND_TRAP, SLD_LOST_UNFINISHED);
			penalty_end(t->trap.tgid, tid);
		}
		slot = t->slot;
		t->tid = 0;
		thread_claims.delete(&slot);	/* last: now another thread may take the entry */
	}
#ifdef SLD_HAS_kvm
	vcpu_end(tid);
#endif
#ifdef SLD_KVM_BEGIN
	waits.delete(&tid);
#endif
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

	thread_end(tid);
	if (tid != tgid)
		thread_end(tgid);
	process_end(tgid);
	return 0;
}
