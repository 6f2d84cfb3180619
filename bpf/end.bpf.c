// SPDX-License-Identifier: GPL-2.0-only
/* A TID may be used again: what was known of it ends with the thread, or with the program that it ran. */

static __always_inline void forget(u32 tid)
{
	struct sld_thread *t = thread_of(tid);
	u32 slot;

	if (t) {
		if (t->trap.enter_ns)
			tally(SLD_KIND_TRAP, SLD_LOST_UNFINISHED);
		slot = t->slot;
		t->tid = 0;
		thread_claims.delete(&slot);	/* last: from now on another thread may take the entry */
	}
#ifdef SLD_HAS_kvm
	vcpu_end(tid);
#endif
}

TRACEPOINT_PROBE(sched, sched_process_exit)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = id, tgid = id >> 32;

	forget(tid);
	if (tid == tgid)
		groups.delete(&tgid);
	return 0;
}

/* exec ends all other threads, and gives the TID of the first one to the thread that called it (fs/exec.c: de_thread). */
TRACEPOINT_PROBE(sched, sched_process_exec)
{
	u32 tid = args->old_pid, tgid = args->pid;

	forget(tid);
	if (tid != tgid)
		forget(tgid);
	groups.delete(&tgid);
	return 0;
}
