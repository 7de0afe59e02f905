pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET GLOBAL zlib)	# is a gzip initrd whole?
set(SV_VMM_LOADERS acpi.c acpi_dsdt.c acpi_hmat.c acpi_tables.c aml.c cpuid.c cpuid_topology.c
	loader.c loader_elf.c
	loader_entry.c loader_initrd.c loader_initrd_check.c loader_linux.c loader_lwk.c
	loader_multiboot.c loader_pvh.c mptable.c smbios.c
	topology.c)
