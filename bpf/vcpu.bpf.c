// SPDX-License-Identifier: GPL-2.0-only
/* VM exits and entries: time in guest mode between traps, counts by reason, and records of single exits of threads
 * that trapped recently.
 *
 * Attached at the first trap, or from the start if the user asks for it. The probes fire on every exit of every guest,
 * so each must be cheap: look-ups in arrays are inlined and ten times cheaper than in a hash, and each thread writes
 * to its own memory only, so nothing is atomic. When the probes are detached, the recorder clears pending exits.
 */

#define SLD_UNFOLLOWED 4096
#define SLD_TABLE_FULL 1

/* A thread whose exits are not followed; it is checked again when SLD_CONTROL_SCOPE has risen. */
struct unfollowed {
	u32 tid;
	u16 scope;
	u16 why;		/* SLD_TABLE_FULL, or 0: not selected */
};

BPF_HASH(claims, u32, u32, SLD_VCPUS);	/* by index into vcpus: the TID that owns the entry */
BPF_ARRAY(unfollowed, struct unfollowed, SLD_UNFOLLOWED);
BPF_RINGBUF_OUTPUT(exits, SLD_EXIT_PAGES);
BPF_RINGBUF_OUTPUT(user_exits, SLD_USER_EXIT_PAGES);

static __always_inline void exit_emit(struct sld_vcpu *v)
{
	struct sld_exit *record = check_reserved(SLD_KIND_EXIT, exits.ringbuf_reserve(sizeof(*record)));

	if (record) {
		__builtin_memcpy(record, &v->pending, sizeof(*record));
		submit(record);
	}
	v->pending.ns = 0;
}

/* No entry followed the exit: the next exit came first, or the thread's end. */
static __always_inline void exit_abandon(struct sld_vcpu *v)
{
	v->pending.flags |= SLD_EXIT_NO_ENTRY;
	v->pending.entry_cpu = v->pending.exit_cpu;
	exit_emit(v);
}

/* The entry of a thread whose exits are not followed, else 0. This is the fast path: it applies to most threads. */
static __always_inline struct unfollowed *not_followed(u32 tid)
{
	u32 slot = tid & (SLD_UNFOLLOWED - 1);
	struct unfollowed *p = unfollowed.lookup(&slot);

	return p && p->tid == tid && p->scope == (u16)control(SLD_CONTROL_SCOPE) ? p : 0;
}

/* The slow path of the first exit of a thread: makes its entry. Returns 0 if its exits are not followed. */
static __always_inline struct sld_vcpu *vcpu_create(u64 id)
{
	u32 tgid = id >> 32, tid = id, scope = (u16)control(SLD_CONTROL_SCOPE), slot = tid & (SLD_UNFOLLOWED - 1);
	struct unfollowed *p = unfollowed.lookup(&slot);

	if (!p)
		return 0;
	p->why = 0;
#ifndef SLD_ALL_VCPUS
	if (!groups.lookup(&tgid))
		goto pass;
#endif
	if (!is_selected(id))
		goto pass;
#pragma nounroll
	for (u32 i = 0; i < SLD_VCPU_TRIES; i++) {
		struct sld_vcpu *v;

		slot = (tid + i) & (SLD_VCPUS - 1);
		v = vcpus.lookup(&slot);
		if (!v || v->tid || claims.insert(&slot, &tid))
			continue;
		v->owner = tid;
		v->tgid = tgid;
		v->vcpu = -1;
		v->cell = -1;
		v->since_ns = bpf_ktime_get_ns();
		v->tid = tid;
		emit_task(id, v->since_ns);
		return v;
	}
	p->why = SLD_TABLE_FULL;
	count_lost(SLD_KIND_COUNTS, SLD_LOST_TABLE_FULL);
pass:
	p->tid = tid;
	p->scope = scope;
	return 0;
}

