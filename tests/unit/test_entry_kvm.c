/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every boot protocol up to its first instructions on this machine's KVM: tiny kernels of each
 * format look at what they were given and say so on a port.
 */
#include <criterion/criterion.h>

#include <asm/bootparam.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sidevisor/platform.h>

#include "elf_file.h"
#include "machine_by_hand.h"
#include "vcpu.h"

#define PORT 0x80u
#define AT (4ull << 20)

/* mov (%reg), %eax; out %eax, $0x80; hlt: the same bytes in 32 and 64 bits. */
static const uint8_t tell_rbx[] = {0x8b, 0x03, 0xe7, PORT, 0xf4};
static const uint8_t tell_rsi[] = {0x8b, 0x06, 0xe7, PORT, 0xf4};
static const uint8_t tell_rdi[] = {0x8b, 0x07, 0xe7, PORT, 0xf4};
/* mov 0x202(%rsi), %eax: the kernel's own magic in its parameters */
static const uint8_t tell_params[] = {0x8b, 0x86, 0x02, 0x02, 0, 0, 0xe7, PORT, 0xf4};
static const uint8_t tell_eax[] = {0xe7, PORT, 0xf4};

struct machine {
	struct by_hand *m;
	struct sv_vcpu vcpu;
	struct sv_entry entry;
};

static void open_kvm(struct machine *k)
{
	struct sv_vm *vm = &k->m->vm;
	struct kvm_userspace_memory_region slot = {.memory_size = vm->gmem.region[0].size,
		.userspace_addr = (uintptr_t)vm->gmem.region[0].host};
	int bytes;

	vm->kvm_fd = open(getenv("SIDEVISOR_KVM") ? getenv("SIDEVISOR_KVM") : "/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0) {
		printf("SKIPPED BECAUSE there is no usable /dev/kvm\n");
		cr_skip_test("no /dev/kvm");
	}
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	cr_assert_geq(vm->vm_fd, 0);
	ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfeffd000ul);
	cr_assert_eq(ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
	cr_assert_eq(ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	k->vcpu = (struct sv_vcpu){.vm = vm};
	k->vcpu.fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0ul);
	cr_assert_geq(k->vcpu.fd, 0);
	bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	k->vcpu.run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k->vcpu.fd, 0);
	cr_assert(k->vcpu.run != MAP_FAILED);
}

/* Load @path, enter, and return what the kernel writes to the port. */
static uint32_t said(struct machine *k, const char *path, bool boot32)
{
	struct kvm_run *run;
	struct sv_error err;
	uint32_t v = 0;

	k->m = by_hand_new(64 * MIB, 0, 1);
	k->m->config.kernel = path;
	k->m->config.boot32 = boot32;
	cr_assert_eq(sv_loader_load(&k->m->vm, 0, &k->entry, &err), 0, "%s", err.text);
	open_kvm(k);
	cr_assert_eq(sv_vcpu_set_entry(&k->vcpu, &k->entry, &err), 0, "%s", err.text);
	run = k->vcpu.run;
	cr_assert_eq(ioctl(k->vcpu.fd, KVM_RUN, 0), 0);
	cr_assert_eq(run->exit_reason, KVM_EXIT_IO, "exit %u", run->exit_reason);
	cr_assert(run->io.port == PORT && run->io.size == 4);
	memcpy(&v, (uint8_t *)run + run->io.data_offset, sizeof(v));
	close(k->vcpu.fd);
	close(k->m->vm.vm_fd);
	close(k->m->vm.kvm_fd);
	by_hand_free(k->m);
	return v;
}

static const char *elf(const char *name, const char *note, uint32_t type, const void *desc,
	uint32_t bytes, const uint8_t *code, size_t code_bytes)
{
	static struct elf_file f;

	elf_file_make(&f, AT);
	f.eh->e_entry = AT;
	elf_file_note(&f, note, type, desc, bytes);
	memcpy(f.bytes + ELF_FILE_DATA, code, code_bytes);
	return elf_file_write(&f, name);
}

Test(entry_kvm, lwk)
{
	const uint32_t version = SV_BOOT_VERSION;
	struct machine k;

	cr_assert_eq(said(&k, elf("lwk", "sidevisor", SV_ELF_NOTE_TYPE, &version, 4, tell_rdi,
			       sizeof(tell_rdi)), false), (uint32_t)SV_BOOT_MAGIC);
}

Test(entry_kvm, pvh)
{
	const uint64_t at = AT;
	struct machine k;

	cr_assert_eq(said(&k, elf("pvh", "Xen", 18, &at, 8, tell_rbx, sizeof(tell_rbx)), false),
		0x336ec578);
}

static const char *multiboot(const uint8_t *code, size_t bytes)
{
	static uint8_t file[4096];
	const uint32_t h[8] = {0x1badb002, 0x10003, 0u - 0x1badb002 - 0x10003, AT + 64, AT, 0, 0, AT};

	memcpy(file, code, bytes);
	memcpy(file + 64, h, sizeof(h));
	return by_hand_file("multiboot", file, sizeof(file));
}

Test(entry_kvm, multiboot)
{
	struct machine k;

	cr_assert_eq(said(&k, multiboot(tell_eax, sizeof(tell_eax)), false), 0x2badb002);
	/* The flags of the information: memory, command line, modules, memory map, loader name. */
	cr_assert_eq(said(&k, multiboot(tell_rbx, sizeof(tell_rbx)), false), 0x24d);
}

static const char *bzimage(const uint8_t *code, size_t bytes)
{
	static uint8_t file[4096];
	struct setup_header *h = (struct setup_header *)(void *)(file + 0x1f1);

	memset(file, 0, sizeof(file));
	file[0x200] = 0xeb;
	file[0x201] = 0x6a;
	h->setup_sects = 1;
	h->boot_flag = 0xaa55;
	memcpy(&h->header, "HdrS", 4);
	h->version = 0x20f;
	h->loadflags = LOADED_HIGH;
	h->xloadflags = XLF_KERNEL_64;
	h->initrd_addr_max = 0x7fffffff;
	h->cmdline_size = 2047;
	memcpy(file + 1024, code, bytes);	 /* 32-bit entry */
	memcpy(file + 1024 + 512, code, bytes); /* 64-bit entry */
	return by_hand_file("bzImage", file, sizeof(file));
}

Test(entry_kvm, linux_by_both_entries)
{
	struct machine k;

	cr_assert_eq(said(&k, bzimage(tell_params, sizeof(tell_params)), false), 0x53726448);
	cr_assert_eq(k.entry.mode, SV_ENTRY_LINUX64);
	cr_assert_eq(said(&k, bzimage(tell_params, sizeof(tell_params)), true), 0x53726448);
	cr_assert_eq(k.entry.mode, SV_ENTRY_LINUX32);
	/* The first word of the parameters is the screen's, and there is none. */
	cr_assert_eq(said(&k, bzimage(tell_rsi, sizeof(tell_rsi)), false), 0);
}
