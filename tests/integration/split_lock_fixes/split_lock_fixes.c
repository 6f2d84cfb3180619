// SPDX-License-Identifier: GPL-2.0-only
/* A live patch that replaces split_lock_warn by a copy of itself, or by one that can make progress: three candidate
 * fixes of the livelock.
 *
 * It stands for a corrected split_lock_warn of Linux 6.12 (arch/x86/kernel/cpu/intel.c; bus_lock.c since 350afa8a1101):
 * the penalty of b041b525dab9, here with a semaphore, a delayed work and a copy of MSR_TEST_CTRL of its own. The
 * penalty is always on: kernel.split_lock_mitigate is not looked at.
 */

#include <linux/delay.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/semaphore.h>
#include <linux/workqueue.h>
#include <asm/msr.h>

#define SLEEP_MS 10
#define WINDOW_JIFFIES 2
#define THREADS 1024

enum {
	STOCK,		/* as the kernel has it */
	UNINTERRUPTIBLE,/* signals end neither the sleep nor the wait for the semaphore */
	REMAINING,	/* after an early return, the next sleep is as long as what was left */
	EARLY_RETURNS,	/* after some early returns in a row, detection is switched off at once */
};

static int fix;
module_param(fix, int, 0644);
static int early_returns = 3;
module_param(early_returns, int, 0644);

/* What a thread has left of its penalty; in a real fix a field of task_struct. Threads whose TIDs are a multiple of
 * THREADS apart take the place of each other, and then begin anew.
 */
static struct debt {
	pid_t tid;
	unsigned int left_ms;
	int early_returns;
} debts[THREADS];

static DEFINE_SEMAPHORE(one_at_a_time, 1);
static u64 test_ctrl;

static void detect(bool on)
{
	wrmsrl(MSR_TEST_CTRL, on ? test_ctrl | MSR_TEST_CTRL_SPLIT_LOCK_DETECT
				 : test_ctrl & ~MSR_TEST_CTRL_SPLIT_LOCK_DETECT);
}

static void reenable(struct work_struct *work)
{
	detect(true);
}

static void reenable_unlock(struct work_struct *work)
{
	detect(true);
	up(&one_at_a_time);
}

/* One for each CPU: a shared one left detection off where several CPUs trapped at once (fixed by c929d08df8be). */
static DEFINE_PER_CPU(struct delayed_work, reenabling);
static DECLARE_DELAYED_WORK(reenabling_unlocking, reenable_unlock);

static struct debt *debt_of_current(void)
{
	struct debt *debt = &debts[current->pid % THREADS];

	if (debt->tid != current->pid)
		*debt = (struct debt){ .tid = current->pid };
	return debt;
}

/* The penalty; false if a signal has ended it early. holds: whether the thread has the semaphore then. */
static bool penalized(struct debt *debt, bool *holds)
{
	if (fix == UNINTERRUPTIBLE) {
		msleep(SLEEP_MS);
		down(&one_at_a_time);
		return true;
	}
	if (fix == EARLY_RETURNS && debt->early_returns >= early_returns) {
		debt->early_returns = 0;
		*holds = false;
		return true;
	}
	if (fix == REMAINING) {
		/* Whole jiffies: since 4381b895f544 (6.12) what a sleep has left is what the next one is asked for. */
		if (!debt->left_ms)
			debt->left_ms = SLEEP_MS;
		debt->left_ms = msleep_interruptible(debt->left_ms);
		if (debt->left_ms)
			return false;
	} else if (msleep_interruptible(SLEEP_MS) > 0) {
		debt->early_returns++;
		return false;
	}
	if (down_interruptible(&one_at_a_time) == -EINTR) {
		debt->early_returns++;
		return false;
	}
	debt->early_returns = 0;
	return true;
}

static void fixed_split_lock_warn(unsigned long ip)
{
	struct delayed_work *work;
	bool holds = true;
	int cpu;

	if (!current->reported_split_lock)
		pr_warn_ratelimited("x86/split lock detection: #AC: %s/%d took a split_lock trap at address: 0x%lx\n",
				    current->comm, current->pid, ip);
	current->reported_split_lock = 1;

	if (!penalized(debt_of_current(), &holds))
		return;
	cpu = get_cpu();
	work = holds ? &reenabling_unlocking : this_cpu_ptr(&reenabling);
	schedule_delayed_work_on(cpu, work, WINDOW_JIFFIES);
	detect(false);
	put_cpu();
}

static struct klp_func functions[] = {
	{ .old_name = "split_lock_warn", .new_func = fixed_split_lock_warn },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init split_lock_fixes_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		INIT_DELAYED_WORK(&per_cpu(reenabling, cpu), reenable);
	if (rdmsrl_safe(MSR_TEST_CTRL, &test_ctrl))
		return -ENODEV;
	return klp_enable_patch(&patch);
}

/* Comes only after the patch was disabled: no thread is in these functions. */
static void __exit split_lock_fixes_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		flush_delayed_work(&per_cpu(reenabling, cpu));
	flush_delayed_work(&reenabling_unlocking);
}

module_init(split_lock_fixes_init);
module_exit(split_lock_fixes_exit);
MODULE_INFO(livepatch, "Y");
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Candidate fixes of split_lock_warn, to be measured");