/* A number below 256 for the kind of exit: the basic reason or the exception's vector (Intel), or the code (AMD). */
static __always_inline u32 exit_kind(u32 isa, u32 reason, u32 info)
{
	if (isa == SLD_ISA_VMX)
		return reason ? reason & 0x7f : 0x80 | (info & 0x1f);
	return reason < 0xf0 ? reason : reason >= 0x400 && reason < 0x404 ? 0xf0 | (reason & 3) : 0xff;
}

/* The index at which the cell of a kind of exit is tried, i-th attempt. The multiplier keeps the common kinds apart. */
#define SLD_CELL(kind, i) ((((kind) * 41 >> 3) + (i)) & (SLD_CELLS - 1))

/* The slow path of the first exit of a kind. Returns the index of its cell. */
static __always_inline u32 find_cell(struct sld_vcpu *v, u32 isa, u32 reason, u32 vector, u32 kind)
{
	bool is_exception = isa == SLD_ISA_VMX ? !reason : reason >= 0x40 && reason < 0x60;
	struct sld_cell *cell;
	u32 index;

#pragma nounroll
	for (u32 i = 0; i < SLD_CELLS; i++) {
		index = SLD_CELL(kind, i);
		cell = &v->cells[index];
		if (cell->kind == kind + 1)
			return index;
		if (!cell->kind) {
			cell->isa = isa;
			cell->reason = reason;
			cell->vector = !is_exception ? -1 : isa == SLD_ISA_VMX ? vector : reason & 0x1f;
			cell->kind = kind + 1;
			return index;
		}
	}
	/* All taken: the last one tried counts all further kinds, with the reason -1. */
	index = SLD_CELL(kind, SLD_CELLS - 1);
	v->cells[index].reason = -1;
	v->cells[index].vector = -1;
	return index;
}

TRACEPOINT_PROBE(kvm, kvm_exit)
{
	u64 id = bpf_get_current_pid_tgid(), now, guest_ns = 0;
	u32 tid = id, slot = tid & (SLD_VCPUS - 1), isa = SLD_ISA(args), reason = args->exit_reason, info = 0;
	u32 kind, index;
	struct sld_vcpu *v = vcpus.lookup(&slot);
	struct sld_cell *cell;

	if (!v || v->tid != tid) {
		struct unfollowed *p = not_followed(tid);

		if (p) {
			if (p->why == SLD_TABLE_FULL)
				count_lost(SLD_KIND_COUNTS, SLD_LOST_TABLE_FULL);
			return 0;
		}
		v = vcpu_of(tid);
		if (!v) {
			v = vcpu_create(id);
			if (!v)
				return 0;
		}
	}
	now = bpf_ktime_get_ns();
	/* Two exits without an entry in between: KVM re-entered the guest on its fast path, without kvm_entry. */
	if (v->entry_ns)
		guest_ns = now - (v->entry_ns > v->exit_ns ? v->entry_ns : v->exit_ns);
	v->exit_ns = now;
	v->exits++;
	v->guest_ns += guest_ns;
	/* Both fields since 5.10 (d94fdcd7eafb, 235ba74f008d). */
#ifdef SLD_HAS_vcpu_id
	v->vcpu = args->vcpu_id;
#endif
#ifdef SLD_HAS_intr_info
	info = args->intr_info;
#endif
	if (isa == SLD_ISA_VMX)
		reason &= 0xffff;
	kind = exit_kind(isa, reason, info);
	index = SLD_CELL(kind, 0);
	if (v->cells[index].kind != kind + 1)
		index = find_cell(v, isa, reason, info & 0xff, kind);
	v->cell = index;
	cell = &v->cells[index & (SLD_CELLS - 1)];
	cell->count++;
	cell->guest_ns += guest_ns;

	if (v->pending.ns)
		exit_abandon(v);
#ifndef SLD_ALL_EXITS
	if (now >= v->recent_until_ns)
		return 0;
#endif
	if (control(SLD_CONTROL_LEVEL) < SLD_LEVEL_EXITS)
		return 0;
	count_seen(SLD_KIND_EXIT);
	v->pending.ns = now;
	v->pending.guest_ns = guest_ns;
	v->pending.host_ns = 0;
	v->pending.rip = args->guest_rip;
	v->pending.info1 = args->info1;
	v->pending.reason = reason;
	v->pending.intr_info = info;
	v->pending.tgid = id >> 32;
	v->pending.tid = tid;
	v->pending.vcpu = v->vcpu;
	v->pending.exit_cpu = bpf_get_smp_processor_id();
	v->pending.isa = isa;
	v->pending.flags = 0;
	return 0;
}

