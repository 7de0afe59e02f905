/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plan for libvirt, whose guests have no sidecores of ours unless vhost-user brings them: vCPUs
 * on the guest cores, the emulator on housekeeping, and an I/O thread where our sidecore would be.
 */
#include <errno.h>
#include <stdlib.h>

#include "export.h"

static int put_domain(FILE *f, const struct view *v, unsigned guest)
{
	const struct sv_plan_placed *g = &v->plan->guest[guest];
	char *nodes = view_list(g->node, g->nodes);

	if (!nodes)
		return -ENOMEM;
	fputs("  <domain type='kvm'>\n    <name>", f);
	view_xml(f, g->name);
	fprintf(f,
		"</name>\n    <vcpu placement='static'>%u</vcpu>\n    <iothreads>1</iothreads>\n"
		"    <cputune>\n",
		g->vcpus);
	for (unsigned i = 0; i < g->vcpus; i++)
		fprintf(f, "      <vcpupin vcpu='%u' cpuset='%d'/>\n", i, g->vcpu[i].cpu);
	fprintf(f,
		"      <emulatorpin cpuset='%d'/>\n      <iothreadpin iothread='1' cpuset='%d'/>\n"
		"    </cputune>\n",
		g->control_cpu, v->plan->sidecore[g->device_sidecore].cpu);
	if (*nodes)
		fprintf(f,
			"    <numatune>\n      <memory mode='strict' nodeset='%s'/>\n    </numatune>\n",
			nodes);
	fputs("  </domain>\n", f);
	free(nodes);
	return 0;
}

int export_libvirt(FILE *f, const struct view *v)
{
	int rc = 0;

	fputs("<!-- For `virsh edit`: the elements of each domain go into the domain of that name.\n"
	      "     The I/O thread is where the guest's sidecore would be: leave iothreads and\n"
	      "     iothreadpin out where `sidevisor serve` serves the disks over vhost-user. -->\n"
	      "<domains>\n", f);
	for (unsigned i = 0; i < v->plan->guests && rc == 0; i++)
		rc = put_domain(f, v, i);
	fputs("</domains>\n", f);
	return rc;
}
