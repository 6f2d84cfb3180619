// SPDX-License-Identifier: GPL-2.0-only
/* VM exits and entries: time in guest mode between traps, counts by reason, and records of single exits of threads
 * that trapped recently.
 *
 * Attached at the first trap, or from the start if the user asks for it. The probes fire on every exit of every guest,
 * so each must be cheap: look-ups in arrays are inlined and ten times cheaper than in a hash, and each thread writes
 * to its own memory only, so nothing is atomic. When the probes are detached, the recorder clears pending exits.
 */

BPF_RINGBUF_OUTPUT(exits, SLD_EXIT_PAGES);
BPF_RINGBUF_OUTPUT(user_exits, SLD_USER_EXIT_PAGES);

/* With --exits counts no single exit is recorded, and none is ever pending. */
#ifndef SLD_NO_EXITS
#define SLD_PENDING(v) ((v)->pending.ns)
#else
#define SLD_PENDING(v) 0
#endif

static __always_inline void exit_emit(struct sld_vcpu *v)
{
	u64 id = (u64)v->tgid << 32 | v->tid;
	struct sld_exit *record = check_reserved(SLD_KIND_EXIT, id, exits.ringbuf_reserve(sizeof(*record)));

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

/* The value in `slots` of a thread that was checked now and whose exits are not followed. */
static __always_inline u32 unfollowed(void)
{
	return SLD_UNFOLLOWED | (control(SLD_CONTROL_SCOPE) & (SLD_UNFOLLOWED - 1));
}

/* The slow path of the first exit of a thread: makes its entry. Returns 0 if its exits are not followed. slot: the
 * thread's value in `slots`. */
static __always_inline struct sld_vcpu *vcpu_create(u64 id, u32 slot)
{
	u32 tgid = id >> 32, not_followed = unfollowed();
	struct sld_vcpu *v;
	bool selected;
	u64 now, *used;
	u16 *place;

	if (slot == not_followed)
		return 0;
	selected = is_selected(id);
#ifndef SLD_ALL_VCPUS
	selected = selected && groups.lookup(&tgid);
#endif
	if (!selected) {
		place = place_of(id);
		if (place && (*place == SLD_NO_SLOT || *place >= SLD_UNFOLLOWED))
			*place = not_followed;
		return 0;
	}
	now = bpf_ktime_get_ns();
	slot = slot_claim(id, now, SLD_KIND_COUNTS);
	v = (void *)vcpus.lookup(&slot);
	used = followed.lookup(&slot);
	if (!slot || !v || !used)
		return 0;
	*used = 1;
	v->tid = id;
	v->tgid = tgid;
	v->vcpu = -1;
	v->cell = -1;
	v->since_ns = now;
	return v;
}

/* In an exit reason (Intel): the guest had a bus lock before this exit (SDM volume 3, "Basic VM-Exit Information"). */
#define SLD_BUS_LOCK_DETECTED (1 << 26)

/* A number for the kind of exit: the basic reason and SLD_BUS_LOCK_DETECTED, or the exception's vector (Intel), or the
 * code (AMD). Without that bit it is below 256. */
static __always_inline u32 exit_kind(u32 isa, u32 reason, u32 info)
{
	u32 kind = reason & (SLD_BUS_LOCK_DETECTED | 0x7f);

	if (isa == SLD_ISA_VMX)
		return kind ? kind : 0x80 | (info & 0x1f);
	return reason < 0xf0 ? reason : reason >= 0x400 && reason < 0x404 ? 0xf0 | (reason & 3) : 0xff;
}

/* The index at which the cell of a kind of exit is tried, i-th attempt. The multiplier keeps the common kinds apart. Exits
 * after a bus lock are tried where the others of their reason are, so they come to the slow path. */
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
	u32 slot = slot_of(id), isa = SLD_ISA(args), reason = args->exit_reason, info = 0, kind, index;
	struct sld_vcpu *v = vcpu_at(slot);
	struct sld_cell *cell;

	if (!v) {
		v = vcpu_create(id, slot);
		if (!v)
			return 0;
	}
	now = bpf_ktime_get_ns();
	/* Two exits without an entry in between: KVM re-entered the guest on its fast path, without kvm_entry. */
	if (v->last_ns)
		guest_ns = now - v->last_ns;
	v->last_ns = now;
	v->exits++;
	v->guest_ns += guest_ns;
	/* This field, and vcpu_id, since 5.10 (235ba74f008d, d94fdcd7eafb). */
#ifdef SLD_HAS_intr_info
	info = args->intr_info;
#endif
	kind = exit_kind(isa, reason, info);
	if (isa == SLD_ISA_VMX)
		reason &= SLD_BUS_LOCK_DETECTED | 0xffff;
	index = SLD_CELL(kind, 0);
	if (v->cells[index].kind != kind + 1) {
		/* Here, because a thread runs one vCPU, and the first exit of each kind comes here. */
#ifdef SLD_HAS_vcpu_id
		v->vcpu = args->vcpu_id;
#endif
		index = find_cell(v, isa, reason, info & 0xff, kind);
	}
	v->cell = index;
	cell = &v->cells[index & (SLD_CELLS - 1)];
	cell->count++;
	cell->guest_ns += guest_ns;

	if (SLD_PENDING(v))
		exit_abandon(v);
#ifdef SLD_NO_EXITS
	return 0;
#endif
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
	v->pending.tid = id;
	v->pending.vcpu = v->vcpu;
	v->pending.exit_cpu = bpf_get_smp_processor_id();
	v->pending.isa = isa;
	v->pending.flags = 0;
	return 0;
}

