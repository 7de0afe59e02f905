/* SPDX-License-Identifier: BSD-3-Clause */
/* ELF files made by tests. */
#ifndef TESTS_ELF_FILE_H
#define TESTS_ELF_FILE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_FILE_BYTES 65536u
#define ELF_FILE_DATA 0x1000u /* where segment 0's bytes begin in the file */

struct elf_file {
	uint8_t bytes[ELF_FILE_BYTES];
	size_t size;
	Elf64_Ehdr *eh;
	Elf64_Phdr *ph; /* [0] and [1]: PT_LOAD, [2]: PT_NOTE */
};

/*
 * Two segments at @gpa and @gpa + 1 MiB, 4 KiB and 100 bytes of file each (the second with
 * 8 KiB of BSS), filled with 0x11 and 0x22; entry at @gpa + 16; no note yet.
 */
void elf_file_make(struct elf_file *f, uint64_t gpa);
/* Append a note to its note segment. */
void elf_file_note(struct elf_file *f, const char *name, uint32_t type, const void *desc,
	uint32_t descsz);
const char *elf_file_write(const struct elf_file *f, const char *name);

#endif
