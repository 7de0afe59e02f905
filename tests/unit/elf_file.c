/* SPDX-License-Identifier: BSD-3-Clause */
#include "elf_file.h"

#include <string.h>

#include "machine_by_hand.h"

#define NOTES_AT 0x400u

void elf_file_make(struct elf_file *f, uint64_t gpa)
{
	memset(f, 0, sizeof(*f));
	f->eh = (Elf64_Ehdr *)(void *)f->bytes;
	f->ph = (Elf64_Phdr *)(void *)(f->bytes + sizeof(*f->eh));
	memcpy(f->eh->e_ident, ELFMAG, SELFMAG);
	f->eh->e_ident[EI_CLASS] = ELFCLASS64;
	f->eh->e_ident[EI_DATA] = ELFDATA2LSB;
	f->eh->e_type = ET_EXEC;
	f->eh->e_machine = EM_X86_64;
	f->eh->e_entry = gpa + 16;
	f->eh->e_phoff = sizeof(*f->eh);
	f->eh->e_phentsize = sizeof(*f->ph);
	f->eh->e_phnum = 3;
	f->ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = ELF_FILE_DATA,
		.p_vaddr = gpa,
		.p_paddr = gpa,
		.p_filesz = 4096,
		.p_memsz = 4096};
	f->ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = ELF_FILE_DATA + 4096,
		.p_vaddr = gpa + MIB,
		.p_paddr = gpa + MIB,
		.p_filesz = 100,
		.p_memsz = 100 + 8192};
	f->ph[2] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTES_AT};
	memset(f->bytes + ELF_FILE_DATA, 0x11, 4096);
	memset(f->bytes + ELF_FILE_DATA + 4096, 0x22, 100);
	f->size = ELF_FILE_DATA + 4096 + 100;
}

void elf_file_note(struct elf_file *f, const char *name, uint32_t type, const void *desc,
	uint32_t descsz)
{
	uint32_t namesz = (uint32_t)strlen(name) + 1;
	Elf64_Nhdr nh = {namesz, descsz, type};
	uint8_t *p = f->bytes + NOTES_AT + f->ph[2].p_filesz;

	memcpy(p, &nh, sizeof(nh));
	memcpy(p + sizeof(nh), name, namesz);
	memcpy(p + sizeof(nh) + ((namesz + 3) & ~3u), desc, descsz);
	f->ph[2].p_filesz += sizeof(nh) + ((namesz + 3) & ~3u) + ((descsz + 3) & ~3u);
}

const char *elf_file_write(const struct elf_file *f, const char *name)
{
	return by_hand_file(name, f->bytes, f->size);
}
