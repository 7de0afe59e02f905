/* SPDX-License-Identifier: BSD-3-Clause */
#include "settings.h"

#include <stdlib.h>
#include <string.h>

#include <vmm/vmm.h>

#include "node.h"

static struct sv_control_device_set *find(struct sv_settings *s, const char *device, const char *key)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!strcmp(s->at[i].device, device) && !strcmp(s->at[i].key, key))
			return &s->at[i];
	if (s->n == SV_SETTINGS)
		return NULL;
	return &s->at[s->n++];
}

void sv_settings_note(struct sv_settings *s, const char *device, const char *key, const char *value)
{
	struct sv_control_device_set *one;

	if (strlen(device) >= sizeof(one->device) || strlen(key) >= sizeof(one->key) ||
		strlen(value) >= sizeof(one->value))
		return;
	one = find(s, device, key);
	if (!one) {
		sv_warn("%s: %s=%s will not outlive the sidecore process: too many settings", device, key,
			value);
		return;
	}
	strcpy(one->device, device);
	strcpy(one->key, key);
	strcpy(one->value, value);
}

static bool say(int sock, const char *vm, const struct sv_control_device_set *one, struct sv_error *err)
{
	char *text = NULL;
	int rc = sv_node_set_device(sock, vm, one->device, one->key, one->value, &text, err);

	free(text);
	return rc >= 0;
}

/* A minimum may be refused before its maximum is said, and the other way round: those go again. */
void sv_settings_say(const struct sv_settings *s, int sock, const char *vm)
{
	bool said[SV_SETTINGS];
	struct sv_error err;

	for (unsigned i = 0; i < s->n; i++)
		said[i] = say(sock, vm, &s->at[i], &err);
	for (unsigned i = 0; i < s->n; i++)
		if (!said[i] && !say(sock, vm, &s->at[i], &err))
			sv_warn("%s: %s: %s=%s is not as it was: %.300s", vm, s->at[i].device,
				s->at[i].key, s->at[i].value, err.text);
}
