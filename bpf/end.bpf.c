// SPDX-License-Identifier: GPL-2.0-only
/* A TID may be used again: what was known of it ends with the thread, or with the program that it ran. */

static __always_inline void forget(u32 tid)
{
	struct sld_thread *t = thread_of(tid);
	u32 slot;

	if (t) {
		if (t->trap.start_ns) {
			tally(SLD_KIND_TRAP, SLD_LOST_UNFINISHED);
			forgive(t->trap.tgid, tid);
		}
		slot = t->slot;
		t->tid = 0;
		thread_claims.delete(&slot);	/* last: from now on another thread may take the entry */
	}
#ifdef SLD_HAS_kvm
	vcpu_end(tid);
#endif
#ifdef SLD_KVM_BEGIN
	waits.delete(&tid);
#endif
}

static __always_inline void forget_process(u32 tgid)
{
	groups.delete(&tgid);
#ifdef SLD_BY_VM
	unwanted.delete(&tgid);
#endif
}

/* TP_PROTO(struct task_struct *p, ...), include/trace/events/sched.h: the running thread. */
RAW_TRACEPOINT_PROBE(sched_process_exit)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = id, tgid = id >> 32;

	forget(tid);
	if (tid == tgid)
		forget_process(tgid);
	return 0;
}

/* exec ends all other threads, and gives the TID of the first one to the thread that called it (fs/exec.c: de_thread).
 * TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm): the running thread, and its TID before. */
RAW_TRACEPOINT_PROBE(sched_process_exec)
{
	u32 tid = ctx->args[1], tgid = bpf_get_current_pid_tgid() >> 32;

	forget(tid);
	if (tid != tgid)
		forget(tgid);
	forget_process(tgid);
	return 0;
}