/* A raw tracepoint passes the tracepoint's arguments without copying fields first: a third of the cost. */
RAW_TRACEPOINT_PROBE(kvm_entry)
{
	struct sld_vcpu *v = vcpu_of(bpf_get_current_pid_tgid());
	u64 now;

	if (!v)
		return 0;
	now = bpf_ktime_get_ns();
	if (v->cell < SLD_CELLS) {
		struct sld_cell *cell = &v->cells[v->cell & (SLD_CELLS - 1)];
		u64 host_ns = now - v->last_ns;
		u32 log2 = cell->log2 & (SLD_LOG2S - 1);

		/* Mostly the same as the last time; checking that is faster than computing it. */
		if (host_ns >> log2 != 1)
			cell->log2 = log2 = host_ns >> 32 ? SLD_LOG2S - 1 : bpf_log2(host_ns);
		cell->host_ns += host_ns;
		cell->host_log2[log2 & (SLD_LOG2S - 1)]++;
		v->cell = -1;
	}
	v->entry_ns = v->last_ns = now;
	if (SLD_PENDING(v)) {
		v->pending.host_ns = now - v->pending.ns;
		v->pending.entry_cpu = bpf_get_smp_processor_id();
		exit_emit(v);
	}
	return 0;
}

#ifndef SLD_NO_EXITS
/* TP_PROTO(__u32 reason, int errno), include/trace/events/kvm.h. */
RAW_TRACEPOINT_PROBE(kvm_userspace_exit)
{
	u64 id = bpf_get_current_pid_tgid(), now;
	u32 slot = slot_of(id);
	struct sld_vcpu *v = vcpu_at(slot);
	struct sld_user_exit *record;

#ifdef SLD_ALL_EXITS
	/* KVM_RUN may return before the guest was entered for the first time. */
	if (!v)
		v = vcpu_create(id, slot);
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
	record = check_reserved(SLD_KIND_USER_EXIT, id, user_exits.ringbuf_reserve(sizeof(*record)));
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

#endif

/* The thread of a slot has ended: its counters are final. Returns whether it has any. */
static __always_inline bool vcpu_end(u32 slot)
{
	struct sld_vcpu *v = vcpu_at(slot);

	if (!v)
		return false;
	if (SLD_PENDING(v))
		exit_abandon(v);
	v->ended_ns = bpf_ktime_get_ns();
	return true;
}
