/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts and unbound kernel work leave the guest cores. */
#include "making.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The kernel owns the affinity of managed interrupts (EIO, EPERM since 6.x); others may have no
 * vector elsewhere, or be gone. Who may not write at all has failed at the default affinity before.
 */
static bool is_refusal(int rc)
{
	return rc == -EIO || rc == -EPERM || rc == -EINVAL || rc == -ENOSPC || rc == -ENOENT;
}

static int stake_irq(struct making *m, const char *name, int *numbers, unsigned *n)
{
	char path[64];
	int rc;

	if (name[strspn(name, "0123456789")] || strlen(name) > 10)
		return 0;
	snprintf(path, sizeof(path), "/proc/irq/%s/smp_affinity_list", name);
	rc = making_stake(m, CHANGE_IRQ, path);
	if (rc >= 0)
		numbers[(*n)++] = rc;
	return rc == -ENOENT || rc >= 0 ? 0 : rc;
}

static int stake_irqs(struct making *m, int *numbers, unsigned *n)
{
	int at = sv_file_open(m->j->root, "/proc/irq", O_RDONLY | O_DIRECTORY, 0), rc = 0;
	DIR *d = at < 0 ? NULL : fdopendir(at);
	const struct dirent *e;

	if (!d) {
		if (at >= 0)
			close(at);
		return at < 0 ? at : -ENOMEM;
	}
	while (rc == 0 && (e = readdir(d)) && *n < JOURNAL_CHANGES)
		if (e->d_name[0] != '.')
			rc = stake_irq(m, e->d_name, numbers, n);
	closedir(d);
	return rc;
}

static int apply_irqs(struct making *m, const int *numbers, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int rc = making_apply(m, numbers[i]);

		if (rc == 0)
			m->iso->irqs_moved++;
		else if (is_refusal(rc))
			m->iso->irqs_refused++;
		else
			return rc;
	}
	return 0;
}

int irq_group(struct making *m, struct sv_error *err)
{
	int *numbers = calloc(JOURNAL_CHANGES, sizeof(int)), rc, def;
	unsigned n = 0;

	if (!numbers)
		return sv_fail(err, ENOMEM, "out of memory");
	rc = stake_irqs(m, numbers, &n);
	def = rc < 0 ? rc : making_stake(m, CHANGE_IRQ_DEFAULT, "/proc/irq/default_smp_affinity");
	if (rc == 0 && def < 0 && def != -ENOENT)
		rc = def;
	if (rc < 0)
		sv_fail(err, -rc, "interrupt affinities cannot be read: %s", strerror(-rc));
	if (rc == 0)
		rc = journal_save(m->j, err);
	if (rc == 0) {
		if (def >= 0)
			rc = making_apply(m, def);
		m->iso->default_irq = def >= 0 && rc == 0;
		if (rc == 0)
			rc = apply_irqs(m, numbers, n);
		if (rc < 0)
			sv_fail(err, -rc, "interrupts cannot be moved away from guest cores: %s",
				strerror(-rc));
	}
	free(numbers);
	return rc;
}

int workqueue_group(struct making *m, struct sv_error *err)
{
	static const char path[] = "/sys/devices/virtual/workqueue/cpumask";
	int n = making_stake(m, CHANGE_WORKQUEUE, path), rc;

	if (n == -ENOENT)
		return 0;
	rc = n < 0 ? sv_fail(err, -n, "%s: %s", path, strerror(-n)) : journal_save(m->j, err);
	if (rc < 0)
		return rc;
	rc = making_apply(m, n);
	if (rc < 0)
		return sv_fail(err, -rc, "%s: unbound kernel work cannot be moved away: %s", path,
			strerror(-rc));
	m->iso->workqueue = true;
	return 0;
}