/* A raw tracepoint passes the tracepoint's arguments without copying fields first: a third of the cost. */
RAW_TRACEPOINT_PROBE(kvm_entry)
{
	u32 tid = bpf_get_current_pid_tgid(), slot = tid & (SLD_VCPUS - 1);
	struct sld_vcpu *v = vcpus.lookup(&slot);
	u64 now;

	if (!v || v->tid != tid) {
		if (not_followed(tid))
			return 0;
		v = vcpu_of(tid);
		if (!v)
			return 0;
	}
	now = bpf_ktime_get_ns();
	v->entry_ns = now;
	if (v->cell < SLD_CELLS) {
		struct sld_cell *cell = &v->cells[v->cell & (SLD_CELLS - 1)];
		u64 host_ns = now - v->exit_ns;
		u32 log2 = cell->log2 & (SLD_LOG2S - 1);

		/* Mostly the same as the last time; checking that is faster than computing it. */
		if (host_ns >> log2 != 1)
			cell->log2 = log2 = host_ns >> 32 ? SLD_LOG2S - 1 : bpf_log2(host_ns);
		cell->host_ns += host_ns;
		cell->host_log2[log2 & (SLD_LOG2S - 1)]++;
		v->cell = -1;
	}
	if (v->pending.ns) {
		v->pending.host_ns = now - v->pending.ns;
		v->pending.entry_cpu = bpf_get_smp_processor_id();
		exit_emit(v);
	}
	return 0;
}

/* TP_PROTO(__u32 reason, int errno), include/trace/events/kvm.h. */
RAW_TRACEPOINT_PROBE(kvm_userspace_exit)
{
	u64 id = bpf_get_current_pid_tgid(), now;
	struct sld_vcpu *v = vcpu_of(id);
	struct sld_user_exit *record;

#ifdef SLD_ALL_EXITS
	/* KVM_RUN may return before the guest was entered for the first time. */
	if (!v && !not_followed(id))
		v = vcpu_create(id);
#endif
	if (!v || control(SLD_CONTROL_LEVEL) < SLD_LEVEL_EXITS)
		return 0;
	if (v->pending.ns)
		v->pending.flags |= SLD_EXIT_USER;
	now = bpf_ktime_get_ns();
#ifndef SLD_ALL_EXITS
	if (now >= v->recent_until_ns)
		return 0;
#endif
	count_seen(SLD_KIND_USER_EXIT);
	record = check_reserved(SLD_KIND_USER_EXIT, user_exits.ringbuf_reserve(sizeof(*record)));
	if (!record)
		return 0;
	record->ns = now;
	record->tgid = id >> 32;
	record->tid = id;
	record->vcpu = v->vcpu;
	record->cpu = bpf_get_smp_processor_id();
	record->reason = ctx->args[0];
	record->error = ctx->args[1];
	submit(record);
	return 0;
}

/* The thread has ended: its counters are final. */
static __always_inline void vcpu_end(u32 tid)
{
	struct sld_vcpu *v = vcpu_of(tid);

	if (!v)
		return;
	if (v->pending.ns)
		exit_abandon(v);
	v->tid = -1;	/* free when the recorder has read the counters */
}
