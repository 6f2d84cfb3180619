// SPDX-License-Identifier: GPL-2.0-only
/* Counts VM exits and guest time of the threads that trap. Attached on the first trap: it fires on every exit. */

TRACEPOINT_PROBE(kvm, kvm_exit)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct sld_thread *t = threads.lookup(&tid);
	u64 now;

	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	/* Two exits without an entry between: the kernel went back at once without tracing it (fast path). */
	if (t->entry_ns)
		t->trap.guest_ns += now - (t->entry_ns > t->exit_ns ? t->entry_ns : t->exit_ns);
	t->exit_ns = now;
	t->trap.exits++;
	t->trap.vcpu = args->vcpu_id;
	return 0;
}

TRACEPOINT_PROBE(kvm, kvm_entry)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct sld_thread *t = threads.lookup(&tid);

	if (t)
		t->entry_ns = bpf_ktime_get_ns();
	return 0;
}
