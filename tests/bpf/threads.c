/* usage: threads < EVENTS. Runs the probes (see test_threads.py) and prints the records that they write.
 *
 * An event is a letter and its numbers: `F n` makes n slots free; `R n` leaves room for n more records, `D n` for n more
 * of traps; `T tgid tid` is a trap of that thread; `B tgid tid` only its beginning, `H tgid tid` its end; between them `S`
 * and `s` are the start and the early return of the sleep, `W` and `w` those of the wait for the semaphore, `w` after a
 * signal, `u` without one; `G tid signal` is a signal to a thread; `X tgid tid` a VM exit and entry, `Y tgid tid` one
 * after a bus lock; `E tgid tid` the end of the thread. `C n` makes n counters of bus locks free, `A address` is where the
 * next ones are; `L tgid tid` is a bus lock, `M tgid tid` one in whose handler the thread still is.
 */

#include "probes.c"

static void submitted(struct reserved *made)
{
	if (!strcmp(made->ring, "traps")) {
		struct sld_trap *trap = (void *)made->record;
		printf("trap %u %u\n", trap->tgid, trap->tid);
		if (trap->flags & (SLD_TRAP_SLEPT | SLD_TRAP_SEMAPHORE))
			printf("penalty %u %u %d %u\n", trap->tid, trap->sleep_left_ms, trap->semaphore_result, trap->signal);
	} else if (!strcmp(made->ring, "tasks")) {
		struct sld_task *task = (void *)made->record;
		printf("task %u %u\n", task->tgid, task->tid);
	} else if (!strcmp(made->ring, "losses")) {
		struct sld_lost *lost = (void *)made->record;
		printf("lost %u %u %u %u %llu\n", lost->kind, lost->cause, lost->tgid, lost->tid, lost->count);
	}
}

static void run(char event, u32 tgid, u32 tid)
{
	struct kvm_kvm_exit left = {.exit_reason = 12, .isa = SLD_ISA_VMX};
	struct pt_regs regs = {.di = 0x1000, .ax = 1}, left_ms = {.ax = 9}, interrupted = {.ax = -4}, done = {.ax = 0};
	struct signal_signal_generate signal = {.pid = tgid, .sig = tid};
	struct raw_tracepoint none = {};

	static struct pt_regs bus_lock, parameter;

	if (event == 'A')
		bus_lock.ip = tgid;
	parameter.di = (u64)&bus_lock;
	current_id = (u64)tgid << 32 | tid;
	if (event == 'L' || event == 'M')
		kprobe__handle_bus_lock(&parameter);
	if (event == 'L')
		kretprobe__handle_bus_lock(&parameter);
	if (event == 'T' || event == 'B')
		kprobe__split_lock_warn(&regs);
	if (event == 'S')
		kprobe__msleep_interruptible(&regs);
	if (event == 's')
		kretprobe__msleep_interruptible(&left_ms);
	if (event == 'W')
		kprobe__down_interruptible(&regs);
	if (event == 'w' || event == 'u')
		kretprobe__down_interruptible(event == 'w' ? &interrupted : &done);
	if (event == 'G')
		tracepoint__signal_generate(&signal);
	if (event == 'T' || event == 'H')
		kretprobe__handle_guest_split_lock(&regs);
	if (event == 'Y')
		left.exit_reason |= SLD_BUS_LOCK_DETECTED;
	if (event == 'X' || event == 'Y') {
		tracepoint__kvm_exit(&left);
		raw_tracepoint__kvm_entry(&none);
	}
	if (event == 'E')
		raw_tracepoint__sched_process_exit(&none);
}

int main(void)
{
	u32 first, second = 0;
	char event;

	controls_entries[SLD_CONTROL_OPEN] = 1;
	controls_entries[SLD_CONTROL_LEVEL] = SLD_LEVEL_COUNTS;
	while (scanf(" %c %u", &event, &first) == 2) {
		if (event == 'F')
			for (u32 slot = first; slot; slot--)
				free_slots.push(&slot, 0);
		else if (event == 'C')
			for (u32 index = first; index; index--)
				free_bus_locks.push(&index, 0);
		else if (event == 'A')
			run(event, first, 0);
		else if (event == 'R')
			room = first;
		else if (event == 'D')
			room_for_traps = first;
		else if (scanf("%u", &second) == 1)
			run(event, first, second);
	}
	for (u32 i = 0; i < SLD_KINDS * SLD_CAUSES; i++)
		if (event_counts_entries[i])
			printf("counted %u %u %llu\n", i / SLD_CAUSES, i % SLD_CAUSES, event_counts_entries[i]);
	for (u32 slot = 0; slot <= SLD_SLOTS; slot++) {
		struct sld_vcpu *v = (void *)&vcpus_entries[slot];

		if (!followed_entries[slot])
			continue;
		printf("counts %u %u %llu %d\n", v->tgid, v->tid, v->exits, v->ended_ns != 0);
		for (u32 cell = 0; cell < SLD_CELLS; cell++)
			if (v->cells[cell].count)
				printf("cell %u %u %llu\n", v->tid, v->cells[cell].reason, v->cells[cell].count);
	}
	for (u32 index = 0; index < SLD_BUS_LOCKS; index++) {
		struct sld_bus_lock_counter *c = &bus_locks_entries[index];

		if (c->since_ns)
			printf("bus %u %u %llu %llu %d %d\n", c->tgid, c->tid, c->rip, c->count, c->handler_ns != 0, c->ended_ns != 0);
	}
	printf("free %u\n", free_slots_count);
	return 0;
}
