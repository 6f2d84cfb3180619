// SPDX-License-Identifier: GPL-2.0-only
/* VM exits and entries: time in the guest between traps, counts by reason, and single exits of hot threads.
 *
 * Attached on the first trap, or from the start if the user asks for it: they fire on every exit of every guest,
 * so what is done for each is cheap. Array look-ups are inlined, ten times cheaper than a hash by TID; each thread
 * writes to memory of its own only, so nothing is atomic; and what is left over when the probes are taken off, the
 * recorder clears.
 */

#define SLD_PASSED 4096
#define SLD_NO_ROOM 1

/* A thread whose exits are not followed: looked at again when SLD_CONTROL_SCOPE has risen. */
struct passed {
	u32 tid;
	u16 scope;
	u16 why;		/* SLD_NO_ROOM, or 0: not wanted */
};

BPF_HASH(claims, u32, u32, SLD_VCPUS);	/* by index into vcpus: the TID; whoever inserts it has the entry */
BPF_ARRAY(passed, struct passed, SLD_PASSED);
BPF_RINGBUF_OUTPUT(exits, SLD_EXIT_PAGES);
BPF_RINGBUF_OUTPUT(user_exits, SLD_USER_EXIT_PAGES);

static __always_inline void exit_emit(struct sld_vcpu *v)
{
	struct sld_exit *record = exits.ringbuf_reserve(sizeof(*record));

	if (record) {
		__builtin_memcpy(record, &v->pending, sizeof(*record));
		exits.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	} else {
		tally(SLD_KIND_EXIT, SLD_LOST_RING_FULL);
	}
	v->pending.ns = 0;
}

/* The exit has no entry of its own: the next exit came first, or the thread's end. */
static __always_inline void exit_abandon(struct sld_vcpu *v)
{
	v->pending.flags |= SLD_EXIT_NO_ENTRY;
	v->pending.entry_cpu = v->pending.exit_cpu;
	exit_emit(v);
}

/* Is this a thread whose exits are not followed? That is so for most: it must be known at once. */
static __always_inline struct passed *passes(u32 tid)
{
	u32 slot = tid & (SLD_PASSED - 1);
	struct passed *p = passed.lookup(&slot);

	return p && p->tid == tid && p->scope == (u16)told(SLD_CONTROL_SCOPE) ? p : 0;
}

/* The slow path of the first exit of a thread. */
static __always_inline struct sld_vcpu *meet_vcpu(u64 id)
{
	u32 tgid = id >> 32, tid = id, scope = (u16)told(SLD_CONTROL_SCOPE), slot = tid & (SLD_PASSED - 1);
	struct passed *p = passed.lookup(&slot);

	if (!p)
		return 0;
	p->why = 0;
#ifndef SLD_ALL_VCPUS
	if (!groups.lookup(&tgid))
		goto pass;
#endif
	if (!wanted(id))
		goto pass;
#pragma nounroll
	for (u32 i = 0; i < SLD_PROBES; i++) {
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
		introduce(id, v->since_ns);
		return v;
	}
	p->why = SLD_NO_ROOM;
	tally(SLD_KIND_COUNTS, SLD_LOST_TABLE_FULL);
pass:
	p->tid = tid;
	p->scope = scope;
	return 0;
}

/* A number below 256 for the kind of exit: of Intel the basic reason, or the vector of an exception; of AMD the code. */
static __always_inline u32 kind_of(u32 isa, u32 reason, u32 info)
{
	if (isa == SLD_ISA_VMX)
		return reason ? reason & 0x7f : 0x80 | (info & 0x1f);
	return reason < 0xf0 ? reason : reason >= 0x400 && reason < 0x404 ? 0xf0 | (reason & 3) : 0xff;
}

/* Where the cell of a kind of exit is looked for. The multiplier keeps the common kinds apart. */
#define SLD_CELL(kind, i) ((((kind) * 41 >> 3) + (i)) & (SLD_CELLS - 1))

/* The slow path of the first exit of its kind; the index of its cell. */
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
	/* All taken: the last one that was looked at counts the rest as well, and says so. */
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
		struct passed *p = passes(tid);

		if (p) {
			if (p->why == SLD_NO_ROOM)
				tally(SLD_KIND_COUNTS, SLD_LOST_TABLE_FULL);
			return 0;
		}
		v = vcpu_of(tid);
		if (!v) {
			v = meet_vcpu(id);
			if (!v)
				return 0;
		}
	}
	now = bpf_ktime_get_ns();
	/* Two exits without an entry between: the kernel went back at once without tracing it (fast path). */
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
	kind = kind_of(isa, reason, info);
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
	if (now >= v->hot_ns)
		return 0;
#endif
	if (told(SLD_CONTROL_LEVEL) < SLD_LEVEL_EXITS)
		return 0;
	tally(SLD_KIND_EXIT, SLD_LOST_NONE);
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

/* A raw tracepoint hands over the arguments of the tracepoint without copying fields first: a third of the cost. */
RAW_TRACEPOINT_PROBE(kvm_entry)
{
	u32 tid = bpf_get_current_pid_tgid(), slot = tid & (SLD_VCPUS - 1);
	struct sld_vcpu *v = vcpus.lookup(&slot);
	u64 now;

	if (!v || v->tid != tid) {
		if (passes(tid))
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

		/* Mostly it is the same as the last time, and that is seen sooner than computed. */
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
	if (!v && !passes(id))
		v = meet_vcpu(id);
#endif
	if (!v || told(SLD_CONTROL_LEVEL) < SLD_LEVEL_EXITS)
		return 0;
	if (v->pending.ns)
		v->pending.flags |= SLD_EXIT_USER;
	now = bpf_ktime_get_ns();
#ifndef SLD_ALL_EXITS
	if (now >= v->hot_ns)
		return 0;
#endif
	tally(SLD_KIND_USER_EXIT, SLD_LOST_NONE);
	record = user_exits.ringbuf_reserve(sizeof(*record));
	if (!record) {
		tally(SLD_KIND_USER_EXIT, SLD_LOST_RING_FULL);
		return 0;
	}
	record->ns = now;
	record->tgid = id >> 32;
	record->tid = id;
	record->vcpu = v->vcpu;
	record->cpu = bpf_get_smp_processor_id();
	record->reason = ctx->args[0];
	record->error = ctx->args[1];
	user_exits.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

/* What was known of a thread ends with it. */
static __always_inline void vcpu_end(u32 tid)
{
	struct sld_vcpu *v = vcpu_of(tid);

	if (!v)
		return;
	if (v->pending.ns)
		exit_abandon(v);
	v->tid = -1;	/* free when the recorder has read the counters */
}
