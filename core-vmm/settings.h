/* SPDX-License-Identifier: BSD-3-Clause */
/* What was changed of devices while the VM ran, for a sidecore process that takes another's place. */
#ifndef CORE_VMM_SETTINGS_H
#define CORE_VMM_SETTINGS_H

#include <channels/control.h>

#define SV_SETTINGS 256u

struct sv_settings {
	unsigned n;
	struct sv_control_device_set at[SV_SETTINGS]; /* each device and key once, in the order first set */
};

/* It was accepted. Beyond SV_SETTINGS it is not remembered, which is said. Context: control thread. */
void sv_settings_note(struct sv_settings *s, const char *device, const char *key, const char *value);
/* Say all of it at a node that has the devices; what it refuses now is a warning. */
void sv_settings_say(const struct sv_settings *s, int sock, const char *vm);

#endif
