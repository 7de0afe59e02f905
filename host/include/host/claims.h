/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which CPUs belong to a guest or to a sidecore: a lock per CPU in the run directory, held by the
 * process, released by the kernel when it ends however it ends.
 *
 * An exclusive claim suffers no other; shared claims (both say so) suffer each other. The
 * locks are open-file-description locks: a child that closes its descriptors holds none.
 */
#ifndef HOST_CLAIMS_H
#define HOST_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>

#include <base/error.h>
#include <host/cpus.h>

/*
 * The directory for what VMs leave beside them: $SIDEVISOR_RUN_DIR, /run/sidevisor where we may
 * write, else $XDG_RUNTIME_DIR/sidevisor, else /tmp/sidevisor-UID. Made when missing. Refused: one that
 * belongs to another user, and one that everybody may write. VMs see each other's claims in the same
 * directory only. Return: 0, or -errno with a sentence.
 */
int sv_run_dir(char *path, size_t bytes, struct sv_error *err);

struct sv_claims;

/*
 * Claim the CPUs, all or none. @who: a VM's name; @what: "guest core", "sidecore", "control CPU" or
 * "thread beside a core", for the others' error; control threads share theirs (@share) and nothing else comes there. A second
 * call adds to the first; the same process may claim a CPU twice.
 * Context: a control thread; waits for at most 50 ms. @claims: NULL before the first call.
 * Return: 0; -EBUSY with a sentence naming CPU and holder; -errno.
 */
int sv_claims_take(struct sv_claims **claims, const char *run_dir, const struct sv_cpus *cpus,
	bool share, const char *who, const char *what, struct sv_error *err);
/*
 * The other threads of the cores that @cpus belong to: what runs there takes issue slots from these.
 * @root: before /sys, "" but in tests.
 */
void sv_claims_siblings(const char *root, const struct sv_cpus *cpus, struct sv_cpus *siblings);
/* Give all back. @claims may be NULL. */
void sv_claims_release(struct sv_claims *claims);

/*
 * What others (and we) claim now: exclusively and shared. For a planner: leave out *exclusive, and
 * *shared too unless the guest shares. Claims nothing itself. Return: 0, or -errno (no directory: 0,
 * both empty).
 */
int sv_claims_list(const char *run_dir, struct sv_cpus *exclusive, struct sv_cpus *shared);
/* Those of the shared ones that are control CPUs and nothing else: good for one more control thread. */
void sv_claims_control(const char *run_dir, struct sv_cpus *control);
/* "a guest core of 'a' (pid 12)" for a CPU that is claimed; "" when it is not. */
void sv_claims_holder(const char *run_dir, int cpu, char *text, size_t bytes);

#endif
